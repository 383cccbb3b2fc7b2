"""What the steps of the demo require: each says why it did not hold."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mcp_types import CallToolResult

__all__ = ["allowed", "refused", "require", "told"]


def require(holds: object, why: str) -> None:
    """Fail the step unless it holds."""
    if not holds:
        raise AssertionError(why)


def told(result: CallToolResult) -> Mapping[str, Any]:
    """What a refusal tells the agent."""
    return result.structured_content or {}


def allowed(result: CallToolResult) -> None:
    """Require that the call went through."""
    require(not result.is_error, f"expected to be allowed, was refused: {dict(told(result))}")


def refused(result: CallToolResult, code: str) -> Mapping[str, Any]:
    """Require that the call was refused with that code, and helpfully."""
    said = told(result)
    require(result.is_error, f"expected `{code}`, but the call went through")
    require(said.get("code") == code, f"expected `{code}`, got `{said.get('code')}`: {dict(said)}")
    require(said.get("message") and said.get("hint"), "a refusal says what happened and what would change it")
    return said
