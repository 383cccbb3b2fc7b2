"""Puts this room together from the rooms above it: who judges, who signs off, who watches, who carries out."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from accredit.approvals.breakglass import BreakGlasses
from accredit.approvals.model import SubjectKind
from accredit.approvals.service import Holds
from accredit.approvals.signoff import Approvals
from accredit.audit.erasing import Erasures
from accredit.audit.expiring import Expiries
from accredit.audit.indexing import SubjectIndex
from accredit.audit.legal_holds import LegalHoldKeeper
from accredit.audit.model import Pseudonym
from accredit.audit.notes import NoteSigner
from accredit.audit.ports import ControlLog, LogReader, SubjectStore
from accredit.audit.records import PartKeys
from accredit.audit.retention import Schedule, the_schedule
from accredit.audit.subjects import SubjectKeys
from accredit.enforcement.snapshot import Snapshot
from accredit.identity.broker import SealedBroker
from accredit.identity.credentials import AgentCredentials
from accredit.identity.directory_keys import DirectoryKeys
from accredit.identity.enrolment import Enrolment
from accredit.identity.model import CredentialState
from accredit.identity.people import People
from accredit.identity.points import EnforcementPoints
from accredit.identity.revocation import Revocations
from accredit.identity.signing import SigningKeys
from accredit.identity.state import IdentityState
from accredit.kernel.clock import Clock, Instant
from accredit.kernel.errors import AccreditError
from accredit.kernel.ids import AgentId, CredentialId, IdSource, ServerName
from accredit.kernel.sealing import Sealer
from accredit.lifecycle.absence import Absence
from accredit.lifecycle.baseline_operations import BaselineOperations
from accredit.lifecycle.breaking_operations import BreakingOperations
from accredit.lifecycle.cascading import Cascade
from accredit.lifecycle.certificates import Certificates
from accredit.lifecycle.chat_operations import ChatOperations
from accredit.lifecycle.credential_inventory import CredentialInventory
from accredit.lifecycle.detecting import BuiltInDetector
from accredit.lifecycle.directory_operations import DirectoryOperations
from accredit.lifecycle.discovery.keys import FoundKeys
from accredit.lifecycle.discovery.service import Findings
from accredit.lifecycle.discovery_operations import DiscoveryOperations
from accredit.lifecycle.dossier import Dossiers
from accredit.lifecycle.forecasting import SpendForecasts
from accredit.lifecycle.gitops_operations import GitopsOperations
from accredit.lifecycle.grounds import PresentGrounds
from accredit.lifecycle.incident_operations import IncidentOperations
from accredit.lifecycle.interchange_operations import InterchangeOperations
from accredit.lifecycle.joining import OpenQuestions, VersionSignOff
from accredit.lifecycle.judging import Judging
from accredit.lifecycle.observed_operations import ObservedOperations
from accredit.lifecycle.operations import Operations
from accredit.lifecycle.overdue import RisenTiers
from accredit.lifecycle.people_operations import PeopleOperations
from accredit.lifecycle.ports import Archive, FindsPersonal, Samples, StoreAdapters
from accredit.lifecycle.record_operations import RecordOperations
from accredit.lifecycle.remedies import Remedies
from accredit.lifecycle.retirements import Retirements
from accredit.lifecycle.review_operations import ReviewOperations
from accredit.lifecycle.reviews.carrying_out import RemovalKeeper
from accredit.lifecycle.reviews.first_uses import FirstUses
from accredit.lifecycle.reviews.gathering import CardGatherer
from accredit.lifecycle.reviews.service import Reviews
from accredit.lifecycle.running_versions import RunningVersions
from accredit.lifecycle.service import Lifecycle
from accredit.lifecycle.session_operations import SessionOperations
from accredit.lifecycle.steps import mirrored_steps
from accredit.lifecycle.store_operations import StoreOperations
from accredit.lifecycle.store_reviews import StoreReviews
from accredit.lifecycle.stores import Stores
from accredit.lifecycle.succession import SuccessionTimes
from accredit.lifecycle.successions import Successions
from accredit.lifecycle.timeline import Timeline
from accredit.limits.service import Limits
from accredit.monitoring.baselines import BaselineKeeper, LearningTerms
from accredit.monitoring.drift.ports import DetectorKind, FittedStore
from accredit.monitoring.drift.watching import BehaviourWatch
from accredit.monitoring.observations import Observations
from accredit.monitoring.observing import ObservedTraffic
from accredit.monitoring.profiles.following import SessionProfiles
from accredit.monitoring.profiles.ports import ProfileStore
from accredit.monitoring.service import Monitor
from accredit.policy.rehearsal import Rehearsal
from accredit.policy.releases import PolicyReleases
from accredit.policy.scope import EntityName
from accredit.registry.model import Agent
from accredit.registry.service import Registry

__all__ = ["LifecycleRoom", "furnished"]

WATCH_S: Final = 2.0
TIDY_EVERY: Final = 15
"""Rounds of watching between two of tidying."""
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class LifecycleRoom:
    """Everything of this room that others speak to."""

    approvals: Approvals
    baselines: BaselineKeeper
    breaking: BreakingOperations
    dossiers: Dossiers
    judging: Judging
    lifecycle: Lifecycle
    monitor: Monitor
    observed: ObservedOperations
    operations: Operations
    timeline: Timeline
    discovery: DiscoveryOperations
    stores: Stores
    store_reviews: StoreReviews
    store_operations: StoreOperations
    interchange: InterchangeOperations
    gitops: GitopsOperations
    people: PeopleOperations
    directories: DirectoryOperations
    chats: ChatOperations
    legal_holds: LegalHoldKeeper
    erasures: Erasures
    expiries: Expiries
    record_operations: RecordOperations
    risen: RisenTiers
    retirements: Retirements
    incidents: IncidentOperations
    reviews: ReviewOperations
    running: RunningVersions
    sessions: SessionOperations
    behaviour: BehaviourWatch
    baseline_operations: BaselineOperations
    forecasts: SpendForecasts

    async def start(self) -> None:
        """Go on where the process before this one was.

        Raises:
            UnavailableError: the log cannot be read, or monitoring's beginning not made durable.
        """
        await asyncio.to_thread(self.timeline.catch_up)
        await self.monitor.start()
        await self.operations.tidy()
        await self.retirements.certificates.round()

    async def run(self) -> None:
        """Watch, answer and tidy until cancelled. A failure is logged and tried again, and keeps nothing else waiting.

        INVARIANT: what answers an alert waits for nothing that can take long, like a store or an erasure.
        """
        async with asyncio.TaskGroup() as both:
            both.create_task(self._watching())
            both.create_task(self._keeping())
            both.create_task(self._following())

    async def _watching(self) -> None:
        rounds = 0
        while True:
            await asyncio.sleep(WATCH_S)
            rounds += 1
            await _tried(self.operations.watch)
            await _tried(self.judging.keep_tiers)
            if rounds % TIDY_EVERY == 0:
                await _tried(self.operations.tidy)

    async def _keeping(self) -> None:
        quick = (
            self.running.round,
            self.forecasts.round,
            self.risen.round,
            self.directories.round,
            self.people.successions.round,
            self.discovery.tidy,
            self.incidents.round,
            self.reviews.round,
        )
        long = (self.observed.round, self.record_operations.round, self.stores.round, self.retirements.round)
        while True:
            await asyncio.sleep(WATCH_S * TIDY_EVERY)
            for each in (*quick, *long):
                await _tried(each)

    async def _following(self) -> None:
        rounds = 0
        while True:
            await asyncio.sleep(WATCH_S)
            rounds += 1
            await _tried(self.sessions.round)
            await _tried(self.behaviour.round)
            if rounds % TIDY_EVERY == 0:
                await _tried(self.baseline_operations.round)

    async def close(self) -> None:
        """Write what is counted and not written yet; if that fails, it is counted again from the log."""
        await self.stores.close()
        try:
            await self.monitor.close()
        except AccreditError as error:
            _log.warning("what monitoring counted last is counted again at the next start: %s", error.message)
        try:
            await self.behaviour.close()
        except AccreditError as error:
            _log.warning("the newest sessions are looked at again at the next start: %s", error.message)


async def _tried(once: Callable[[], Awaitable[object]]) -> None:
    try:
        await once()
    except Exception:  # noqa: BLE001 - a background task must outlive one failure
        _log.exception("a background round failed and will be tried again")


def furnished(
    *,
    control: ControlLog,
    records: LogReader,
    registry: Registry,
    identity: IdentityState,
    people: People,
    enrolment: Enrolment,
    revocations: Revocations,
    points: EnforcementPoints,
    directory_keys: DirectoryKeys,
    broker: SealedBroker,
    releases: PolicyReleases,
    snapshot: Callable[[], Snapshot],
    holds: Holds,
    limits: Limits,
    archive: Archive,
    sealer: Sealer,
    subjects: SubjectStore,
    part_keys: PartKeys,
    pseudonyms: Callable[[], Iterable[Pseudonym]],
    clock: Clock,
    ids: IdSource,
    rehearse: Callable[[Mapping[str, str]], Awaitable[Rehearsal]],
    adapters: StoreAdapters,
    samples: Samples,
    detector: FindsPersonal | None = None,
    steady: Callable[[Instant], bool] = lambda _: True,
    forget: Callable[[ServerName], None] = lambda _: None,
    at: Callable[[str], None] = lambda _: None,
    opened: Callable[[int, str], Mapping[str, Any]] = lambda *_: {},
    card_keys: SigningKeys,
    certifies: NoteSigner,
    checkpoint: Callable[[], Awaitable[bytes]],
    public_url: str,
    program: str,
    succession_times: SuccessionTimes | None = None,
    backup_days: int = 30,
    chat_votes: str = "medium",
    schedule: Schedule | None = None,
    profiles: ProfileStore,
    fitted: FittedStore,
    detectors: Sequence[DetectorKind] = (),
    detectors_in_memory: int = 10_000,
    learning: LearningTerms | None = None,
    session_idle_us: int,
) -> LifecycleRoom:
    """The room over those services; `at` is called between any two steps of a procedure, for fault tests."""
    names = SubjectKeys.under(sealer)
    legal_holds = LegalHoldKeeper(control, names, clock=clock, ids=ids)
    index = SubjectIndex(subjects, part_keys, names, pseudonyms=pseudonyms)
    kept_for = schedule or the_schedule()
    expiries = Expiries(control, subjects, index, legal_holds, kept_for, clock=clock, ids=ids)
    erasures = Erasures(control, index, subjects, legal_holds, names, clock=clock, ids=ids, at=at)
    observations = Observations(control)
    judging = Judging(registry, snapshot, clock, observations)
    grounds = PresentGrounds(
        registry,
        judging,
        releases,
        lambda request: approvals.content(request),  # noqa: PLW0108 - bound by this very call
        lambda: clock.now().wall_us,
    )
    approvals = Approvals(
        control,
        ids,
        clock,
        organisation=registry.proven_organisation,
        grounds=grounds,
        authors=registry.authors,
        steady=steady,
        replacing=grounds.replacing,
    )
    credentials = AgentCredentials()
    baselines = BaselineKeeper(control, lambda: registry.catalogue, learning)
    sign_off = VersionSignOff(approvals)

    def agents() -> Iterable[Agent]:
        return registry.catalogue.agents()

    def policies_about(agent: Agent) -> tuple[str, ...]:
        own = EntityName("Agent", agent.id)
        return tuple(one.id for one in releases.current.policies if own in (one.scope.principal.entities or ()))

    stores = Stores(
        control,
        adapters,
        samples,
        legal_holds,
        detector or BuiltInDetector(),
        approvals,
        registered=lambda: registry.stores,
        declared=lambda agent: [
            one for version in registry.versions(agent) for one in version.manifest["spec"].get("stores", ())
        ],
        agent=registry.get,
        agents=lambda: registry.catalogue.agents(),  # noqa: PLW0108 - the catalogue of then
        tier_of=lambda agent: judging.present(agent).tier,  # that its owner left makes it no graver
        reviewed=lambda selector: store_reviews.reviewed(selector),  # noqa: PLW0108 - bound below, called later
        clock=clock,
        ids=ids,
        at=at,
    )
    store_reviews = StoreReviews(control, stores, agent=registry.get, clock=clock, ids=ids)
    findings, keys = Findings(control, ids, clock), FoundKeys(control, ids, clock)
    inventory = CredentialInventory(control, identity, broker, keys, lambda: registry.catalogue, clock)
    absence = Absence(inventory, broker, findings, lambda: registry.organisation)
    lifecycle = Lifecycle(
        control,
        registry,
        sign_off,
        credentials,
        mirrored_steps(
            credentials=credentials,
            questions=OpenQuestions(holds, approvals),
            sign_off=sign_off,
            policies_about=policies_about,
            reservations=limits,
            baselines=baselines,
            archive=archive,
            purges=stores,
            lenders=broker,
            delegations=Cascade(agents, findings),
            absence=absence,
        ),
        clock=clock,
        ids=ids,
        at=at,
    )
    timeline = Timeline(records)
    certificates = Certificates(
        control,
        lifecycle,
        stores,
        findings,
        inventory,
        absence,
        timeline,
        agent=registry.get,
        signer=certifies,
        checkpoint=checkpoint,
        clock=clock,
        ids=ids,
        at=at,
    )
    reviews = Reviews(control, ids)
    retirements = Retirements(
        lifecycle=lifecycle,
        registry=registry,
        judging=judging,
        approvals=approvals,
        holds=holds,
        legal_holds=legal_holds,
        stores=stores,
        reviews=reviews,
        store_reviews=store_reviews,
        archive=archive,
        schedule=kept_for,
        findings=findings,
        inventory=inventory,
        certificates=certificates,
    )

    def agent_of(credential: CredentialId) -> AgentId | None:
        found = identity.credential(credential)
        return None if found is None else found.agent

    def taken(credential: CredentialId) -> bool:
        found = identity.credential(credential)
        return found is not None and found.state in {CredentialState.LOCKED, CredentialState.REVOKED}

    monitor = Monitor(
        control,
        records,
        baselines,
        catalogue=lambda: registry.catalogue,
        agent_of=agent_of,
        clock=clock,
        ids=ids,
        tier_of=judging.present,
        opened=opened,
        rules=lambda: releases.current.config.remediations,
        taken=taken,
    )

    behaviour = BehaviourWatch(
        control,
        profiles,
        fitted,
        baselines,
        monitor,
        kinds=detectors,
        agent=registry.get,
        sealer=sealer.derive("drift-states"),
        clock=clock,
        in_memory=detectors_in_memory,
    )
    record_operations = RecordOperations(
        legal_holds, erasures, expiries, approvals, registry, clock, backup_days=backup_days
    )
    glasses = BreakGlasses(control, clock, request=approvals.get)
    operations = Operations(
        registry=registry,
        identity=identity,
        people=people,
        enrolment=enrolment,
        revocations=revocations,
        points=points,
        broker=broker,
        releases=releases,
        approvals=approvals,
        holds=holds,
        monitor=monitor,
        lifecycle=lifecycle,
        remedies=Remedies(lifecycle, registry, monitor, clock),
        judging=judging,
        rehearse=rehearse,
        forget=forget,
        glasses=glasses,
        retirements=retirements,
        enact={
            SubjectKind.PURGE.value: stores.approved,
            SubjectKind.ERASURE.value: record_operations.approved,
            SubjectKind.RETIREMENT.value: retirements.approved,
        },
    )
    breaking = BreakingOperations(registry, releases, approvals, glasses, clock, ids, steady=steady)
    observed = ObservedOperations(ObservedTraffic(records), observations, judging, registry, monitor, findings, clock)
    dossiers = Dossiers(
        registry,
        approvals,
        lifecycle,
        judging,
        monitor,
        baselines,
        timeline,
        reviews,
        observed,
        now_us=lambda: clock.now().wall_us,
        position=lambda: control.position,
    )
    successions = Successions(
        control,
        registry,
        lifecycle,
        monitor,
        clock=clock,
        ids=ids,
        times=succession_times or SuccessionTimes(),
        steady=steady,
        at=at,
    )
    people_operations = PeopleOperations(successions, registry)
    discovery = DiscoveryOperations(
        findings=findings,
        keys=keys,
        operations=operations,
        registry=registry,
        identity=identity,
        lifecycle=lifecycle,
        people=people_operations,
        monitor=monitor,
        broker=broker,
        records=records,
        clock=clock,
        public_url=public_url,
    )
    interchange = InterchangeOperations(
        registry=registry,
        dossiers=dossiers,
        control=control,
        card_keys=card_keys,
        clock=clock,
        public_url=public_url,
        program=program,
    )
    gitops = GitopsOperations(
        registry=registry, releases=releases, judging=judging, approvals=approvals, operations=operations
    )
    review_operations = ReviewOperations(
        reviews=reviews,
        cards=CardGatherer(
            registry,
            judging,
            monitor,
            findings,
            glasses.all,
            reviews.mark_before,
            reviews.taken,
            FirstUses(records),
            clock,
        ),
        removals=RemovalKeeper(registry, snapshot, clock, at=at),
        registry=registry,
        judging=judging,
        lifecycle=lifecycle,
        monitor=monitor,
        approvals=approvals,
        findings=findings,
        identity=identity,
        records=records,
        clock=clock,
        ids=ids,
        steady=steady,
        at=at,
    )
    return LifecycleRoom(
        approvals,
        baselines,
        breaking,
        dossiers,
        judging,
        lifecycle,
        monitor,
        observed,
        operations,
        timeline,
        discovery,
        stores,
        store_reviews,
        StoreOperations(stores, store_reviews, registry),
        interchange,
        gitops,
        people_operations,
        DirectoryOperations(registry, people, directory_keys, successions, discovery),
        ChatOperations(
            control, registry, operations, approvals, broker, sealer, clock=clock, ids=ids, highest=chat_votes
        ),
        legal_holds,
        erasures,
        expiries,
        record_operations,
        RisenTiers(control, lifecycle, registry, monitor, clock, steady=steady),
        retirements,
        IncidentOperations(
            registry=registry,
            lifecycle=lifecycle,
            monitor=monitor,
            findings=findings,
            keys=keys,
            legal_holds=legal_holds,
            records=records.size,
        ),
        review_operations,
        RunningVersions(control, registry, snapshot, baselines, timeline, monitor, clock),
        SessionOperations(
            SessionProfiles(
                records,
                profiles,
                keys=part_keys,
                sealer=sealer,
                idle_us=session_idle_us,
                definition=registry.definition_text,
            ),
            control,
            registry,
            monitor,
            clock,
        ),
        behaviour,
        BaselineOperations(
            control, baselines, profiles, fitted, behaviour, registry, judging, monitor, timeline, clock
        ),
        SpendForecasts(limits, registry, monitor, clock),
    )
