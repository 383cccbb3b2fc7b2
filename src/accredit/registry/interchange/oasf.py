"""An agent as an OASF record (AGNTCY, record object of schema 0.8), and a record as a draft.

Our facts stand in a module of their own. Skills and domains are of a taxonomy that nobody here placed the agent in, so
they are left empty and said to be.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from accredit.registry.interchange.drafting import Draft, Drafting, claimed_text
from accredit.registry.interchange.facts import AgentDocument, AgentFacts, ExchangeForm, governance, moment

__all__ = ["MODULE", "draft_of_record", "oasf_record"]

MODULE: Final = "governance"
SCHEMA_VERSION: Final = "0.8.0"


def oasf_record(facts: AgentFacts) -> AgentDocument:
    """The record."""
    record = {
        "schema_version": SCHEMA_VERSION,
        "name": f"{facts.team}/{facts.name}",
        "version": facts.version,
        "description": facts.spec["purpose"],
        "authors": [facts.team],
        "created_at": moment(facts.declared_us),
        "skills": [],
        "domains": [],
        "locators": [],
        "modules": [{"name": MODULE, "data": governance(facts)}],
    }
    unsaid = ("skills, domains and locators: nobody placed it in that taxonomy, nor is its artefact registered",)
    return AgentDocument(ExchangeForm.OASF, "application/json", record, (*facts.unsaid, *unsaid))


def draft_of_record(record: Mapping[str, Any]) -> Draft:
    """A record as a draft."""
    drafting = Drafting(ExchangeForm.OASF)
    name = record.get("name")
    drafting.called(name.rpartition("/")[2] if isinstance(name, str) else None)
    purpose = claimed_text(record.get("description"))
    modules = record.get("modules", record.get("extensions"))
    for module in modules[:50] if isinstance(modules, list) else ():
        if not isinstance(module, Mapping):
            continue
        if not (module.get("name") == MODULE and drafting.governed(module.get("data"))):
            drafting.not_taken(f"its module `{claimed_text(module.get('name'), longest=128)}`")
    if purpose:
        drafting.spec.setdefault("purpose", purpose)
    for key in ("skills", "domains"):
        entries = record.get(key)
        for entry in entries[:100] if isinstance(entries, list) else ():
            told = entry.get("name") if isinstance(entry, Mapping) else entry
            drafting.not_taken(f"{key}: `{claimed_text(told, longest=128)}`")
    for key, what in (("locators", "where its artefact lies"), ("authors", "its authors"), ("version", "its version")):
        if record.get(key):
            drafting.not_taken(what)
    return drafting.draft()
