"""What people are told of alerts outside of the console: that one opened, was taken up, or is over. Pure.

Only what is registered or counted stands in it: kinds, names, ids, times. Evidence, and notes of people, are read in
the console or by command. Alerts that are mere information are told to nobody.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from accredit.approvals.notices import notice_moment, notice_text
from accredit.audit.ports import Change
from accredit.kernel.canonical import digest_value
from accredit.kernel.legible import visible
from accredit.monitoring.model import Alert, Severity
from accredit.monitoring.rows import ALERT, alert_from

__all__ = ["AlertNotice", "alert_event", "alert_message", "alert_notices", "pagerduty_event"]

_TOLD: Final = frozenset({"alert.opened", "alert.acknowledged", "alert.resolved"})
_OF_USE_US: Final = 24 * 3_600_000_000
"""For how long it is tried to tell of one."""
_PAGED: Final = {"alert.opened": "trigger", "alert.acknowledged": "acknowledge", "alert.resolved": "resolve"}
_SEVERITIES: Final = {Severity.CRITICAL: "critical", Severity.WARNING: "warning", Severity.INFO: "info"}


@dataclass(frozen=True, slots=True)
class AlertNotice:
    """One thing to tell about one alert."""

    id: str
    """The same whenever the same is told again."""
    kind: str
    alert: Alert
    agent: str
    """Its name; empty: it is about no agent of ours."""
    until_us: int

    @property
    def about(self) -> str:
        """What a log calls it."""
        return f"alert {self.alert.id}"


def alert_notices(change: Change, name: Callable[[str], str]) -> tuple[AlertNotice, ...]:
    """What a change of state gives to tell; `name` knows what an agent is called."""
    if change.facts.kind not in _TOLD:
        return ()
    found = [alert_from(one.key, one.doc) for one in change.writes if one.kind == ALERT and one.doc is not None]
    return tuple(
        AlertNotice(_id(alert, change.facts.kind), change.facts.kind, alert, name(alert.agent) if alert.agent else "",
                    _at_us(alert, change.facts.kind) + _OF_USE_US)
        for alert in found
        if alert.severity is not Severity.INFO
    )  # fmt: skip


def _id(alert: Alert, kind: str) -> str:
    return f"ntc_{digest_value('alert-notice', {'alert': alert.id, 'kind': kind}).removeprefix('sha256:')[:32]}"


def _at_us(alert: Alert, kind: str) -> int:
    return alert.closed_us if kind == "alert.resolved" and alert.closed_us is not None else alert.last_us


def alert_event(notice: AlertNotice, public_url: str) -> dict[str, Any]:
    """The body of a webhook (Standard Webhooks, "Payload structure")."""
    alert = notice.alert
    return {
        "type": notice.kind,
        "timestamp": notice_moment(_at_us(alert, notice.kind)),
        "data": {
            "alert": alert.id,
            "kind": alert.kind.value,
            "matter": alert.matter,
            "severity": alert.severity.value,
            "state": alert.state.value,
            "agent": notice.agent or None,
            "agent_id": alert.agent,
            "answered_by_itself": alert.remediation.value,
            "disposition": alert.disposition.value if alert.disposition else None,
            "count": alert.count,
            "opened_at": notice_moment(alert.opened_us),
            "url": f"{public_url}/console/alerts",
        },
    }


def alert_message(notice: AlertNotice, public_url: str) -> dict[str, Any]:
    """A message for an incoming webhook of Slack, or of what takes the same."""
    alert = notice.alert
    whom = notice_text(notice.agent) if notice.agent else "no agent of ours"
    what = f"<{public_url}/console/alerts|{notice_text(alert.kind.value)}> of {whom}"
    match notice.kind:
        case "alert.opened":
            done = (
                ""
                if alert.remediation.value == "none"
                else f"; answered by itself: {notice_text(alert.remediation.value)}"
            )
            return {"text": f"{alert.severity.value.capitalize()}: {what} ({notice_text(alert.matter)}){done}."}
        case "alert.acknowledged":
            return {"text": f"Somebody looks after {what}."}
        case _:
            was = f": {notice_text(alert.disposition.value)}" if alert.disposition else ""
            return {"text": f"Over: {what}{was}."}


def pagerduty_event(notice: AlertNotice, public_url: str, key: str) -> dict[str, Any]:
    """An event of PagerDuty's Events API v2; one alert is one incident there, whatever is told of it."""
    alert = notice.alert
    event: dict[str, Any] = {
        "routing_key": key,
        "event_action": _PAGED[notice.kind],
        "dedup_key": alert.id,
        "client": "accredit",
        "client_url": f"{public_url}/console/alerts",
    }
    if notice.kind == "alert.opened":
        event["payload"] = {
            "summary": visible(f"{alert.kind.value} of {notice.agent or 'no agent of ours'}: {alert.matter}")[:1024],
            "source": visible(notice.agent or "accredit")[:255],
            "severity": _SEVERITIES[alert.severity],
            "timestamp": notice_moment(alert.opened_us),
            "class": alert.kind.value,
            "custom_details": {"alert": alert.id, "answered_by_itself": alert.remediation.value},
        }
    return event
