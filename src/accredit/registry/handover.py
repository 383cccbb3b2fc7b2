"""An agent's next version where nobody writes a manifest: with another owner, or without what a review took away. Pure.

It is a version like any other: outside of development it waits for its own sign-off, and until then the one in force,
and whoever owned that, stay what they are on record.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, Final

from accredit.audit.model import Facts
from accredit.audit.ports import Actor, Change, Row, StateView, Write
from accredit.kernel.canonical import Digest
from accredit.kernel.codes import Code
from accredit.kernel.errors import ConflictError, NotFoundError
from accredit.kernel.ids import AgentId, PersonId, ToolId, tool_id
from accredit.registry import rows
from accredit.registry.lifecycle import AgentEvent, Inapplicable, after, awaits_candidate
from accredit.registry.model import AgentState, Environment
from accredit.registry.versions import facets, version_digest

__all__ = ["MAX_HISTORY", "declared_anew", "declared_without", "handed_over", "manifest_without"]

MAX_HISTORY: Final = 1_000
"""Declarations of one agent that its row remembers."""


def declared_anew(before: Mapping[str, Any], digest: Digest, fresh: Mapping[str, Any]) -> dict[str, Any] | Inapplicable:
    """The row of an agent of which another version is declared; `fresh` is what the row of a new agent would say."""
    environment, state = Environment(before["environment"]), AgentState(before["state"])
    step = after(AgentEvent.DECLARE, environment, state)
    if isinstance(step, Inapplicable):
        return step
    older = {"candidate": None, "halted_from": None, "promoted_from": None, "registered_by": None, "registered_us": 0}
    doc = {**older, "state_us": fresh["state_us"], **before}
    if awaits_candidate(environment, state):
        return {**doc, "candidate": None if digest == before["version"] else digest}
    doc |= {key: fresh[key] for key in ("backup_owner", "candidate", "owner", "version")}
    if step.state is not state:
        doc |= {"state": step.state.value, "state_us": fresh["state_us"]}
    return doc


def handed_over(agent: AgentId, owner: PersonId, actor: Actor, view: StateView, *, now_us: int) -> Change | None:
    """The newest version of an agent with that owner; whoever backed it up stays, unless they are the owner now.

    None: it has that owner already.

    Raises:
        NotFoundError: no such agent.
        ConflictError: the owner is nobody who is there, or the agent's state does not allow it.
    """
    row, person = view.get(rows.AGENT, agent), view.get(rows.PERSON, owner)
    if row is None:
        raise NotFoundError(Code.NOT_FOUND, f"no agent has the id `{agent[:80]}`")
    if person is None or person.doc.get("left") or person.doc.get("bot"):
        raise ConflictError(Code.PERSON_LEFT, "whoever owns an agent is a person who is there")
    declared = row.doc.get("candidate") or row.doc["version"]
    newest = view.get(rows.VERSION, declared)
    if newest is None:
        raise NotFoundError(Code.NOT_FOUND, f"the newest version of `{agent[:80]}` is not on record")
    spec = newest.doc["manifest"]["spec"]
    if spec["owner"] == owner:
        return None
    backup = None if spec["backupOwner"] == owner else spec["backupOwner"]
    form = {**newest.doc["manifest"], "spec": {**spec, "owner": owner, "backupOwner": backup}}
    return _next(row, newest, form, actor, view, now_us=now_us)


def declared_without(
    agent: AgentId, tools: Collection[ToolId], actor: Actor, view: StateView, *, now_us: int
) -> Change | None:
    """The version of an agent that is in force without some tools and models, declared as its next one.

    None: another version waits already, or it grants none of them.

    Raises:
        NotFoundError: no such agent.
        ConflictError: the agent's state does not allow it.
    """
    row = view.get(rows.AGENT, agent)
    newest = None if row is None else view.get(rows.VERSION, row.doc["version"])
    if row is None or newest is None:
        raise NotFoundError(Code.NOT_FOUND, f"no agent has the id `{agent[:80]}`, or its version is not on record")
    if row.doc.get("candidate") is not None:
        return None
    form = manifest_without(newest.doc["manifest"], tools)
    if version_digest(form) == newest.key:
        return None
    return _next(row, newest, form, actor, view, now_us=now_us)


def manifest_without(form: Mapping[str, Any], tools: Collection[ToolId]) -> dict[str, Any]:
    """The canonical form of a version without some of its tools and models, which its envelope lets come no more."""
    spec = dict(form["spec"])
    envelope = spec.pop("envelope", None)
    if envelope is not None:
        parts = {
            **envelope,
            "definitions": [one for one in envelope.get("definitions", ()) if one not in tools],
            "models": [
                one for one in envelope.get("models", ()) if tool_id(one["provider"], one["model"]) not in tools
            ],
        }
        if said := {part: value for part, value in parts.items() if value}:
            spec["envelope"] = said
    left = {
        "models": [one for one in spec["models"] if tool_id(one["provider"], one["model"]) not in tools],
        "tools": [one for one in spec["tools"] if one["tool"] not in tools],
    }
    return {**form, "spec": {**spec, **left}}


def _next(row: Row, newest: Row, form: Mapping[str, Any], actor: Actor, view: StateView, *, now_us: int) -> Change:
    agent, spec = row.key, form["spec"]
    digest, parts = version_digest(form), facets(form)
    fresh = {
        "backup_owner": spec["backupOwner"],
        "candidate": None,
        "owner": spec["owner"],
        "state_us": now_us,
        "version": digest,
    }
    doc = declared_anew(row.doc, digest, fresh)
    if isinstance(doc, Inapplicable):
        raise ConflictError(Code.TRANSITION_REFUSED, doc.why, hint=doc.hint)
    doc["history"] = [*row.doc["history"], {"at_us": now_us, "by": actor.person, "version": digest}][-MAX_HISTORY:]
    writes = [Write(rows.AGENT, agent, doc)]
    if view.get(rows.VERSION, digest) is None:
        writes.append(Write(rows.VERSION, digest, {"digest": digest, "facets": parts, "manifest": form}))
    before = newest.doc["facets"]
    body = {
        "facets": parts,
        "facets_changed": sorted(facet for facet in parts if parts[facet] != before.get(facet)),
        "in_force": doc["version"] == digest,
        "name": doc["name"],
        "owner": spec["owner"],
        "previous": newest.key,
        "state": doc["state"],
        "team": doc["team"],
    }
    facts = Facts("agent.versioned", agent=agent, version=digest, environment=doc["environment"])
    return Change(facts, tuple(writes), actor, body)
