"""The envelope of an agent as it stands: what may change without another vote, until when, and what already did. Pure.

An envelope is worth as much as the votes on it: it ends with the oldest of them, when that is too old to be carried
over to a newer version (`approvals/gates.py`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from accredit.approvals.gates import carry_us
from accredit.approvals.model import Vote
from accredit.kernel.canonical import Digest
from accredit.lifecycle.timeline import TimelineEvent
from accredit.registry.model import Agent

__all__ = ["WITHIN", "EnvelopeUse", "EnvelopeView", "envelope_view"]

WITHIN: Final = "change.within_envelope"
"""The record that a version was approved because its envelope says so."""
_SHOWN: Final = 100


@dataclass(frozen=True, slots=True)
class EnvelopeUse:
    """A version that was approved without a vote since it is within the envelope."""

    record: int
    at_us: int
    version: Digest
    by: str | None
    """Who asked for it."""
    changes: tuple[Mapping[str, Any], ...]


@dataclass(frozen=True, slots=True)
class EnvelopeView:
    """What may change of an agent without another vote."""

    parts: Mapping[str, Any]
    """As the canonical form of the version in force has it; empty: nothing."""
    until_us: int | None
    """When the votes that it rests on are too old; None: it has none, or rests on none."""
    uses: tuple[EnvelopeUse, ...]
    """Newest first, of the last hundred."""
    since_votes: int
    """How many of all uses came after the newest vote that a person cast: what nobody looked at since."""

    def document(self) -> dict[str, Any]:
        """Ready for JSON; times in microseconds."""
        return {
            "parts": dict(self.parts),
            "since_votes": self.since_votes,
            "until_us": self.until_us,
            "uses": [
                {
                    "at_us": one.at_us,
                    "by": one.by,
                    "changes": [dict(change) for change in one.changes],
                    "record": one.record,
                    "version": one.version,
                }
                for one in self.uses
            ],
        }


def envelope_view(agent: Agent, votes: Iterable[Vote], events: Iterable[TimelineEvent]) -> EnvelopeView:
    """The envelope of the version in force; `votes` are those it rests on, `events` the agent's, oldest first."""
    cast = [vote.at_us for vote in votes]
    parts = agent.version.manifest["spec"].get("envelope") or {}
    uses = [
        EnvelopeUse(
            event.record,
            event.at_us,
            Digest(event.body["subject"]["digest"]),
            event.person,
            tuple(one for one in event.body.get("changed") or () if one.get("rule") == "envelope"),
        )
        for event in events
        if event.kind == WITHIN
    ]
    return EnvelopeView(
        parts,
        min(cast) + carry_us(agent.tier) if cast and parts else None,
        tuple(uses[::-1][:_SHOWN]),
        sum(one.at_us >= max(cast, default=0) for one in uses),
    )
