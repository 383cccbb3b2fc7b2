"""Deciding who may vote, and what a sign-off is worth, in an organisation of 5,000 people and 300 groups.

4,700 persons and 300 bots; groups of 40 members that contain one another, some in circles; 600 role grants, half of
them through groups; 500 delegations; an account tie for everybody. Measured: one vote judged (a random person on a
random request of up to 6 parties), the first one after any of it changed (its indexes are made anew), and a whole
clearance at a high gate: three votes, each judged again with all else it rests on. The reference is one look for the
holders of a role, which answers less than half of the question.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from random import Random  # noqa: TID251 - seeded, to draw an organisation
from typing import Any

from _report import report
from accredit.approvals.duties import Eligible, duty
from accredit.approvals.model import ApprovalRequest, Grounds, Parties, VoteVerdict
from accredit.approvals.signoff import Approvals
from accredit.identity.model import Operator
from accredit.kernel.canonical import Digest
from accredit.kernel.clearance import Basis
from accredit.kernel.clock import ScriptedClock
from accredit.kernel.ids import AgentId, PersonId, SeededIds, TeamId
from accredit.registry.model import (
    Agent,
    AgentLimits,
    AgentState,
    AgentVersion,
    Environment,
    Person,
    Role,
    Team,
    Tier,
)
from accredit.registry.organisation import AccountTie, Delegation, Group, Membership, Organisation, RoleGrant
from accredit.registry.versions import FACETS
from accredit.storage.memory.control import MemoryControlLog

_PEOPLE, _BOTS, _GROUPS, _MEMBERS, _GRANTS, _DELEGATIONS = 4_700, 300, 300, 40, 600, 500
_NOW_US = 1_795_348_800_000_000
_DAY_US = 86_400_000_000
_TEAMS = [TeamId(f"team_{number:032x}") for number in range(100)]
_ROLES = [Role.SECURITY, Role.COMPLIANCE, Role.BUSINESS_OWNER, Role.TEAM_LEAD]


def _organisation(draw: Random) -> Organisation:
    persons = [PersonId(f"psn_{number:032x}") for number in range(_PEOPLE)]
    bots = [PersonId(f"psn_b{number:031x}") for number in range(_BOTS)]
    names = [f"group-{number}" for number in range(_GROUPS)]
    admins = persons[:4]

    def holder() -> str:
        return f"group:{draw.choice(names)}" if draw.random() < 0.5 else draw.choice(persons)

    def by() -> frozenset[PersonId]:
        return frozenset(draw.sample(admins, 2))

    def since_us() -> int:
        return _NOW_US - draw.randrange(1, 700) * _DAY_US

    known = {one: Person(one, f"{one}@example.com") for one in persons}
    known |= {one: Person(one, f"{one}@example.com", True, frozenset({holder()})) for one in bots}
    return Organisation(
        known,
        {
            name: Group(
                name,
                tuple(Membership(one, by(), since_us()) for one in draw.sample(persons, _MEMBERS)),
                tuple((inner, since_us()) for inner in draw.sample(names, draw.randint(0, 3))),
                by(),
            )
            for name in names
        },
        tuple(
            RoleGrant(
                f"rgr_{number}", draw.choice(_ROLES), holder(), draw.choice([None, *_TEAMS[:9]]), by(), since_us()
            )
            for number in range(_GRANTS)
        ),
        tuple(
            Delegation(f"dlg_{number}", *_two(draw, persons), draw.choice(_ROLES), since_us(), _NOW_US + _DAY_US)
            for number in range(_DELEGATIONS)
        ),
        tuple(AccountTie(one, draw.choice(admins), since_us()) for one in persons),
    )


def _two(draw: Random, persons: list[PersonId]) -> tuple[PersonId, PersonId]:
    one, other = draw.sample(persons, 2)
    return one, other


def _parties(draw: Random, organisation: Organisation) -> Parties:
    everybody = list(organisation.people)
    one, two, three, four, five, six = draw.sample(everybody, 6)
    return Parties(one, frozenset({one, two, three}), frozenset({four, five}), frozenset({six}))


def _timed_us(calls: list[Callable[[], Any]]) -> tuple[float, float]:
    """Median and 99th percentile."""
    took = []
    for call in calls:
        began = time.perf_counter()
        call()
        took.append((time.perf_counter() - began) * 1e6)
    return statistics.median(took), statistics.quantiles(took, n=100)[98]


class _Gate:
    """A version at a high gate and what it takes to approve it."""

    def __init__(self, organisation: Organisation) -> None:
        self.organisation = organisation
        self.clock = ScriptedClock(_NOW_US)
        self.approvals = Approvals(
            MemoryControlLog(), SeededIds(1), self.clock,
            organisation=lambda: self.organisation, grounds=self._grounds, authors=lambda _: frozenset(),
        )  # fmt: skip

    def _grounds(self, _: ApprovalRequest) -> Grounds:
        facets = {facet: Digest(f"sha256:{facet}") for facet in FACETS}
        return Grounds(facets, Tier.HIGH, validation=Digest("sha256:validation"))

    async def approved(self, owner: PersonId) -> str | None:
        """An approved request, if this organisation has enough people for it."""
        version = AgentVersion(
            Digest(f"sha256:{owner}"), {"spec": {}}, {}, (), frozenset(), "UTC", AgentLimits(1, 1, 1, 1, None)
        )
        agent = Agent(
            AgentId(f"agt_{owner}"), "agent", Team(_TEAMS[0], "team", frozenset()), Environment.PRODUCTION,
            AgentState.SUBMITTED, owner, None, version,
        )  # fmt: skip
        request = await self.approvals.open_version(agent, version, self._operator(owner))
        accepter = self._who(request, Role.BUSINESS_OWNER)
        if accepter is None:
            return None
        await self.approvals.attach_assessment(request.id, self._operator(owner), _assessment(accepter))
        # who accepts the residual risk votes first, before another role takes them
        for need in sorted(request.needs, key=lambda need: need.role is not Role.BUSINESS_OWNER):
            found = self.approvals.get(request.id)
            person = accepter if need.role is Role.BUSINESS_OWNER else self._who(found, need.role) if found else None
            if person is None:
                return None
            _, view = self.approvals.view(request.id)
            await self.approvals.vote(
                request.id, self._operator(person), role=need.role, verdict=VoteVerdict.APPROVE, view_digest=view,
                comment="looked at it",
            )  # fmt: skip
        return request.id

    def clear(self, request: str) -> Callable[[], Any]:
        return lambda: self.approvals.clearance(request, operator=self._operator(PersonId("psn_operator")))

    def _who(self, request: ApprovalRequest, role: Role) -> PersonId | None:
        return next(
            (
                one
                for one in sorted(self.organisation.holders(role, _TEAMS[0]))
                if isinstance(
                    duty(
                        self.organisation, request.parties, one, role, _TEAMS[0],
                        opened_us=request.opened_us, now_us=_NOW_US, others=request.votes,
                    ),
                    Eligible,
                )
            ),
            None,
        )  # fmt: skip

    @staticmethod
    def _operator(person: PersonId) -> Operator:
        return Operator(person, f"tok_{person}", frozenset({"admin"}), Basis.ROLES.value)


def _assessment(accepter: PersonId) -> Mapping[str, Any]:
    risk = {"impact": 3, "likelihood": 2, "mitigations": [], "residual": "medium", "risk": "tells more than it should"}
    return {"acceptedBy": accepter, "residual": "medium", "risks": [risk]}


async def _approved(gate: _Gate, draw: Random, wanted: int) -> list[str]:
    people = list(gate.organisation.people)[10:_PEOPLE]
    found: list[str] = []
    for owner in draw.sample(people, wanted * 3):
        if len(found) < wanted and (request := await gate.approved(owner)) is not None:
            found.append(request)
    return found


def main() -> None:
    """Measure and print."""
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--quick", action="store_true")
    rounds = 2_000 if arguments.parse_args().quick else 20_000
    draw = Random(20261124)
    organisation = _organisation(draw)
    people = list(organisation.people)

    def vote(organisation: Organisation) -> Callable[[], Any]:
        person, role = draw.choice(people), draw.choice(_ROLES)
        parties, team = _parties(draw, organisation), draw.choice(_TEAMS[:12])
        return lambda: duty(organisation, parties, person, role, team, opened_us=_NOW_US - 1, now_us=_NOW_US)

    cold_p50, cold_p99 = _timed_us([vote(replace(organisation)) for _ in range(rounds // 50)])
    vote(organisation)()
    vote_p50, vote_p99 = _timed_us([vote(organisation) for _ in range(rounds)])
    gate = _Gate(organisation)
    requests = asyncio.run(_approved(gate, draw, 30))
    clear_p50, clear_p99 = _timed_us([gate.clear(draw.choice(requests)) for _ in range(rounds // 2)])

    def changed() -> None:
        gate.organisation = replace(organisation)
        gate.clear(requests[0])()

    cold_clear_p50, _ = _timed_us([changed] * (rounds // 50))
    look_p50, _ = _timed_us([lambda: organisation.holders(Role.SECURITY, _TEAMS[0])] * (rounds // 20))
    print(f"one vote judged, {rounds} of them: p50 {vote_p50:.0f} us, p99 {vote_p99:.0f} us")
    print(f"the first vote after the organisation changed: p50 {cold_p50 / 1e3:.1f} ms, p99 {cold_p99 / 1e3:.1f} ms")
    print(
        f"a whole clearance at a high gate ({len(requests)} requests): p50 {clear_p50:.0f} us, p99 {clear_p99:.0f} us"
    )
    print(f"the first clearance after the organisation changed: p50 {cold_clear_p50 / 1e3:.1f} ms")
    print(f"reference, everybody who holds a role, looked for once: p50 {look_p50:.0f} us")
    report("gate", {
        "vote_ms": vote_p50 / 1e3, "vote_p99_ms": vote_p99 / 1e3, "cold_vote_ms": cold_p50 / 1e3,
        "clearance_ms": clear_p50 / 1e3, "clearance_p99_ms": clear_p99 / 1e3,
        "cold_clearance_ms": cold_clear_p50 / 1e3, "holders_ms": look_p50 / 1e3,
    })  # fmt: skip


if __name__ == "__main__":
    main()
