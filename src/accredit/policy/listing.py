"""Which tools an agent is shown.

Whether a call passes depends on its context; a list has none, so it only leaves out what no context could allow.
"""

from __future__ import annotations

from accredit.kernel.errors import InvalidInputError, UnavailableError
from accredit.kernel.ids import ToolId
from accredit.policy.snapshot import Inadmissible, PolicySnapshot
from accredit.registry.model import Agent

__all__ = ["listed"]


def listed(agent: Agent, tool: ToolId, snapshot: PolicySnapshot) -> bool:
    """Whether the agent's slice for the tool has a permit and no forbid without conditions.

    A forbid that a person may lift (`@hold`) does not hide the tool: calling it is how one asks. Nor does one that
    stands aside once the tool calls in an answer are decided (`@tool_calls`).
    """
    try:
        part = snapshot.slice_for(agent, tool)
    except (InvalidInputError, UnavailableError):
        return False
    if isinstance(part, Inadmissible):
        return False
    return any(policy.permits for policy in part.policies) and not any(
        not policy.permits and not policy.conditions and policy.absolute and policy.observed_until_us is None
        for policy in part.policies
    )
