"""The services the control plane speaks to, as `bootstrap` put them together."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from accredit.approvals.service import Holds
from accredit.audit.ports import ControlLog, LogReader
from accredit.audit.records import PartKeys
from accredit.audit.writer import LogWriter
from accredit.enforcement.history import History
from accredit.enforcement.path import Enforcer
from accredit.enforcement.ports import DefinitionWatch
from accredit.enforcement.snapshot import SnapshotKeeper
from accredit.identity.broker import SealedBroker
from accredit.identity.endpoint import TokenEndpoint
from accredit.identity.enrolment import Enrolment
from accredit.identity.people import People
from accredit.identity.points import EnforcementPoints
from accredit.identity.providers import ContextProviders
from accredit.identity.revocation import Revocations
from accredit.identity.signing import SigningKeys
from accredit.identity.state import IdentityState
from accredit.kernel.clock import Clock, ClockWatch
from accredit.lifecycle.room import LifecycleRoom
from accredit.limits.service import Limits
from accredit.policy.rehearsing import Rehearsals
from accredit.policy.releases import PolicyReleases
from accredit.policy.simulating import Simulations
from accredit.registry.service import Registry

__all__ = ["ControlPlane"]


@dataclass(frozen=True, slots=True)
class ControlPlane:
    """Everything the API may touch."""

    public_url: str
    clock: Clock
    watch: ClockWatch
    control: ControlLog
    log: LogWriter
    records: LogReader
    part_keys: PartKeys
    history: History
    rehearsals: Rehearsals
    simulations: Simulations
    registry: Registry
    releases: PolicyReleases
    snapshots: SnapshotKeeper
    identity: IdentityState
    providers: ContextProviders
    people: People
    enrolment: Enrolment
    tokens: TokenEndpoint
    signing: SigningKeys
    revocations: Revocations
    points: EnforcementPoints
    broker: SealedBroker
    definitions: DefinitionWatch
    limits: Limits
    holds: Holds
    enforcer: Enforcer
    room: LifecycleRoom
    metrics: Callable[[str], tuple[bytes, str]]
    """What is measured, for an `Accept` header: the document and its media type."""
    ready: Callable[[], str | None]
    """None when calls can be served, else why not."""

    async def watched(self) -> None:
        """Have everything that is new looked at and answered now, instead of within seconds.

        Raises:
            UnavailableError: the log cannot be read or written.
        """
        await self.room.operations.watch()
