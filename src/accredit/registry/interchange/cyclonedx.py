"""An agent as a CycloneDX bill of materials (1.6 and 1.7, JSON), and one as a draft.

The agent is the component that the bill is of. What it is made of follows: models with their cards, the prompt by its
digest, stores and other agents as components, tool servers as services with the classes of data that flow, and who
depends on what. Our facts stand whole in one property, as JSON.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Any, Final
from uuid import UUID

from accredit.kernel.canonical import canonical
from accredit.kernel.errors import InvalidInputError
from accredit.kernel.strictjson import parse_strict
from accredit.registry.interchange.drafting import Draft, Drafting, claimed_text
from accredit.registry.interchange.facts import AgentDocument, AgentFacts, ExchangeForm, ToolFacts, governance, moment

__all__ = ["SPEC_VERSIONS", "agent_bom", "draft_of_bom"]

SPEC_VERSIONS: Final = ("1.6", "1.7")
_PROPERTY: Final = "accredit:governance"
_MOST: Final = 500
_LONGEST: Final = 2**20


def agent_bom(facts: AgentFacts, *, spec_version: str = SPEC_VERSIONS[0]) -> AgentDocument:
    """The bill of materials."""
    spec, agent = facts.spec, f"agent:{facts.id}"
    models = [_model(facts, model) for model in spec["models"]]
    parts = [*models, _prompt(spec["prompt"]["digest"]), *map(_store, spec.get("stores", ())),
             *map(_delegate, spec.get("delegates", ()))]  # fmt: skip
    services = [_service(server, tools) for server, tools in _by_server(facts.tools)]
    seen: dict[str, dict[str, Any]] = {one["bom-ref"]: one for one in parts}
    refs = sorted([*seen, *(one["bom-ref"] for one in services)])
    serial = UUID(bytes=hashlib.sha256(f"{facts.id}{facts.version}".encode()).digest()[:16], version=5)
    body = {
        "$schema": f"http://cyclonedx.org/schema/bom-{spec_version}.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": spec_version,
        "serialNumber": f"urn:uuid:{serial}",
        "version": 1,
        "metadata": {
            "timestamp": moment(facts.at_us),
            "tools": {"components": [{"type": "application", "name": facts.program or "accredit"}]},
            "component": {
                "type": "application",
                "bom-ref": agent,
                "name": facts.name,
                "group": facts.team,
                "version": facts.version,
                "description": spec["purpose"],
                "properties": _properties(
                    ("accredit:state", facts.state),
                    ("accredit:tier", facts.tier or "none"),
                    ("accredit:autonomy", spec["autonomy"]),
                    (_PROPERTY, canonical(governance(facts)).decode()),
                ),
            },
        },
        "components": list(seen.values()),
        "services": services,
        "dependencies": [{"ref": agent, "dependsOn": refs}, *({"ref": ref} for ref in refs)],
    }
    unsaid = ("licences, suppliers' addresses and hashes of models: they are not registered",) if models else ()
    return AgentDocument(ExchangeForm.CYCLONEDX, "application/vnd.cyclonedx+json", body, (*facts.unsaid, *unsaid))


def _properties(*pairs: tuple[str, str]) -> list[dict[str, str]]:
    return [{"name": name, "value": value} for name, value in pairs]


def _model(facts: AgentFacts, model: Mapping[str, Any]) -> dict[str, Any]:
    spec = facts.spec
    agreement = model.get("agreement")
    return {
        "type": "machine-learning-model",
        "bom-ref": f"model:{model['provider']}/{model['model']}",
        "name": model["model"],
        "supplier": {"name": model["provider"]},
        "modelCard": {
            "considerations": {"users": [spec["audience"]], "useCases": [spec["purpose"]]},
            "properties": _properties(*((("accredit:agreement", agreement),) if agreement else ()),
                                      ("accredit:data", ", ".join(spec["data"]) or "none")),
        },
    }  # fmt: skip


def _prompt(digest: str) -> dict[str, Any]:
    return {
        "type": "data",
        "bom-ref": "prompt",
        "name": "prompt",
        "hashes": [{"alg": "SHA-256", "content": digest.removeprefix("sha256:")}],
        "data": [{"type": "configuration", "name": "prompt"}],
    }


def _store(store: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "type": "data",
        "bom-ref": f"store:{store['kind']}/{store['adapter']}/{store['namespace']}",
        "name": store["namespace"],
        "data": [
            {"type": "dataset", "name": store["namespace"], "description": f"{store['kind']} ({store['adapter']})"}
        ],
    }


def _delegate(delegate: Mapping[str, Any]) -> dict[str, Any]:
    return {"type": "application", "bom-ref": f"delegate:{delegate['agent']}", "name": delegate["agent"]}


def _by_server(tools: Iterable[ToolFacts]) -> list[tuple[str, list[ToolFacts]]]:
    found: defaultdict[str, list[ToolFacts]] = defaultdict(list)
    for tool in tools:
        found[tool.server].append(tool)
    return sorted(found.items())


def _service(server: str, tools: Iterable[ToolFacts]) -> dict[str, Any]:
    flows: dict[str, bool] = {}
    for tool in tools:
        for kind in tool.data:
            flows[kind] = flows.get(kind, False) or tool.effect != "read"
    return {
        "bom-ref": f"server:{server}",
        "name": server,
        "authenticated": True,
        "data": [
            {"flow": "bi-directional" if both else "inbound", "classification": kind}
            for kind, both in sorted(flows.items())
        ],
        "properties": _properties(
            *((f"accredit:tool:{tool.effect}", f"{tool.id} {tool.definition}") for tool in tools)
        ),
    }


def draft_of_bom(bom: Mapping[str, Any]) -> Draft:
    """A bill of materials as a draft."""
    drafting = Drafting(ExchangeForm.CYCLONEDX)
    metadata = bom.get("metadata")
    component = metadata.get("component") if isinstance(metadata, Mapping) else None
    governed = False
    if isinstance(component, Mapping):
        drafting.called(component.get("name"))
        governed = any(drafting.governed(block) for block in _blocks(component.get("properties")))
        if purpose := claimed_text(component.get("description")):
            drafting.spec.setdefault("purpose", purpose)
        if component.get("version"):
            drafting.not_taken("its version")
    models: list[dict[str, str]] = []
    for part in _listed(bom.get("components")):
        named = claimed_text(part.get("name"), longest=128)
        if governed:
            continue
        supplier = part.get("supplier")
        provider = claimed_text(
            (supplier.get("name") if isinstance(supplier, Mapping) else None) or part.get("publisher"), longest=128
        )
        if part.get("type") == "machine-learning-model" and named and provider:
            models.append({"provider": provider, "model": named})
        else:
            drafting.not_taken(f"its component `{named}`")
    if models:
        drafting.spec.setdefault("models", [one for at, one in enumerate(models) if one not in models[:at]][:50])
    for service in _listed(bom.get("services")) if not governed else ():
        named = claimed_text(service.get("name"), longest=128)
        drafting.not_taken(f"its service `{named}`: no bill says under which conditions a tool is granted")
    return drafting.draft()


def _listed(value: Any) -> list[Mapping[str, Any]]:
    return [one for one in value[:_MOST] if isinstance(one, Mapping)] if isinstance(value, list) else []


def _blocks(properties: Any) -> Iterable[Any]:
    for each in _listed(properties):
        text = each.get("value")
        if each.get("name") != _PROPERTY or not isinstance(text, str):
            continue
        try:
            yield parse_strict(text.encode("utf-8", "replace"), max_bytes=_LONGEST, max_depth=32)
        except InvalidInputError:
            continue
