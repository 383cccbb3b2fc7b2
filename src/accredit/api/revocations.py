"""What came of ending credentials: how many calls in flight it cancelled, and how fast."""

from __future__ import annotations

from collections.abc import Awaitable
from dataclasses import dataclass

from accredit.api.plane import ControlPlane

__all__ = ["EndedCredentials", "timed"]


@dataclass(frozen=True, slots=True)
class EndedCredentials:
    """What ended."""

    revoked: str
    replicas: int
    acknowledged: int
    cancelled_in_flight: int
    took_ms: float


async def timed(plane: ControlPlane, what: str, revoking: Awaitable[object]) -> EndedCredentials:
    """Wait for a revocation and tell of it."""
    began, before = plane.clock.now(), plane.enforcer.cancelled
    await revoking
    took_us = plane.clock.now().boot_us - began.boot_us
    return EndedCredentials(what, 1, 1, plane.enforcer.cancelled - before, round(took_us / 1000, 3))
