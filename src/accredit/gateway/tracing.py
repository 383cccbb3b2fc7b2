"""Trace context of callers (W3C Trace Context §3.2, version 00): passed on, known again in telemetry. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Final

__all__ = ["TRACEPARENT", "TraceParent", "trace_parent"]

TRACEPARENT: Final = "traceparent"
_FORM = re.compile(r"00-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-([0-9a-f]{2})")


@dataclass(frozen=True, slots=True)
class TraceParent:
    """Where in a trace of its own a caller says that it is."""

    text: str
    trace: str
    """32 hex digits."""
    span: tuple[bytes, bytes]
    """Trace and span id."""
    sampled: bool
    """Whether the caller records this trace (§3.2.2.5.1)."""


def trace_parent(value: Any) -> TraceParent | None:
    """Read a `traceparent`; None if it is none, which changes nothing about a call (§3.3: start a new trace)."""
    found = _FORM.fullmatch(value) if isinstance(value, str) else None
    if found is None:
        return None
    span = bytes.fromhex(found[1]), bytes.fromhex(found[2])
    return TraceParent(found[0], found[1], span, bool(int(found[3], 16) & 1))
