"""Carries out what monitoring says is to be done. Every remedy narrows, is reversible and is recorded with its alert.

Lifting takes off again what an alert that is over had put on, and nothing that a person did.

One that fails stays on its alert and is tried again in the next round; one that was carried out and not noted is
carried out again, which changes nothing.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from typing import Final, assert_never

from accredit.audit.ports import Actor
from accredit.kernel.clock import Clock
from accredit.kernel.codes import Code
from accredit.kernel.errors import AccreditError, ConflictError, NotFoundError
from accredit.lifecycle.service import Lifecycle
from accredit.monitoring.model import Remediation, RemediationKind
from accredit.monitoring.service import Monitor
from accredit.registry.model import Restriction, RestrictionKind, Role
from accredit.registry.service import Registry

__all__ = ["REMEDY", "Remedies"]

REMEDY: Final = Actor(basis="remediation")
"""Who does it: nobody. The record names the alert."""
_DEFAULT_S: Final = 7 * 86_400
_THROTTLED: Final = 6
"""Calls a minute left to an agent that is throttled."""
_log = logging.getLogger(__name__)


class Remedies:
    """The automatic answers."""

    def __init__(self, lifecycle: Lifecycle, registry: Registry, monitor: Monitor, clock: Clock) -> None:
        self._lifecycle = lifecycle
        self._registry = registry
        self._monitor = monitor
        self._clock = clock

    async def carry_out(self, remediations: Iterable[Remediation]) -> int:
        """Do them, each by itself; returns how many are done. What fails is logged and stays to be done."""
        done = 0
        for each in remediations:
            try:
                await self._do(each)
                await self._monitor.mark_remedied(each.alert, actor=REMEDY)
                done += 1
            except AccreditError as error:
                _log.error("alert %s asks for %s of %s: %s", each.alert, each.kind, each.agent, error.message)
        return done

    async def _do(self, remediation: Remediation) -> None:
        why = f"alert {remediation.alert}: {remediation.why}"
        try:
            match remediation.kind:
                case RemediationKind.NONE:
                    pass
                case RemediationKind.QUARANTINE:
                    await self._lifecycle.quarantine(remediation.agent, REMEDY, why)
                case RemediationKind.SUSPEND:
                    await self._lifecycle.suspend(remediation.agent, REMEDY, why)
                case RemediationKind.RESTRICT:
                    await self._restrict(remediation, why)
                case RemediationKind.LIFT:
                    for one in self._registry.restrictions_of(remediation.agent):
                        if one.alert == remediation.alert:
                            await self._registry.lift_restriction(one.id, REMEDY, f"alert {remediation.alert} is over")
                case _:
                    assert_never(remediation.kind)
        except (ConflictError, NotFoundError) as error:
            if error.code not in {Code.TRANSITION_REFUSED, Code.NOT_FOUND}:
                raise
            # it does not run: there is nothing left to stop

    async def _restrict(self, remediation: Remediation, why: str) -> None:
        kind = remediation.restriction or RestrictionKind.READ_ONLY
        until_us = self._clock.now().wall_us + (remediation.for_s or _DEFAULT_S) * 1_000_000
        await self._registry.restrict(
            remediation.agent,
            kind,
            REMEDY,
            cause=why[:500],
            until_us=until_us,
            tool=remediation.tool,
            calls_per_minute=(remediation.calls_per_minute or _THROTTLED) if kind is RestrictionKind.THROTTLE else None,
            role=Role(remediation.role or Role.SECURITY) if kind is RestrictionKind.HOLD else None,
            until_approved=remediation.until_approved,
            alert=remediation.alert,
        )
        for one in self._registry.restrictions_of(remediation.agent):
            # what an alert that somebody resolved left behind goes on in this one: else whoever resolves alerts could
            # make restrictions pile up to where no other finds room
            same = (one.kind, one.tool, one.until_approved) == (kind, remediation.tool, remediation.until_approved)
            if same and one.until_us <= until_us and self._left_behind(one, remediation):
                await self._registry.lift_restriction(one.id, REMEDY, f"goes on by alert {remediation.alert}")

    def _left_behind(self, restriction: Restriction, remediation: Remediation) -> bool:
        if restriction.alert in {None, remediation.alert}:
            return False
        alert = self._monitor.alert(str(restriction.alert))
        return alert is not None and alert.closed_us is not None
