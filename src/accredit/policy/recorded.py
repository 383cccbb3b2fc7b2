"""What the log keeps of a judgement, so that it can be made again exactly: written by one function, read by another.

Beside this a decision's record carries the context and arguments (sealed parts), the agent, its version and the tool
(header), its time, and the position of the control state it was judged in.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from msgspec import UNSET, Struct, UnsetType
from msgspec.json import Decoder

from accredit.policy.model import CallRequest, Decision
from accredit.policy.ports import VetoAnswer

__all__ = [
    "Judgement",
    "RecordedBody",
    "RecordedHead",
    "answer_fact",
    "differing",
    "judgement_fact",
    "read_body",
    "read_head",
]


def judgement_fact(request: CallRequest | None, decision: Decision | None) -> dict[str, Any]:
    """What goes into the body of a decision's record; both None if the call was refused before any policy was asked.

    What a later step made of it (a limit that refused what policies allowed) is the record's own code and outcome.
    """
    made_with = None
    if request is not None and decision is not None:
        restrictions = tuple(sorted(one.id for one in request.restrictions))
        made_with = request.lifted, request.time_trusted, restrictions, request.outside
    return _fact(made_with, decision)


def answer_fact(decision: Decision) -> dict[str, Any]:
    """What goes into the body of the record of a question about other applications' types."""
    return {
        "code": decision.code.value,
        "entities": dict(decision.entities) if decision.entities else None,
        "faults": [fault.policy for fault in decision.faults],
        "policies": list(decision.policies),
        "release": decision.release,
        "slice": decision.slice,
    }


_MadeWith = tuple[frozenset[str], bool, tuple[str, ...], VetoAnswer | None]


def _fact(made_with: _MadeWith | None, decision: Decision | None) -> dict[str, Any]:
    judged: dict[str, Any] | None = None
    if made_with is not None and decision is not None:
        seen, outside = decision.observed, made_with[3]
        judged = {
            "code": decision.code.value,
            "granted": sorted(made_with[0]),
            "observed": None if seen is None else [seen.outcome.value, seen.code.value, list(seen.policies)],
            "outcome": decision.outcome.value,
            "outside": None if outside is None else [list(outside.policies), outside.fault],
            "steady": made_with[1],
            "tool_calls": decision.tool_calls.value if decision.tool_calls is not None else None,
        }
    return {
        "entities": dict(decision.entities) if decision and decision.entities else None,
        "faults": [fault.policy for fault in decision.faults] if decision else [],
        "judged": judged,
        "lifted": list(decision.lifted) if decision else [],
        "needs": [[need.policy, need.role] for need in decision.needs] if decision else [],
        "policies": list(decision.policies) if decision else [],
        "release": decision.release if decision else None,
        "restrictions": list(made_with[2]) if made_with else [],
        "slice": decision.slice if decision else None,
        "unmet": list(decision.unmet) if decision else [],
    }


class RecordedHead(Struct, frozen=True):
    """What judging again needs of the header of a decision's record."""

    agent: str | None
    decision: str | None
    kind: str
    time: int
    tool: str | None
    version: str | None


class Judgement(Struct, frozen=True):
    """One recorded judgement: what it was, and what it was made with beside the context and the restrictions."""

    code: str
    outcome: str
    steady: bool
    """Whether the clock was trusted."""
    granted: tuple[str, ...] = ()
    """The policies whose hold a person had lifted for this call."""
    outside: tuple[tuple[str, ...], str] | None = None
    """What an engine outside of the process had said: the policies that refused, and why one could not judge."""

    @property
    def answer(self) -> VetoAnswer | None:
        """What that engine had said."""
        return None if self.outside is None else VetoAnswer(*self.outside)


class RecordedBody(Struct, frozen=True):
    """What judging again needs of the body of a decision's record."""

    control: int | None
    """Position of the control state it was judged in."""
    decision_id: str
    judged: Judgement | UnsetType | None = UNSET
    """None: it was refused before any policy was asked. Unset: an older version did not keep it, or was not asked of
    an agent's call."""
    hops: tuple[tuple[str, str, tuple[str, ...]], ...] = ()
    """Who handed the work on, the last one first: agent, its version, and the ids of the restrictions on it. Older
    records have none, as nothing could be handed on then."""
    asked_by: str | UnsetType | None = UNSET
    """Set: it was only asked, by an enforcement point, or (None) by the agent itself."""
    policies: tuple[str, ...] = ()
    release: str | None = None
    restrictions: tuple[str, ...] = ()
    """Ids of those in force."""
    session: str | None = None
    slice: str | None = None


read_head: Final = Decoder(RecordedHead).decode
read_body: Final = Decoder(RecordedBody).decode


def differing(body: Mapping[str, Any], judgement: Judgement, again: Decision) -> tuple[str, ...]:
    """What a record's whole body states otherwise than its judgement made again: nothing if it is exact."""
    made_with = frozenset(judgement.granted), judgement.steady, tuple(body["restrictions"]), judgement.answer
    fact = _fact(made_with, again)
    names = [name for name, value in fact.items() if body[name] != value]
    if "judged" in names:
        names.remove("judged")
        names += [name for name, value in fact["judged"].items() if body["judged"].get(name) != value]
    return tuple(sorted(names))
