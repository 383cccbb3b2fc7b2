"""Language models as tools of their provider: what a call of one is, as arguments, and what it costs. Pure.

A provider is registered like a tool server and its models like tools, so that grants, limits, holds, restrictions and
records are the same; what policies see is a `Model` in its `Provider`, and the operation `llm/chat` (DESIGN §3.5).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from accredit.kernel.money import Money

__all__ = ["LLM_OPERATION", "ModelRates", "model_definition", "plain_arguments"]

LLM_OPERATION: Final = "llm/chat"
_MILLION: Final = 1_000_000
_TEXTS: Final[Mapping[str, Any]] = {"type": "array", "items": {"type": "string"}}
_ARGUMENTS: Final[Mapping[str, Any]] = {
    "body": {"type": "string"},
    "hosted": _TEXTS,
    "input_bytes": {"type": "integer"},
    "max_output_tokens": {"type": "integer"},
    "model": {"type": "string"},
    "operation": {"enum": ["chat", "embeddings", "messages", "responses"], "type": "string"},
    "stored": {"type": "boolean"},
    "streamed": {"type": "boolean"},
    "tools": _TEXTS,
    "user_text": {"type": "string"},
}


@dataclass(frozen=True, slots=True)
class ModelRates:
    """What a million tokens cost, and how many a model can answer with."""

    input: Money
    output: Money
    cache_read: Money
    cache_write: Money
    max_output: int

    def most(self, input_tokens: int, output_tokens: int | None) -> Money:
        """What a call can cost at worst; None: as much output as the model can."""
        output = self.max_output if output_tokens is None else output_tokens
        dearest = max(self.input.nanos, self.cache_write.nanos)
        return self._money(input_tokens * dearest + output * self.output.nanos)

    def spent(self, input_tokens: int, output_tokens: int, cache_read: int, cache_write: int) -> Money:
        """What a call did cost; tokens read from and written to the cache are among those of the input."""
        plain = max(input_tokens - cache_read - cache_write, 0)
        return self._money(
            plain * self.input.nanos
            + cache_read * self.cache_read.nanos
            + cache_write * self.cache_write.nanos
            + output_tokens * self.output.nanos
        )

    def _money(self, nanos: int) -> Money:
        return Money(-(-nanos // _MILLION), self.input.currency)


def plain_arguments(model: str) -> dict[str, Any]:
    """Those of a chat with nothing in it: what a case of a policy need not spell out."""
    return {
        "body": "",
        "hosted": [],
        "input_bytes": 0,
        "max_output_tokens": 0,
        "model": model,
        "operation": "chat",
        "stored": False,
        "streamed": False,
        "tools": [],
        "user_text": "",
    }


def model_definition(api: str, model: str) -> dict[str, Any]:
    """What stands for a model where a tool has its definition: a call's facts as arguments."""
    return {
        "name": model,
        "annotations": {"model": {"api": api}},
        "inputSchema": {"type": "object", "properties": dict(_ARGUMENTS), "required": sorted(_ARGUMENTS)},
    }
