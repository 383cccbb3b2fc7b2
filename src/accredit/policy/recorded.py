"""What the log keeps of a judgement, so that it can be made again exactly: written by one function, read by another.

Beside this a decision's record carries the context and arguments (sealed parts), the agent, its version and the tool
(header), its time, and the position of the control state it was judged in.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from accredit.policy.model import CallRequest, Decision
from accredit.policy.ports import VetoAnswer

__all__ = ["Judgement", "answer_fact", "differing", "judgement_fact"]

_NONE: Final[frozenset[str]] = frozenset()


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


class Judgement(NamedTuple):
    """One recorded judgement: what it was, and what it was made with beside the context."""

    outcome: str
    code: str
    granted: frozenset[str]
    """The policies whose hold a person had lifted for this call."""
    steady: bool
    """Whether the clock was trusted."""
    restrictions: tuple[str, ...]
    """Ids of those in force."""
    outside: VetoAnswer | None = None
    """What an engine outside of the process had said."""

    @classmethod
    def read(cls, body: Mapping[str, Any]) -> Judgement | None:
        """The judgement that a record's body holds; None if there was none, or an older version did not keep it.

        Which of both is said by `release`: what was judged names the release it was judged by.
        """
        judged = body.get("judged")
        if judged is None:
            return None
        granted, restrictions, outside = judged["granted"], body["restrictions"], judged.get("outside")
        return cls(
            judged["outcome"],
            judged["code"],
            frozenset(granted) if granted else _NONE,
            judged["steady"],
            tuple(restrictions) if restrictions else (),
            None if outside is None else VetoAnswer(tuple(outside[0]), outside[1]),
        )


def differing(body: Mapping[str, Any], judgement: Judgement, again: Decision) -> tuple[str, ...]:
    """What a record's body states otherwise than a judgement made again with the same: nothing if it is exact."""
    fact = _fact((judgement.granted, judgement.steady, judgement.restrictions, judgement.outside), again)
    names = [name for name, value in fact.items() if body[name] != value]
    if "judged" in names:
        names.remove("judged")
        names += [name for name, value in fact["judged"].items() if body["judged"].get(name) != value]
    return tuple(sorted(names))
