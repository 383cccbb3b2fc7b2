"""What has one agent reviewed before its time. Pure: each trigger is a kind and what exactly it is about.

The same thing triggers once: what it is about is an id or a digest, from which the id of the review follows.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

from accredit.lifecycle.discovery.findings import AgentFinding, FindingKind
from accredit.lifecycle.reviews.model import AgentReviewState, ReviewMark, ReviewTrigger
from accredit.monitoring.model import Alert, AlertKind
from accredit.registry.changes import changes_between, material
from accredit.registry.model import Agent, AgentState, AgentVersion

__all__ = ["triggers"]

_DRIFT: Final = frozenset(
    {
        AlertKind.NEW_DATA_CLASS,
        AlertKind.NEW_DESTINATION,
        AlertKind.NEW_TOOL,
        AlertKind.POSTURE_DEFINITION,
        AlertKind.POSTURE_MODEL,
        AlertKind.POSTURE_PROMPT,
        AlertKind.POSTURE_VERSION,
    }
)


def triggers(
    agent: Agent,
    mark: ReviewMark | None,
    before: AgentVersion | None,
    alerts: Iterable[Alert],
    findings: Iterable[AgentFinding],
) -> Iterator[tuple[ReviewTrigger, str]]:
    """Why an agent is to be reviewed now. `before` is the version that people looked at last; None: nobody knows."""
    since_us = mark.at_us if mark is not None else 0
    if before is not None and before.digest != agent.version.digest:
        # a version that comes back is another one than what was looked at last
        about = f"{mark.review} {agent.version.digest}" if mark is not None else agent.version.digest
        old, new = before.manifest["spec"], agent.version.manifest["spec"]
        if old["owner"] != new["owner"]:
            yield ReviewTrigger.OWNER_CHANGED, about
        changes = changes_between(before.manifest, agent.version.manifest)
        if material(one for one in changes if one.facet != "owner"):
            yield ReviewTrigger.MATERIAL_CHANGE, about
    for alert in sorted(alerts, key=lambda one: (one.opened_us, one.id)):
        if alert.closed_us is not None or alert.opened_us < since_us:
            continue
        if alert.kind in _DRIFT:
            yield ReviewTrigger.DRIFT, alert.id
        elif alert.kind is AlertKind.POSTURE_TIER:
            yield ReviewTrigger.TIER_RAISED, alert.id
    for finding in findings:
        if finding.open and finding.seen.kind is FindingKind.ZOMBIE and finding.opened_us >= since_us:
            yield ReviewTrigger.IDLE, finding.id
    stopped = {AgentReviewState.SUSPENDED, AgentReviewState.NOT_NEEDED}
    if mark is not None and mark.outcome in stopped and agent.state is AgentState.ACTIVE:
        yield ReviewTrigger.RESUMED, mark.review
