"""Incidents of agents: what opening, raising, freezing and closing one writes. Pure.

An incident is a minimal record: who or which rule opened it, about which agents, how grave, what is linked to it, what
was done since, and with which words it was closed. While one of severity 1 is open each of its agents is at least of
high tier (`tiering.py`, floor `incident`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

from accredit.audit.model import Facts, Part
from accredit.audit.ports import Actor, Change, StateView, Write
from accredit.kernel.codes import Code
from accredit.kernel.errors import ConflictError, ForbiddenError, InvalidInputError, NotFoundError
from accredit.kernel.ids import PersonId
from accredit.registry import rows
from accredit.registry.model import Incident, IncidentEvent

__all__ = ["incident_closed", "incident_frozen", "incident_opened", "incident_raised"]

_MAX_WORDS: Final = 2_000
_MAX_AGENTS: Final = 50
_MAX_LINKED: Final = 100
_MAX_EVENTS: Final = 200
_SEVERITIES: Final = range(1, 5)
_GRAVEST: Final = 1


def incident_opened(view: StateView, incident: Incident, actor: Actor, *, salt: str) -> Change | None:
    """Put it on record; nothing if it is there.

    Raises:
        InvalidInputError: there is no such severity, or too much is named.
    """
    if view.get(rows.INCIDENT, incident.id) is not None:
        return None
    if incident.severity not in _SEVERITIES:
        raise InvalidInputError(Code.BODY_MALFORMED, "severity is 1 (gravest) to 4")
    if len(incident.agents) > _MAX_AGENTS or len(incident.linked) > _MAX_LINKED:
        raise InvalidInputError(
            Code.BODY_OVERSIZED, f"an incident names at most {_MAX_AGENTS} agents and {_MAX_LINKED} things linked to it"
        )
    opened = replace(incident, what=incident.what[:_MAX_WORDS])
    return _change("incident.flagged", _with(opened, "opened", actor, opened.opened_us), actor, opened.what, salt=salt)


def incident_raised(
    view: StateView,
    incident_id: str,
    severity: int,
    actor: Actor,
    *,
    why: str,
    linked: Sequence[str],
    now_us: int,
    salt: str,
) -> Change | None:
    """Make it graver, and link what shows that; nothing if it is over, or as grave and linked already.

    Raises:
        NotFoundError: no such incident.
    """
    found = _known(view, incident_id)
    fresh = tuple(one for one in linked if one not in found.linked)[: _MAX_LINKED - len(found.linked)]
    if not found.open or (severity >= found.severity and not fresh):
        return None
    after = replace(found, severity=min(severity, found.severity), linked=(*found.linked, *fresh))
    return _change("incident.raised", _with(after, "raised", actor, now_us, why), actor, why, salt=salt)


def incident_frozen(
    view: StateView, incident_id: str, holds: Sequence[str], actor: Actor, *, now_us: int, salt: str
) -> Change | None:
    """Note the legal holds that keep its agents' records; nothing if they are noted.

    Raises:
        NotFoundError: no such incident.
    """
    found = _known(view, incident_id)
    fresh = tuple(one for one in holds if one not in found.holds)
    if not fresh:
        return None
    after = replace(found, holds=(*found.holds, *fresh))
    return _change("incident.frozen", _with(after, "frozen", actor, now_us, ", ".join(fresh)), actor, "", salt=salt)


def incident_closed(
    view: StateView, incident_id: str, actor: Actor, *, disposition: str, now_us: int, salt: str
) -> Change | None:
    """Close it; nothing if it is closed. What it froze stays frozen.

    Raises:
        NotFoundError: no such incident.
        ForbiddenError: `separation_of_duties`: one of severity 1 is closed by another person than who opened it.
        InvalidInputError: it is not said what it came to.
    """
    found = _known(view, incident_id)
    if not found.open:
        return None
    if not disposition.strip():
        raise InvalidInputError(Code.BODY_MALFORMED, "say in words what the incident came to")
    if len(disposition) > _MAX_WORDS:
        raise InvalidInputError(Code.BODY_OVERSIZED, f"a disposition has at most {_MAX_WORDS} characters")
    # INVARIANT: nobody alone opens one of the gravest and ends it
    if found.severity == _GRAVEST and found.opened_by is not None and found.opened_by == actor.person:
        raise ForbiddenError(
            Code.SEPARATION_OF_DUTIES,
            "an incident of severity 1 is closed by another person than who opened it",
            hint="ask somebody else in security, compliance or operations",
        )
    by = None if actor.person is None else PersonId(actor.person)
    after = replace(found, closed_us=now_us, closed_by=by, disposition=disposition)
    change = _with(after, "closed", actor, now_us, disposition)
    return _change("incident.closed", change, actor, disposition, salt=salt, narrowing=False)


def _known(view: StateView, incident_id: str) -> Incident:
    row = view.get(rows.INCIDENT, incident_id)
    if row is None:
        raise NotFoundError(Code.NOT_FOUND, f"there is no incident `{incident_id[:80]}`")
    return rows.incident_from(row.key, row.doc)


def _with(incident: Incident, what: str, actor: Actor, at_us: int, text: str = "") -> Incident:
    if len(incident.events) >= _MAX_EVENTS and what != "closed":
        raise ConflictError(Code.CONFLICT, "the incident's timeline is full", hint="close it and open another")
    by = None if actor.person is None else PersonId(actor.person)
    return replace(incident, events=(*incident.events, IncidentEvent(at_us, what, by, text[:_MAX_WORDS])))


def _change(kind: str, incident: Incident, actor: Actor, words: str, *, salt: str, narrowing: bool = True) -> Change:
    body: Mapping[str, Any] = {
        "agents": list(incident.agents),
        "incident": incident.id,
        "rule": incident.rule,
        "severity": incident.severity,
    }
    return Change(
        Facts(kind, agent=incident.agent),
        (Write(rows.INCIDENT, incident.id, rows.incident_doc(incident, salt=salt)),),
        actor,
        body,
        (Part("text", {"note": words}),) if words else (),
        narrowing=narrowing,
    )
