"""The newest calls that passed this path, so that what is told of them afterwards is not taken for something else.

A span of the same call is known by the decision id it carries, or by where it stands in its trace: the caller's
`traceparent` named the span it was in when it called, and the spans around that one are of the same call as long as
they are of the same tool. Only calls of the same agent count: nobody hides a call behind another's.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from typing import Final

from accredit.enforcement.reported import SpanRef
from accredit.kernel.ids import AgentId, DecisionId, ToolId

__all__ = ["PassedCalls"]

_KEPT: Final = 4_096
_MOST_STEPS: Final = 8
"""Spans between the request and whatever the agent's framework calls the use of the tool."""
_MOST_TOOLS: Final = 16

_Key = DecisionId | SpanRef


class PassedCalls:
    """What is remembered of them: bounded, in memory, the oldest forgotten first."""

    def __init__(self, *, kept: int = _KEPT) -> None:
        self._kept = kept
        self._calls: OrderedDict[tuple[AgentId, _Key], tuple[ToolId, ...]] = OrderedDict()
        """Within one span several calls may be made."""

    def note(self, agent: AgentId, tool: ToolId, decision: DecisionId, span: SpanRef | None) -> None:
        """A call was let through, and was made within that span of its caller's."""
        self._put(agent, decision, tool)
        if span is not None:
            self._put(agent, span, tool)

    def _put(self, agent: AgentId, key: _Key, tool: ToolId) -> None:
        known = self._calls.get((agent, key), ())
        if tool not in known:
            self._calls[agent, key] = (*known, tool)[-_MOST_TOOLS:]
        if len(self._calls) > self._kept:
            self._calls.popitem(last=False)

    def by_decision(self, agent: AgentId, decision: str, tool: ToolId | None) -> bool:
        """Whether that decision let through a call of that agent to that tool."""
        return tool in self._calls.get((agent, DecisionId(decision)), ())

    def by_place(self, agent: AgentId, span: SpanRef, tool: ToolId | None) -> bool:
        """Whether a call of that agent to that tool was made within this span."""
        return tool in self._calls.get((agent, span), ())

    def learn(self, agent: AgentId, parents: Mapping[SpanRef, SpanRef], tools: Mapping[SpanRef, ToolId | None]) -> None:
        """Take spans around those that are known for spans of the same calls.

        `parents` are of all spans of one report, `tools` of those that tell of a use: one of another tool ends the way
        up. The span above is remembered as well, for it ends later and may come with a later report.
        """
        for span in parents:
            for tool in self._calls.get((agent, span), ()):
                at = span
                for _ in range(_MOST_STEPS):
                    above = parents.get(at)
                    if above is None or tools.get(above, tool) != tool:
                        break
                    self._put(agent, above, tool)
                    at = above
