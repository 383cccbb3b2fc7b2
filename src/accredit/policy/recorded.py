"""What the log keeps of a judgement, so that it can be made again exactly: written by one function, read by another.

Beside this a decision's record carries the context and arguments (sealed parts), the agent, its version and the tool
(header), its time, and the position of the control state it was judged in.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from accredit.kernel.canonical import Digest
from accredit.policy.model import CallRequest, Decision

__all__ = ["Judgement", "judgement_fact"]


def judgement_fact(request: CallRequest | None, decision: Decision | None) -> dict[str, Any]:
    """What goes into the body of a decision's record; both None if the call was refused before any policy was asked.

    What a later step made of it (a limit that refused what policies allowed) is the record's own code and outcome.
    """
    judged: dict[str, Any] | None = None
    if request is not None and decision is not None:
        seen = decision.observed
        judged = {
            "code": decision.code.value,
            "granted": sorted(request.lifted),
            "observed": None if seen is None else [seen.outcome.value, seen.code.value, list(seen.policies)],
            "outcome": decision.outcome.value,
            "steady": request.time_trusted,
        }
    return {
        "entities": dict(decision.entities) if decision and decision.entities else None,
        "faults": [fault.policy for fault in decision.faults] if decision else [],
        "judged": judged,
        "lifted": list(decision.lifted) if decision else [],
        "needs": [[need.policy, need.role] for need in decision.needs] if decision else [],
        "policies": list(decision.policies) if decision else [],
        "release": decision.release if decision else None,
        "restrictions": sorted(one.id for one in request.restrictions) if request else [],
        "slice": decision.slice if decision else None,
        "unmet": list(decision.unmet) if decision else [],
    }


@dataclass(frozen=True, slots=True)
class Judgement:
    """One recorded judgement."""

    outcome: str
    code: str
    observed: tuple[Any, ...] | None
    granted: frozenset[str]
    steady: bool
    restrictions: tuple[str, ...]
    stated: tuple[Any, ...]
    """Everything else that has to come out again: policies, needs, faults, lifted, unmet, slice, entities."""
    release: Digest | None

    @classmethod
    def read(cls, body: Mapping[str, Any]) -> Judgement | None:
        """The judgement that a record's body holds; None if there was none, or an older release did not keep it.

        Which of both is said by `release`: what was judged names the release it was judged by.
        """
        judged = body.get("judged")
        if judged is None:
            return None
        seen = judged["observed"]
        return cls(
            outcome=judged["outcome"],
            code=judged["code"],
            observed=None if seen is None else (seen[0], seen[1], tuple(seen[2])),
            granted=frozenset(judged["granted"]),
            steady=judged["steady"],
            restrictions=tuple(body["restrictions"]),
            stated=_stated(body),
            release=body["release"],
        )

    @classmethod
    def of(cls, request: CallRequest, decision: Decision) -> Judgement:
        """The same of a decision just made: equal to what was read exactly if the decision came out again."""
        found = cls.read(judgement_fact(request, decision))
        assert found is not None  # noqa: S101 - both are given
        return found


def _stated(body: Mapping[str, Any]) -> tuple[Any, ...]:
    entities = body["entities"]
    return (
        tuple(body["policies"]),
        tuple(tuple(need) for need in body["needs"]),
        tuple(body["faults"]),
        tuple(body["lifted"]),
        tuple(body["unmet"]),
        body["slice"],
        None if entities is None else tuple(sorted(entities.items())),
    )
