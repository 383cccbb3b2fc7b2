"""Which gate is for which shape, and what an agent reads instead of a call that is withheld."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from accredit.enforcement.model import Admitted, AskedCall, WeighedCall
from accredit.gateway.llm.chat_gate import ChatGate
from accredit.gateway.llm.events import AskedTool
from accredit.gateway.llm.gate import AnswerGate, Weighing
from accredit.gateway.llm.messages_gate import MessagesGate
from accredit.gateway.llm.responses_gate import ResponsesGate
from accredit.gateway.llm.shapes import LlmShape
from accredit.gateway.ports import EnforcementPoint
from accredit.kernel.codes import Code
from accredit.kernel.legible import visible
from accredit.policy.model import ToolCallRule

__all__ = ["WeighedAnswer", "gate_for"]

_MOST_CALLS: Final = 256
"""Calls in one answer that are weighed; what is beyond is withheld."""
_LONGEST_NAME: Final = 64
_GATES: Final[Mapping[LlmShape, type[ChatGate | MessagesGate | ResponsesGate]]] = {
    LlmShape.CHAT: ChatGate,
    LlmShape.MESSAGES: MessagesGate,
    LlmShape.RESPONSES: ResponsesGate,
}


class WeighedAnswer:
    """Weighs the calls in one answer, and remembers what came of each."""

    def __init__(self, enforcement: EnforcementPoint, admitted: Admitted, rule: ToolCallRule) -> None:
        self._enforcement = enforcement
        self._admitted = admitted
        self._rule = rule
        self.calls: list[dict[str, Any]] = []
        """For the record: each call, what it came to, and the decisions that say so."""

    async def __call__(self, asked: AskedTool) -> str | None:
        """Whether the agent may see a call: None, or the text that it sees instead.

        Raises:
            UnavailableError: what it came to could not be put on record.
        """
        if len(self.calls) >= _MOST_CALLS:
            return _said(asked.name, WeighedCall(code=Code.RATE_LIMITED))
        call = AskedCall(asked.name, asked.arguments, asked.id)
        weighed = await self._enforcement.weigh(self._admitted, call)
        code = weighed.code
        if not weighed.decisions and self._rule is ToolCallRule.KNOWN:
            code = Code.TOOL_UNKNOWN
        shown = code is Code.ALLOWED
        self.calls.append(
            {
                "id": asked.id,
                "name": asked.name,
                "shown": shown,
                "code": code.value if weighed.decisions or not shown else None,
                "decisions": list(weighed.decisions),
            }
        )
        if not shown:
            return _said(asked.name, WeighedCall(weighed.decisions, code, weighed.policies, weighed.hold))
        self._enforcement.asked(self._admitted, [call])
        return None


def gate_for(shape: LlmShape, weigh: Weighing) -> AnswerGate | None:
    """The gate for answers of a shape; None for those that ask for nothing."""
    made = _GATES.get(shape)
    return made(weigh) if made is not None else None


def _said(name: str, weighed: WeighedCall) -> str:
    parts = [f"{weighed.code.value}: {weighed.code.meaning}", *(f"policy {one}" for one in weighed.policies)]
    if weighed.hold is not None:
        parts.append(f"hold {weighed.hold}: ask again once it is approved")
    hint = f" ({weighed.code.remedy})" if weighed.code.remedy else ""
    return f"[The call of `{visible(name[:_LONGEST_NAME])}` was withheld. {'; '.join(parts)}{hint}]"
