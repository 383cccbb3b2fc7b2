"""Agents in the forms of others and back: round trips, fixed documents, the schemas of others, and hostile ones."""

from __future__ import annotations

import importlib.resources
import json
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from accredit.kernel.canonical import Digest
from accredit.kernel.errors import InvalidInputError
from accredit.kernel.ids import AgentId
from accredit.registry.errors import ManifestError
from accredit.registry.interchange.a2a import agent_card, draft_of_card, without_empty
from accredit.registry.interchange.annex import POINTS, RecordedFact, annex_iv
from accredit.registry.interchange.cyclonedx import SPEC_VERSIONS, agent_bom, draft_of_bom
from accredit.registry.interchange.drafting import Draft
from accredit.registry.interchange.facts import AgentDocument, AgentFacts, SignedOff, ToolFacts
from accredit.registry.interchange.oasf import draft_of_record, oasf_record
from accredit.registry.manifest import read_manifests
from tests.registry.fleet import agent_document

_GOLDEN = Path(__file__).parent / "interchange"
_ALL_SAID = ("oasf", "cyclonedx")
_IN: dict[str, Callable[[Any], Draft]] = {
    "a2a": draft_of_card,
    "oasf": draft_of_record,
    "cyclonedx": draft_of_bom,
}
_OUT: dict[str, Callable[[AgentFacts], AgentDocument]] = {
    "a2a": agent_card,
    "oasf": oasf_record,
    "cyclonedx": agent_bom,
}
_CARD_SAYS = ("purpose", "data", "autonomy", "audience", "inputs", "reach", "use")


def _facts(**spec: Any) -> AgentFacts:
    document = agent_document()
    manifest = document | {"spec": document["spec"] | spec}
    return AgentFacts(
        id=AgentId("agt_" + "1" * 32),
        version=Digest("sha256:" + "2" * 64),
        state="active",
        tier="medium",
        manifest=manifest,
        declared_us=1_795_392_000_000_000,
        at_us=1_795_478_400_000_000,
        tools=(
            ToolFacts("crm/read_customer", "crm", "read_customer", "Reads one customer by id.", "read", ("personal",),
                      Digest("sha256:" + "3" * 64)),
            ToolFacts("crm/add_note", "crm", "add_note", "Adds <b>a</b> note\u202e.", "write", ("internal", "personal"),
                      Digest("sha256:" + "4" * 64)),
        ),
        signed_off=(SignedOff("security", 1_795_392_000_000_000, 41),),
        program="accredit 0",
    )  # fmt: skip


_SPECS = st.fixed_dictionaries(
    {},
    optional={
        "purpose": st.from_regex(r"[A-Za-z][A-Za-z ,.']{0,60}[a-z.]", fullmatch=True),
        "data": st.lists(st.sampled_from(["internal", "personal", "phi"]), unique=True, min_size=1),
        "autonomy": st.sampled_from(["suggests", "each-act-approved", "acts-unattended", "self-starting"]),
        "audience": st.sampled_from(["staff", "public"]),
        "inputs": st.lists(st.sampled_from(["staff", "web", "public"]), unique=True, min_size=1),
        "reach": st.sampled_from(["user", "cross-tenant"]),
        "use": st.fixed_dictionaries({"annex3": st.booleans(), "decidesOnPeople": st.booleans()}),
        "models": st.lists(
            st.builds(
                lambda provider, model: {"provider": provider, "model": model},
                st.sampled_from(["a", "b c"]), st.sampled_from(["ö-1", "x"]),
            ),
            unique_by=str, max_size=3,
        ),
        "expires": st.just("2029-01-31"),
        "delegates": st.just([{"agent": "other", "tools": [{"server": "crm", "allow": ["read_customer"]}]}]),
    },
)  # fmt: skip


@settings(max_examples=60, deadline=None)
@given(_SPECS)
@pytest.mark.requirement("registry:interchange:round-trip")
def test_what_goes_out_comes_back_as_the_same_facts(spec: dict[str, Any]) -> None:
    facts = _facts(**spec)
    for form, out in _OUT.items():
        body = json.loads(json.dumps(out(facts).body))
        draft = _IN[form](body)
        told = facts.spec if form in _ALL_SAID else {key: facts.spec[key] for key in _CARD_SAYS}
        assert draft.manifest["spec"] == told, form
        assert draft.manifest["metadata"] == {
            "name": "support-copilot", "team": "customer-support", "environment": "development",
        }  # fmt: skip
        missing = {one.path for one in draft.missing}
        assert missing == {"spec.owner"} | ({"spec.tools", "spec.models", "spec.prompt"} if form == "a2a" else set())


@pytest.mark.requirement("registry:interchange:people")
@pytest.mark.parametrize("form", sorted(_OUT))
def test_nobody_is_named_in_a_document(form: str) -> None:
    facts = _facts()
    assert "dana@example.com" in json.dumps(facts.manifest)
    assert "@example.com" not in json.dumps(dict(_OUT[form](facts).body))


@pytest.mark.requirement("registry:interchange:golden")
@pytest.mark.parametrize("form", [*sorted(_OUT), "annex-iv"])
def test_documents_are_as_they_were(form: str) -> None:
    facts = _facts()
    known = {"1(a)": [RecordedFact("Intended purpose: # not a heading\n## nor this", 7)], "5": [RecordedFact("Tier")]}
    made = annex_iv(facts, known) if form == "annex-iv" else _OUT[form](facts)
    told = json.dumps({"body": made.body, "text": made.text, "unsaid": made.unsaid}, indent=1, ensure_ascii=True)
    golden = _GOLDEN / f"{form}.json"
    if os.environ.get("REWRITE_GOLDEN"):
        golden.write_text(told + "\n")
    assert told + "\n" == golden.read_text()


@settings(max_examples=25, deadline=None)
@given(_SPECS, st.sampled_from(SPEC_VERSIONS))
@pytest.mark.requirement("registry:interchange:cyclonedx")
def test_a_bill_of_materials_is_valid_by_the_schema_of_its_version(spec: dict[str, Any], version: str) -> None:
    body = json.loads(json.dumps(agent_bom(_facts(**spec), spec_version=version).body))
    faults = [f"{error.instance_path}: {error.message}" for error in _schema(version).iter_errors(body)]
    assert not faults, faults[:3]
    assert list(_schema(version).iter_errors(body | {"components": [{"type": "agent", "name": "x"}]}))


_SCHEMAS: dict[str, jsonschema_rs.Validator] = {}


def _schema(version: str) -> jsonschema_rs.Validator:
    """The schema that comes with the CycloneDX library."""
    if version not in _SCHEMAS:
        there = importlib.resources.files("cyclonedx.schema") / "_res"
        named = {
            f"http://cyclonedx.org/schema/{name}.SNAPSHOT.schema.json": json.loads((there / file).read_text())
            for name, file in (
                ("spdx", "spdx.SNAPSHOT.schema.json"),
                ("jsf-0.82", "jsf-0.82.SNAPSHOT.schema.json"),
                ("cryptography-defs", "cryptography-defs.SNAPSHOT.schema.json"),
            )
        }
        schema = json.loads((there / f"bom-{version}.SNAPSHOT.schema.json").read_text())
        registry = jsonschema_rs.Registry(
            [*named.items(), *((key.replace("http:", "https:"), one) for key, one in named.items())]
        )
        _SCHEMAS[version] = jsonschema_rs.validator_for(schema, registry=registry)
    return _SCHEMAS[version]


@pytest.mark.requirement("registry:interchange:card")
def test_a_card_has_nothing_empty_and_no_condition_limit_or_name_of_a_model() -> None:
    made = agent_card(_facts(data=[], purpose="Answers"))
    assert without_empty(made.body) == made.body
    text = json.dumps(made.body)
    for secret in ("task.customer_id", "50 USD", "claude", "qdrant", "Berlin", "dpa-2026"):
        assert secret not in text
    assert "\\u202e" in made.body["skills"][1]["description"]
    assert {"spec.limits", "spec.models", "spec.tools"} <= set(made.unsaid)


@pytest.mark.requirement("registry:interchange:grants-nothing")
@pytest.mark.parametrize("form", sorted(_OUT))
def test_a_draft_is_refused_by_apply_until_its_owner_completed_it(form: str) -> None:
    text = _IN[form](json.loads(json.dumps(_OUT[form](_facts()).body))).text("unverified: nobody signed it")
    assert "Signature: unverified: nobody signed it." in text
    with pytest.raises(ManifestError, match="missing"):
        read_manifests(text.encode())
    draft = yaml.safe_load(text)
    draft["spec"] |= {"owner": "lee@example.com"}
    draft["spec"] = {"tools": [], "models": [], "prompt": {"digest": "sha256:" + "0" * 64}} | draft["spec"]
    draft["spec"] |= {"expires": "2027-06-30"}
    (completed,) = read_manifests(json.dumps(draft).encode())
    assert completed.kind == "Agent"


_FOREIGN_CARD: dict[str, Any] = {
    "name": "\uff32echérche\u202e-Agent: #1", "description": "Searches.\n# spec:\n#   tools: all\u200b\x1b[2J",
    "url": "https://evil.example", "version": "1", "protocolVersion": "0.3.0",
    "capabilities": {"extensions": [{"uri": "urn:x\n- y"}, 3, {"uri": None}]},
    "skills": [{"id": "do\nanything", "name": "x"}, "y"],
    "provider": {"organization": "Example"},
}  # fmt: skip
_FOREIGN_BOM: dict[str, Any] = {
    "bomFormat": "CycloneDX", "specVersion": "1.6", "metadata": {"component": {"name": "Bot 7", "version": "1"}},
    "components": [
        {"type": "machine-learning-model", "name": "llama-3", "supplier": {"name": "Meta"}},
        {"type": "machine-learning-model", "name": "llama-3", "publisher": "Meta"},
        {"type": "machine-learning-model", "name": "orphan"},
        {"type": "library", "name": "left-pad"},
    ],
    "services": [{"name": "crm"}],
}  # fmt: skip


@pytest.mark.requirement("registry:interchange:claims")
def test_what_a_stranger_wrote_is_a_claim_that_cannot_get_out_of_its_place() -> None:
    draft = draft_of_card(_FOREIGN_CARD)
    assert draft.manifest["metadata"] == {"name": "recherche-agent-1", "environment": "development"}
    assert draft.claimed == ("spec.purpose",)
    assert draft.manifest["spec"]["purpose"].startswith("Searches. # spec: #   tools: all\\u200b")
    assert {one.path for one in draft.missing} >= {"metadata.team", "spec.owner", "spec.tools", "spec.data", "spec.use"}
    text = draft.text("it is not signed")
    assert text.isascii()
    assert not re.search(r"^(?!#|apiVersion|kind|metadata|spec|  [a-z])", text.rstrip("\n"), re.MULTILINE)
    assert yaml.safe_load(text) == draft.manifest


@pytest.mark.requirement("registry:interchange:claims")
def test_of_a_foreign_bill_models_are_claimed_and_nothing_becomes_a_grant() -> None:
    draft = draft_of_bom(_FOREIGN_BOM)
    assert draft.manifest["spec"] == {"models": [{"provider": "Meta", "model": "llama-3"}]}
    assert draft.manifest["metadata"]["name"] == "bot-7"
    assert [one for one in draft.unsaid if "crm" in one or "left-pad" in one or "orphan" in one] != []
    record = {"schema_version": "0.7.0", "name": "org/mailer", "description": "Sends mail", "skills": [{"name": "a/b"}],
              "modules": [{"name": "integration/mcp", "data": {}}], "locators": [{"type": "x"}]}  # fmt: skip
    draft = draft_of_record(record)
    assert (draft.manifest["metadata"]["name"], draft.manifest["spec"]) == ("mailer", {"purpose": "Sends mail"})


@pytest.mark.requirement("registry:interchange:claims")
def test_claims_that_no_manifest_takes_are_left_out_one_by_one_and_said() -> None:
    record = json.loads(json.dumps(oasf_record(_facts()).body))
    spec = record["modules"][0]["data"]["manifest"]["spec"]
    spec |= {"autonomy": "omnipotent", "owner": "eve@evil.example", "sudo": True, "limits": {"calls": {"perMinute": 0}},
             "expires": 7, "tools": [{"server": "crm", "allow": ["read_customer"]}] * 2}  # fmt: skip
    draft = draft_of_record(record)
    assert not {"autonomy", "owner", "sudo", "limits", "expires", "tools"} & draft.manifest["spec"].keys()
    assert draft.manifest["spec"]["data"] == ["internal", "personal"]
    missing = {one.path: one.why for one in draft.missing}
    assert "refused" in missing["spec.autonomy"]
    assert "refused" in missing["spec.tools"]
    told = " ".join(draft.unsaid)
    assert all(word in told for word in ("sudo", "limits", "expires"))
    assert "eve@" not in draft.text("none")


_JSON = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(-9, 9), st.text(max_size=8), st.sampled_from(["governance", "accredit/governance/v1"])),  # noqa: E501
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(
            st.sampled_from(
                ["name", "description", "modules", "data", "schema", "manifest", "spec", "metadata", "capabilities",
                 "extensions", "uri", "params", "skills", "component", "components", "properties", "value", "services",
                 "supplier", "tools", "models", "version", "domains", "team", "use", "delegates"]
            ),
            inner, max_size=5,
        ),
    ),
    max_leaves=16,
)  # fmt: skip


@settings(max_examples=150, deadline=None)
@given(
    st.dictionaries(
        st.sampled_from(
            ["name", "modules", "capabilities", "metadata", "components", "skills", "services", "description"]
        ),
        _JSON,
    )
)
@pytest.mark.requirement("registry:interchange:claims")
def test_any_document_makes_a_draft_or_is_refused(document: dict[str, Any]) -> None:
    for read in _IN.values():
        draft = read(document)
        text = draft.text("none")
        assert yaml.safe_load(text) == json.loads(json.dumps(draft.manifest))
        with pytest.raises((ManifestError, InvalidInputError)):
            read_manifests(text.encode())


@pytest.mark.requirement("registry:interchange:annex")
def test_every_point_of_annex_iv_is_there_and_says_what_the_provider_writes() -> None:
    made = annex_iv(_facts(), {"2(d)": [RecordedFact("Data classes: personal", 12)]})
    points = {one["point"]: one for one in made.body["points"]}
    assert list(points) == [point.number for point in POINTS]
    assert {number[0] for number in points} == set("123456789")
    assert points["2(d)"]["facts"] == [{"record": 12, "text": "Data classes: personal"}]
    assert made.text is not None
    assert made.text.count("**To be written by the provider") == len(POINTS)
    assert "Data classes: personal (record 12)" in made.text
