"""What leads from which state of an agent to which, per environment (DESIGN §6). Pure; `service` alone writes states.

environment   runs in     how it gets there
development   draft       registered; no gate, so nothing is submitted or activated
staging       submitted   draft -submit-> submitted; no gate
production    active      draft|rejected -submit-> submitted -approve-> approved -activate-> active;
                          submitted -reject-> rejected; submitted|approved -withdraw|lapse-> draft

From where it runs an agent can be suspended and quarantined, and returns to where it was; from anywhere it can be
retired, and from there nothing leads back. Halting twice keeps both: a quarantined agent that is suspended as well is
suspended when the quarantine is lifted.

A new declaration of an agent that never ran takes the old one's place and needs to be submitted anew. Of one that ran
outside of development it becomes the candidate: submitting, approving and rejecting then speak of the candidate and
leave the agent where it is, and activating (in staging: submitting) puts the candidate in force.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from accredit.registry.model import AgentState, Environment

__all__ = ["RUNS_IN", "AgentEvent", "AgentStep", "Inapplicable", "after", "awaits_candidate", "runs"]


class AgentEvent(StrEnum):
    """What happens to an agent."""

    DECLARE = "declare"
    """Another version of it is registered."""
    SUBMIT = "submit"
    APPROVE = "approve"
    REJECT = "reject"
    WITHDRAW = "withdraw"
    """Its request was taken back."""
    LAPSE = "lapse"
    """Its request ran out, or its approval was not used in time."""
    ACTIVATE = "activate"
    SUSPEND = "suspend"
    RESUME = "resume"
    QUARANTINE = "quarantine"
    LIFT = "lift"
    """The quarantine is lifted."""
    RETIRE = "retire"
    """Retirement begins."""
    RETIRED = "retired"
    """Retirement ends."""


@dataclass(frozen=True, slots=True)
class AgentStep:
    """Where an event leads."""

    state: AgentState
    halted_from: AgentState | None = None
    takes_candidate: bool = False
    """Whether the candidate becomes the version in force."""


@dataclass(frozen=True, slots=True)
class Inapplicable:
    """Why an event cannot happen to an agent as it stands."""

    why: str
    hint: str = ""


_State = AgentState
_Event = AgentEvent

RUNS_IN: Final[Mapping[Environment, frozenset[AgentState]]] = {
    Environment.DEVELOPMENT: frozenset({_State.DRAFT}),
    Environment.STAGING: frozenset({_State.SUBMITTED, _State.APPROVED}),
    Environment.PRODUCTION: frozenset({_State.ACTIVE}),
}
"""The states in which an agent's calls can be let through."""

_RUNNING: Final[Mapping[Environment, AgentState]] = {
    Environment.DEVELOPMENT: _State.DRAFT,
    Environment.STAGING: _State.SUBMITTED,
    Environment.PRODUCTION: _State.ACTIVE,
}
_STEPS: Final[Mapping[Environment, Mapping[tuple[AgentState, AgentEvent], AgentState]]] = {
    Environment.DEVELOPMENT: {(_State.DRAFT, _Event.DECLARE): _State.DRAFT},
    Environment.STAGING: {
        (_State.DRAFT, _Event.DECLARE): _State.DRAFT,
        (_State.DRAFT, _Event.SUBMIT): _State.SUBMITTED,
    },
    Environment.PRODUCTION: {
        (_State.DRAFT, _Event.DECLARE): _State.DRAFT,
        (_State.SUBMITTED, _Event.DECLARE): _State.DRAFT,
        (_State.APPROVED, _Event.DECLARE): _State.DRAFT,
        (_State.REJECTED, _Event.DECLARE): _State.DRAFT,
        (_State.DRAFT, _Event.SUBMIT): _State.SUBMITTED,
        (_State.REJECTED, _Event.SUBMIT): _State.SUBMITTED,
        (_State.SUBMITTED, _Event.APPROVE): _State.APPROVED,
        (_State.SUBMITTED, _Event.REJECT): _State.REJECTED,
        (_State.SUBMITTED, _Event.WITHDRAW): _State.DRAFT,
        (_State.SUBMITTED, _Event.LAPSE): _State.DRAFT,
        (_State.APPROVED, _Event.WITHDRAW): _State.DRAFT,
        (_State.APPROVED, _Event.LAPSE): _State.DRAFT,
        (_State.APPROVED, _Event.ACTIVATE): _State.ACTIVE,
    },
}
_RESULT: Final[Mapping[AgentEvent, AgentState]] = {
    _Event.SUBMIT: _State.SUBMITTED,
    _Event.APPROVE: _State.APPROVED,
    _Event.REJECT: _State.REJECTED,
    _Event.ACTIVATE: _State.ACTIVE,
    _Event.SUSPEND: _State.SUSPENDED,
    _Event.QUARANTINE: _State.QUARANTINED,
}
"""Repeating one of these where it led to already changes nothing."""
_DONE: Final[Mapping[AgentEvent, str]] = {
    _Event.SUBMIT: "submitted",
    _Event.APPROVE: "approved",
    _Event.REJECT: "rejected",
    _Event.WITHDRAW: "withdrawn",
    _Event.LAPSE: "sent back",
    _Event.ACTIVATE: "activated",
    _Event.DECLARE: "declared anew",
}
_HALTED: Final = frozenset({_State.SUSPENDED, _State.QUARANTINED})
_ENDED: Final = frozenset({_State.RETIRING, _State.RETIRED})
_STEPPING: Final[Mapping[Environment, str]] = {
    Environment.DEVELOPMENT: "an agent in development runs as a draft; register it in staging or production",
    Environment.STAGING: "an agent in staging runs once it is submitted; register it in production",
    Environment.PRODUCTION: "",
}


def runs(environment: Environment, state: AgentState) -> bool:
    """Whether an agent's calls can be let through at all."""
    return state in RUNS_IN[environment]


def awaits_candidate(environment: Environment, state: AgentState) -> bool:
    """Whether a new declaration becomes a candidate: the agent ran, so what is in force was somebody's decision."""
    return environment is not Environment.DEVELOPMENT and (runs(environment, state) or state in _HALTED)


def after(
    event: AgentEvent,
    environment: Environment,
    state: AgentState,
    *,
    halted_from: AgentState | None = None,
    candidate: bool = False,
) -> AgentStep | Inapplicable:
    """Where an event leads from a state; the same step again if it has happened already.

    `candidate` says whether a candidate waits, and `halted_from` where a halted agent returns to.
    """
    same = AgentStep(state, halted_from)
    if event in {_Event.RETIRE, _Event.RETIRED}:
        return _ending(event, state)
    if state in _ENDED:
        return Inapplicable(f"the agent is {state}", "register another agent; an id is never used again")
    if event in {_Event.SUSPEND, _Event.QUARANTINE, _Event.RESUME, _Event.LIFT}:
        return _halting(event, environment, state, halted_from)
    ran = runs(environment, state) or state in _HALTED
    if event is _Event.DECLARE and ran:
        return same
    if candidate and ran and environment is Environment.STAGING and event is _Event.SUBMIT:
        return AgentStep(state, halted_from, takes_candidate=True)
    if candidate and ran and environment is Environment.PRODUCTION:
        return _activating(state, halted_from) if event is _Event.ACTIVATE else same  # what is left is judging
    to = _STEPS[environment].get((state, event))
    if to is not None:
        return AgentStep(to)
    if _RESULT.get(event) is state:
        return same
    return Inapplicable(f"an agent that is {state} in {environment} cannot be {_DONE[event]}", _STEPPING[environment])


def _ending(event: AgentEvent, state: AgentState) -> AgentStep | Inapplicable:
    if event is _Event.RETIRE:
        return AgentStep(state if state in _ENDED else _State.RETIRING)
    if state in _ENDED:
        return AgentStep(_State.RETIRED)
    return Inapplicable("the agent's retirement has not begun", "retire it")


def _halting(
    event: AgentEvent, environment: Environment, state: AgentState, halted_from: AgentState | None
) -> AgentStep | Inapplicable:
    match event, state:
        case (_Event.SUSPEND, _State.SUSPENDED) | (_Event.QUARANTINE, _State.QUARANTINED):
            return AgentStep(state, halted_from)
        case (_Event.SUSPEND, _State.QUARANTINED):
            return AgentStep(state, _State.SUSPENDED)
        case (_Event.QUARANTINE, _State.SUSPENDED):
            return AgentStep(_State.QUARANTINED, _State.SUSPENDED)
        case (_Event.RESUME, _State.QUARANTINED):
            return Inapplicable("the agent is quarantined", "security lifts a quarantine, a new approval does as well")
        case (_Event.RESUME, _State.SUSPENDED) | (_Event.LIFT, _State.QUARANTINED) if halted_from is not None:
            return _released(environment, halted_from)
        case (_Event.SUSPEND | _Event.QUARANTINE, _) if runs(environment, state):
            return AgentStep(_RESULT[event], state)
        case (_Event.SUSPEND | _Event.QUARANTINE, _):
            return Inapplicable(f"an agent that is {state} in {environment} does not run", "withdraw or retire it")
        case (_Event.RESUME, _):
            return Inapplicable("the agent is not suspended")
        case _:
            return Inapplicable("the agent is not quarantined")


def _released(environment: Environment, halted_from: AgentState) -> AgentStep:
    if halted_from is _State.SUSPENDED:
        return AgentStep(_State.SUSPENDED, _RUNNING[environment])
    return AgentStep(halted_from)


def _activating(state: AgentState, halted_from: AgentState | None) -> AgentStep:
    """A candidate comes into force: a new approval lifts a quarantine, and leaves a suspension to be resumed."""
    if state is _State.SUSPENDED:
        return AgentStep(state, halted_from, takes_candidate=True)
    if state is _State.QUARANTINED and halted_from is _State.SUSPENDED:
        return AgentStep(_State.SUSPENDED, _State.ACTIVE, takes_candidate=True)
    return AgentStep(_State.ACTIVE, takes_candidate=True)
