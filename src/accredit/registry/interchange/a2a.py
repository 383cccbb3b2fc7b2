"""An agent as an A2A agent card (A2A 1.0 §4.4, §8.4), and a card as a draft.

A card may be shown to anybody, so it says little: what the agent is for, which skills it has, and in an extension what
classes of data it touches and how freely it acts. Conditions of grants, limits, hours, models, stores and whom it
delegates to are ours. As no card says under which conditions a tool is granted, none is ever read as a grant.

Nothing in a card is empty: what a reader drops as a default (A2A 1.0 §8.4.1) would not be in what was signed.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from accredit.registry.interchange.drafting import Draft, Drafting, claimed_text
from accredit.registry.interchange.facts import GOVERNANCE, AgentDocument, AgentFacts, ExchangeForm

__all__ = ["EXTENSION", "agent_card", "draft_of_card", "without_empty"]

EXTENSION: Final = f"urn:{GOVERNANCE.replace('/', ':')}"
_PROTOCOL: Final = "1.0"
_SAID: Final = ("data", "autonomy", "audience", "inputs", "reach", "use")
"""Keys of `spec` that the extension says."""
_ELSEWHERE: Final = {"purpose", *_SAID}
_MOST_SKILLS: Final = 200


def without_empty(value: Any) -> Any:
    """The value without what is empty at any depth; None if nothing is left."""
    if isinstance(value, Mapping):
        return {key: one for key, each in value.items() if (one := without_empty(each)) is not None} or None
    if isinstance(value, list | tuple):
        return [one for each in value if (one := without_empty(each)) is not None] or None
    return None if value in ("", None) else value


def agent_card(facts: AgentFacts) -> AgentDocument:
    """The card, not signed yet."""
    spec = facts.spec
    params = {
        "schema": GOVERNANCE,
        "version": facts.version,
        "tier": facts.tier,
        "manifest": {"metadata": {"name": facts.name, "team": facts.team}, "spec": {key: spec[key] for key in _SAID}},
    }
    card = {
        "name": facts.name,
        "description": spec["purpose"],
        "version": facts.version,
        "provider": {"organization": facts.team, "url": facts.interface},
        "supportedInterfaces": [
            {"url": facts.interface, "protocolBinding": "JSONRPC", "protocolVersion": _PROTOCOL}
        ] if facts.interface else [],
        "capabilities": {
            "extensions": [
                {"uri": EXTENSION, "description": "What is registered and approved of this agent", "params": params}
            ]
        },
        "defaultInputModes": ["text/plain"],
        "defaultOutputModes": ["text/plain"],
        "skills": [
            {
                "id": tool.id,
                "name": claimed_text(tool.name, longest=128),
                "description": claimed_text(tool.description) or claimed_text(tool.name, longest=128),
                "tags": [tool.effect, *tool.data],
            }
            for tool in facts.tools[:_MOST_SKILLS]
        ],
    }  # fmt: skip
    unsaid = [f"spec.{key}" for key, value in spec.items() if key not in _ELSEWHERE and value not in ([], {}, None)]
    if not facts.interface:
        unsaid.append("where it answers, which a card must say and is not registered: name it to have it in the card")
    if len(facts.tools) > _MOST_SKILLS:
        unsaid.append(f"{len(facts.tools) - _MOST_SKILLS} of its skills")
    return AgentDocument(ExchangeForm.A2A, "application/a2a+json", without_empty(card), (*facts.unsaid, *unsaid))


def draft_of_card(card: Mapping[str, Any]) -> Draft:
    """A card as a draft."""
    drafting = Drafting(ExchangeForm.A2A)
    drafting.called(card.get("name"))
    if purpose := claimed_text(card.get("description")):
        drafting.spec["purpose"] = purpose
    capabilities = card.get("capabilities")
    extensions = capabilities.get("extensions") if isinstance(capabilities, Mapping) else None
    for extension in extensions[:20] if isinstance(extensions, list) else ():
        if not isinstance(extension, Mapping):
            continue
        if extension.get("uri") == EXTENSION:
            kept = drafting.spec.get("purpose")
            drafting.governed(extension.get("params"), but=frozenset({"tools", "purpose"}))
            drafting.spec |= {"purpose": kept} if kept else {}
        else:
            drafting.not_taken(f"its extension `{claimed_text(extension.get('uri'), longest=200)}`")
    skills = card.get("skills")
    for skill in skills[:_MOST_SKILLS] if isinstance(skills, list) else ():
        if isinstance(skill, Mapping):
            named = claimed_text(skill.get("id") or skill.get("name"), longest=128)
            drafting.not_taken(f"its skill `{named}`: no card says under which conditions a tool is granted")
    for key, what in (
        ("supportedInterfaces", "where it answers"),
        ("url", "where it answers"),
        ("provider", "who provides it"),
        ("version", "its version"),
        ("securitySchemes", "how it wants to be authenticated to"),
    ):
        if card.get(key):
            drafting.not_taken(what)
    return drafting.draft()
