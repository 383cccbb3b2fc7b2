"""Which acts a page offers on an agent: those its state allows and this person may do. Pure.

An offer is a convenience. Whether it can be done is asked again by the operations when somebody does it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from accredit.identity.model import Operator
from accredit.kernel.clearance import Basis
from accredit.registry.authority import Act, Unauthorised, authority
from accredit.registry.lifecycle import AgentEvent, Inapplicable, after
from accredit.registry.model import Agent, AgentState
from accredit.registry.organisation import Organisation

__all__ = ["OFFERS", "Offer", "offers"]


@dataclass(frozen=True, slots=True)
class Offer:
    """Something a person can do to an agent."""

    name: str
    """As in the address, and as the command line calls it."""
    label: str
    act: Act
    event: AgentEvent
    says: str
    """What will happen, in a sentence."""
    reason: bool = True
    """Whether it takes a reason."""
    grave: bool = False


OFFERS: Final[Mapping[str, Offer]] = {
    one.name: one
    for one in (
        Offer(
            "submit",
            "Submit",
            Act.SUBMIT,
            AgentEvent.SUBMIT,
            "In production this asks for sign-off on the newest version; in staging the agent runs from then on.",
            reason=False,
        ),
        Offer(
            "activate",
            "Activate",
            Act.ACTIVATE,
            AgentEvent.ACTIVATE,
            "The approved version comes into force, and instances can enrol. Everything the approval rests on is "
            "checked once more first.",
            reason=False,
        ),
        Offer(
            "suspend",
            "Suspend",
            Act.SUSPEND,
            AgentEvent.SUSPEND,
            "It stops at once: calls in flight are cancelled and its tokens end. Its keys stay, and it can be resumed.",
            grave=True,
        ),
        Offer("resume", "Resume", Act.RESUME, AgentEvent.RESUME, "It runs again, under the version it had."),
        Offer(
            "quarantine",
            "Quarantine",
            Act.SUSPEND,
            AgentEvent.QUARANTINE,
            "It stops at once, until somebody in the role security lifts it or a new version is approved.",
            grave=True,
        ),
        Offer("lift", "Lift quarantine", Act.LIFT_QUARANTINE, AgentEvent.LIFT, "It returns to where it was before."),
        Offer(
            "retire",
            "Retire",
            Act.RETIRE,
            AgentEvent.RETIRE,
            "It ends for good: every credential dies first, then what it was given is taken back step by step and its "
            "records are archived. Its id is never used again.",
            grave=True,
        ),
    )
}
_ENDED: Final = frozenset({AgentState.RETIRING, AgentState.RETIRED})


def offers(agent: Agent, who: Operator, organisation: Organisation) -> tuple[Offer, ...]:
    """What this person could do to this agent now."""
    return tuple(one for one in OFFERS.values() if _changes(one, agent) and _may(one, agent, who, organisation))


def _changes(offer: Offer, agent: Agent) -> bool:
    if agent.state in _ENDED:
        return False
    step = after(
        offer.event,
        agent.environment,
        agent.state,
        halted_from=agent.halted_from,
        candidate=agent.candidate is not None,
    )
    if isinstance(step, Inapplicable):
        return False
    waits = agent.candidate is not None and offer.event in {AgentEvent.SUBMIT, AgentEvent.ACTIVATE}
    return waits or step.state is not agent.state or step.halted_from is not agent.halted_from


def _may(offer: Offer, agent: Agent, who: Operator, organisation: Organisation) -> bool:
    answer = authority(offer.act, who.person, organisation, agent=agent, single_admin=who.basis == Basis.SINGLE_ADMIN)
    return not isinstance(answer, Unauthorised)
