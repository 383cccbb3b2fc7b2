"""Who is asked to take over an agent whose owner left, and what becomes of it while nobody does. Pure.

The backup owner is asked first, then the manager of whoever left, then the leads of the agent's team, and if it has
none, operators. Who is not there is passed over at once. Whoever was asked stays asked.

INVARIANT: time alone only ever narrows an agent: nothing here widens it, and nothing ends it for good.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from accredit.kernel.ids import AgentId, PersonId
from accredit.registry.model import Agent, AgentState, Role
from accredit.registry.organisation import Organisation

__all__ = [
    "ACCEPTED_US",
    "AskedAs",
    "Succession",
    "SuccessionStep",
    "SuccessionTimes",
    "SuccessionTurn",
    "acceptor",
    "asked",
    "due_at",
    "next_step",
    "ownerless",
]

_DAY_US: Final = 86_400_000_000
ACCEPTED_US: Final = 14 * _DAY_US
"""How long whoever took over has, from when somebody first did, to bring their version into force."""
_GONE: Final = frozenset({AgentState.RETIRING, AgentState.RETIRED})


class AskedAs(StrEnum):
    """As what somebody is asked."""

    BACKUP = "backup owner"
    MANAGER = "manager"
    TEAM = "team"
    OPERATORS = "operators"


class SuccessionStep(StrEnum):
    """What was done to an agent without an owner; each comes after the one before."""

    ASKED = "asked"
    READ_ONLY = "read-only"
    SUSPENDED = "suspended"
    RETIREMENT = "retirement-proposed"


_STEPS: Final = tuple(SuccessionStep)


@dataclass(frozen=True, slots=True)
class SuccessionTimes:
    """How long after an agent lost its owner each step is due."""

    read_only_us: int = 7 * _DAY_US
    suspend_us: int = 14 * _DAY_US
    retire_us: int = 60 * _DAY_US

    @classmethod
    def in_days(cls, read_only: int, suspend: int, retire: int) -> SuccessionTimes:
        """The same in days."""
        return cls(read_only * _DAY_US, suspend * _DAY_US, retire * _DAY_US)

    def of(self, step: SuccessionStep) -> int:
        """The time of a step."""
        match step:
            case SuccessionStep.ASKED:
                return 0
            case SuccessionStep.READ_ONLY:
                return self.read_only_us
            case SuccessionStep.SUSPENDED:
                return self.suspend_us
            case SuccessionStep.RETIREMENT:
                return self.retire_us


@dataclass(frozen=True, slots=True)
class SuccessionTurn:
    """Somebody's turn."""

    as_: AskedAs
    persons: tuple[PersonId, ...]
    """Any of them; of operators possibly nobody."""


@dataclass(frozen=True, slots=True)
class Succession:
    """An agent without an owner, as it stands on record."""

    id: str
    agent: AgentId
    owner: PersonId
    """Who left."""
    began_us: int
    turn: SuccessionTurn
    """Who was asked last."""
    step: SuccessionStep = SuccessionStep.ASKED
    """The last one taken. Each is taken once: what people undo stays undone."""
    accepted_by: PersonId | None = None
    """Who took over, in a version that is not in force yet."""
    accepted_us: int | None = None
    """When somebody first did: another who does so later gets no more time."""


def ownerless(agent: Agent, organisation: Organisation) -> bool:
    """Whether an agent that is not at its end has no owner who is there."""
    return agent.state not in _GONE and not _there(agent.owner, organisation)


def acceptor(agent: Agent, organisation: Organisation) -> PersonId | None:
    """Who owns the version of an agent that waits to come into force, if they are there."""
    if agent.candidate is None:
        return None
    owner = PersonId(agent.candidate.manifest["spec"]["owner"])
    return owner if _there(owner, organisation) else None


def asked(
    agent: Agent, organisation: Organisation, *, elapsed_us: int, times: SuccessionTimes
) -> tuple[SuccessionTurn, ...]:
    """Everybody whose turn has come, in order; the last is whose turn it is. Never empty.

    A turn is a third of the time until the agent may only read.
    """
    line: list[SuccessionTurn] = []
    for as_, person in (
        (AskedAs.BACKUP, agent.backup_owner if _there(agent.backup_owner, organisation) else None),
        (AskedAs.MANAGER, _manager(agent.owner, organisation)),
    ):
        if person is not None and all(person not in one.persons for one in line):
            line.append(SuccessionTurn(as_, (person,)))
    leads = organisation.holders(Role.TEAM_LEAD, agent.team.id)
    line.append(
        SuccessionTurn(AskedAs.TEAM, tuple(sorted(leads)))
        if leads
        else SuccessionTurn(AskedAs.OPERATORS, tuple(sorted(organisation.holders(Role.OPERATOR))))
    )
    turns = max(elapsed_us, 0) // max(times.read_only_us // 3, 1)
    return tuple(line[: turns + 1])


def due_at(succession: Succession, step: SuccessionStep, times: SuccessionTimes) -> int:
    """When a step that was not taken yet is due."""
    at_us = succession.began_us + times.of(step)
    if succession.accepted_by is None or succession.accepted_us is None:
        return at_us
    return max(at_us, succession.accepted_us + ACCEPTED_US)


def next_step(succession: Succession, times: SuccessionTimes) -> tuple[SuccessionStep, int] | None:
    """What comes next and when; None: everything was done that time alone does."""
    following = _STEPS.index(succession.step) + 1
    if following == len(_STEPS):
        return None
    return _STEPS[following], due_at(succession, _STEPS[following], times)


def _there(person: PersonId | None, organisation: Organisation) -> bool:
    known = organisation.people.get(person) if person is not None else None
    return known is not None and not known.left and not known.bot


def _manager(person: PersonId, organisation: Organisation) -> PersonId | None:
    """The nearest manager above somebody who is there."""
    return next((one for one in _above(person, organisation) if _there(one, organisation)), None)


def _above(person: PersonId, organisation: Organisation) -> Iterator[PersonId]:
    seen = {person}
    known = organisation.people.get(person)
    while known is not None and known.manager is not None and known.manager not in seen:
        seen.add(known.manager)  # managers may be each other's
        yield known.manager
        known = organisation.people.get(known.manager)
