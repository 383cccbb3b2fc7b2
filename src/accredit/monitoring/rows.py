"""The kinds of control state this room stores, and their reading and writing.

kind         key        document
baseline     agent id   the newest baseline of the agent, open or closed
alert        alert id   an alert, whatever became of it; never removed: it is also the memory of what was seen before
habits       agent id   when it was at work and how often it makes a call again (`events/habits.py`)
observed     agent id   what was observed of it and counts for its tier, and the work it does with others
reported_use agent id   how often what was reported of the agent, and the newest record counted
offer        server     by kind (`tool`, `resource`, …) the fingerprints of all that was ever seen to be listed; none of
                        a kind of which there is too much to tell what is new
monitoring   `cursor`   {position, began_us}: every record before `position` is counted in the alerts; when that began
monitoring   `callers`  {salt}: what alerts call unknown callers by

An alert's `salt` keeps the digest of its row, which stands in the log in clear, from giving away the words in it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from accredit.kernel.ids import AgentId, ToolId
from accredit.monitoring.behaviour import Behaviour, FittedBaseline, Learning, LearningSource
from accredit.monitoring.model import (
    Alert,
    AlertDisposition,
    AlertKind,
    AlertState,
    Baseline,
    RemediationKind,
    Replaced,
    Severity,
)
from accredit.registry.model import RestrictionKind

__all__ = [
    "ALERT",
    "BASELINE",
    "CALLERS",
    "CURSOR",
    "HABITS",
    "MONITORING",
    "OBSERVED",
    "OFFER",
    "REPORTED_USE",
    "alert_doc",
    "alert_from",
    "baseline_doc",
    "baseline_from",
    "fitted_baseline_from",
]

ALERT: Final = "alert"
BASELINE: Final = "baseline"
MONITORING: Final = "monitoring"
CALLERS: Final = "callers"
CURSOR: Final = "cursor"
HABITS: Final = "habits"
OBSERVED: Final = "observed"
OFFER: Final = "offer"
REPORTED_USE: Final = "reported_use"


def _models_doc(models: frozenset[tuple[str, str]]) -> list[list[str]]:
    return [list(model) for model in sorted(models)]


def _models_from(doc: list[list[str]]) -> frozenset[tuple[str, str]]:
    return frozenset((provider, model) for provider, model in doc)


def _learning_doc(learning: Learning | None) -> dict[str, Any] | None:
    return (
        None
        if learning is None
        else {
            "by": learning.by,
            "sessions": learning.sessions,
            "since_us": learning.since_us,
            "until_us": learning.until_us,
        }
    )


def _fitted_doc(fitted: FittedBaseline | None) -> dict[str, Any] | None:
    return (
        None
        if fitted is None
        else {
            "accepted_by": fitted.accepted_by,
            "accepted_us": fitted.accepted_us,
            "after": fitted.after,
            "detectors": [list(each) for each in sorted(fitted.detectors.items())],
            "digest": fitted.digest,
            "first_us": fitted.first_us,
            "ids": list(fitted.ids),
            "last_us": fitted.last_us,
            "left_out": fitted.left_out,
            "proposed_by": fitted.proposed_by,
            "proposed_us": fitted.proposed_us,
            "source": fitted.source.value,
            "version": fitted.version,
            "views": [list(each) for each in sorted(fitted.views.items())],
        }
    )


def fitted_baseline_from(doc: Mapping[str, Any] | None) -> FittedBaseline | None:
    return (
        None
        if doc is None
        else FittedBaseline(
            digest=doc["digest"],
            ids=tuple(doc["ids"]),
            first_us=doc["first_us"],
            last_us=doc["last_us"],
            views=dict(doc["views"]),
            source=LearningSource(doc["source"]),
            version=doc["version"],
            left_out=doc["left_out"],
            proposed_us=doc["proposed_us"],
            proposed_by=doc["proposed_by"],
            after=doc["after"],
            accepted_us=doc["accepted_us"],
            accepted_by=doc["accepted_by"],
            detectors=dict(doc["detectors"]),
        )
    )


def _behaviour_from(doc: Mapping[str, Any] | None) -> Behaviour:
    if doc is None:  # of a release that learned nothing
        return Behaviour()
    learning = doc["learning"]
    return Behaviour(
        learning=learning
        and Learning(learning["since_us"], learning["sessions"], learning["until_us"], learning["by"]),
        proposal=fitted_baseline_from(doc["proposal"]),
        accepted=fitted_baseline_from(doc["accepted"]),
        previous=fitted_baseline_from(doc["previous"]),
    )


def baseline_doc(baseline: Baseline) -> dict[str, Any]:
    before, behaviour = baseline.replaced, baseline.behaviour
    return {
        "behaviour": {
            "accepted": _fitted_doc(behaviour.accepted),
            "learning": _learning_doc(behaviour.learning),
            "previous": _fitted_doc(behaviour.previous),
            "proposal": _fitted_doc(behaviour.proposal),
        },
        "clearance": baseline.clearance,
        "closed_us": baseline.closed_us,
        "data": sorted(baseline.data),
        "definitions": dict(baseline.definitions),
        "destinations": sorted(baseline.destinations),
        "hours": baseline.hours,
        "limits": dict(baseline.limits),
        "made_us": baseline.made_us,
        "models": _models_doc(baseline.models),
        "places": dict(baseline.places),
        "prompt": baseline.prompt,
        "replaced": None
        if before is None
        else {
            "models": _models_doc(before.models),
            "prompt": before.prompt,
            "until_us": before.until_us,
            "version": before.version,
        },
        "tools": sorted(baseline.tools),
        "version": baseline.version,
    }


def baseline_from(key: str, doc: Mapping[str, Any]) -> Baseline:
    before = doc["replaced"]
    return Baseline(
        agent=AgentId(key),
        version=doc["version"],
        definitions=doc["definitions"],
        models=_models_from(doc["models"]),
        prompt=doc["prompt"],
        destinations=frozenset(doc["destinations"]),
        data=frozenset(doc["data"]),
        tools=frozenset(doc["tools"]),
        hours=doc["hours"],
        limits=doc["limits"],
        clearance=doc["clearance"],
        made_us=doc["made_us"],
        closed_us=doc["closed_us"],
        replaced=before
        and Replaced(before["version"], before["prompt"], _models_from(before["models"]), before["until_us"]),
        behaviour=_behaviour_from(doc.get("behaviour")),
        places=doc.get("places") or {},
    )


def alert_doc(alert: Alert, *, salt: str) -> dict[str, Any]:
    return {
        "agent": alert.agent,
        "by": alert.by,
        "calls_per_minute": alert.calls_per_minute,
        "closed_us": alert.closed_us,
        "count": alert.count,
        "disposition": alert.disposition.value if alert.disposition else None,
        "evidence": dict(alert.evidence),
        "for_s": alert.for_s,
        "kind": alert.kind.value,
        "last_us": alert.last_us,
        "matter": alert.matter,
        "note": alert.note,
        "opened_us": alert.opened_us,
        "position": alert.position,
        "remediation": alert.remediation.value,
        "rehearsed": alert.rehearsed,
        "remedied": alert.remedied,
        "restriction": alert.restriction.value if alert.restriction else None,
        "role": alert.role,
        "salt": salt,
        "severity": alert.severity.value,
        "state": alert.state.value,
        "tool": alert.tool,
    }


def alert_from(key: str, doc: Mapping[str, Any]) -> Alert:
    return Alert(
        id=key,
        agent=AgentId(doc["agent"]) if doc["agent"] else None,
        kind=AlertKind(doc["kind"]),
        matter=doc["matter"],
        severity=Severity(doc["severity"]),
        state=AlertState(doc["state"]),
        evidence=doc["evidence"],
        opened_us=doc["opened_us"],
        remediation=RemediationKind(doc["remediation"]),
        remedied=doc["remedied"],
        count=doc["count"],
        last_us=doc["last_us"],
        by=doc["by"],
        note=doc["note"],
        disposition=AlertDisposition(doc["disposition"]) if doc.get("disposition") else None,
        closed_us=doc["closed_us"],
        position=doc["position"],
        restriction=RestrictionKind(doc["restriction"]) if doc["restriction"] else None,
        tool=ToolId(doc["tool"]) if doc["tool"] else None,
        for_s=doc["for_s"],
        calls_per_minute=doc.get("calls_per_minute"),
        role=doc.get("role"),
        rehearsed=doc.get("rehearsed", ""),
    )
