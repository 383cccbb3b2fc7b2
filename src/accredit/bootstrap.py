"""Puts one installation together: the only module that names all its adapters.

The order of starting is the order of trust: hold the directory, continue the log, prove the control state by it, close
what an earlier process left open, and only then answer anybody.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, MutableMapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from accredit import __version__
from accredit.api.control import control_api
from accredit.api.metrics import Measured, PresentState
from accredit.api.outer import outer_api
from accredit.api.plane import ControlPlane
from accredit.api.problems import Json, problem
from accredit.approvals.chat import counts_from_chat
from accredit.approvals.model import ApprovalRequest, HoldState, VoteVerdict
from accredit.approvals.notices import notices_of, opened_notice
from accredit.approvals.service import Holds, HoldTimes
from accredit.audit.anchor import CheckpointFile
from accredit.audit.checkpoint import CheckpointSigner, CheckpointVerifier
from accredit.audit.control import ProvenControlLog
from accredit.audit.ports import Actor, Change, ControlLog, LogReader
from accredit.audit.records import PartKeys, open_part, part_values
from accredit.audit.retention import Schedule, the_schedule
from accredit.audit.verify import verify_log
from accredit.audit.writer import LogSettings, LogWriter
from accredit.console.app import console_app
from accredit.console.live import RecentCalls
from accredit.console.ports import ConsoleServices
from accredit.enforcement.advice import Adviser
from accredit.enforcement.arguments import ArgumentChecks
from accredit.enforcement.delegation import HandingOn
from accredit.enforcement.history import History
from accredit.enforcement.path import Enforcer
from accredit.enforcement.ports import Controls
from accredit.enforcement.pseudonyms import Pseudonyms
from accredit.enforcement.recovery import past_activity, recover, started_entry, touched_by
from accredit.enforcement.reports import Reports
from accredit.enforcement.sessions import SessionLedger
from accredit.enforcement.sharding import ShardedHistory
from accredit.enforcement.snapshot import SnapshotKeeper
from accredit.gateway.addresses import HostAllowList
from accredit.gateway.authzen import AuthzenGateway
from accredit.gateway.definitions import UpstreamDefinitions, WatchedDefinitions
from accredit.gateway.httpapi import HttpGateway
from accredit.gateway.llmproxy import LlmGateway
from accredit.gateway.mcp import McpGateway
from accredit.gateway.notices import NoticePost, Notices, PagerDutyPost, SlackPost, WebhookPost
from accredit.gateway.opa import OpaServer
from accredit.gateway.programs import ProgramRules, Programs
from accredit.gateway.sessionhttp import SessionHttp
from accredit.gateway.spansender import SpanSender
from accredit.gateway.statelesshttp import StatelessHttp
from accredit.gateway.stdio import StdioServers
from accredit.gateway.telemetry import OtlpGateway
from accredit.gateway.toolservers import ToolServers
from accredit.gateway.upstream import Upstream
from accredit.identity.broker import SealedBroker
from accredit.identity.directory_keys import DirectoryKeys
from accredit.identity.endpoint import TokenEndpoint
from accredit.identity.enrolment import Enrolment
from accredit.identity.factfetch import HttpFactFetch
from accredit.identity.metadata import token_endpoint
from accredit.identity.model import IssuerKind, Principal
from accredit.identity.people import People
from accredit.identity.points import EnforcementPoints
from accredit.identity.providers import ContextProviders
from accredit.identity.revocation import Revocations
from accredit.identity.rows import SECRET
from accredit.identity.signing import CARDS, SigningKeys
from accredit.identity.state import IdentityState
from accredit.identity.statusfetch import HttpStatusFetch
from accredit.identity.tasks import TaskStatus
from accredit.identity.tokenpost import HttpTokenPost
from accredit.identity.verifier import AccessTokenVerifier
from accredit.kernel.clock import Clock, ClockWatch, SystemClock
from accredit.kernel.codes import Code
from accredit.kernel.detector import LOCALES
from accredit.kernel.errors import AccreditError, ForbiddenError, InvalidInputError, UnavailableError
from accredit.kernel.ids import AgentId, IdSource, RandomIds, ServerName
from accredit.lifecycle.detecting import BuiltInDetector
from accredit.lifecycle.ports import Archive, FindsPersonal
from accredit.lifecycle.room import LifecycleRoom, furnished
from accredit.lifecycle.succession import SuccessionTimes
from accredit.limits.gcra import Rate
from accredit.limits.service import AttemptRates, Limits
from accredit.monitoring.baselines import LearningTerms
from accredit.monitoring.drift.apart import PluginKind, plugin_kinds
from accredit.monitoring.drift.builtin import ViewsKind
from accredit.monitoring.notices import alert_notices
from accredit.offline import (
    archiving,
    can_archive,
    certificate_signer,
    log_signer,
    open_history,
    release_signer,
    second_engine,
)
from accredit.policy.decide import decide
from accredit.policy.engines.cedar import CedarEngine
from accredit.policy.listing import listed
from accredit.policy.publish import ClaimKind, ContextTypes, Installation
from accredit.policy.rehearsing import Rehearsals
from accredit.policy.releases import PolicyReleases
from accredit.policy.simulating import Simulations
from accredit.policy.testing import Fleet
from accredit.registry.catalogue import Catalogue
from accredit.registry.model import Agent, Environment, Role, Store, ToolServer
from accredit.registry.pinning import definition_digest
from accredit.registry.prices import PriceBook, priced_book
from accredit.registry.rows import SERVER
from accredit.registry.service import Registry
from accredit.settings import Settings, sound_notice_url
from accredit.storage.archive import FileArchive, FolderArchive
from accredit.storage.datadir import DataDirectory, read_secret_file
from accredit.storage.memory.counters import MemoryCounterStore
from accredit.storage.sqlite.deferred import SqliteDeferredCallStore
from accredit.storage.sqlite.fitted import SqliteFittedStore
from accredit.storage.sqlite.profiles import SqliteProfileStore
from accredit.storage.sqlite.records import SqliteRecordReader, SqliteRecordStore
from accredit.storage.sqlite.state import SqliteControlStore
from accredit.storage.stores.opening import OpenedStores
from accredit.storage.stores.presidio import PresidioDetector
from accredit.storage.stores.samples import FileSamples

__all__ = ["Running", "program_rules", "run"]

_log = logging.getLogger("accredit")
_SYSTEM = Actor(basis="system")

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
_App = Callable[[Scope, Receive, Send], Awaitable[None]]


class _Directory:
    """The registered agents, as identity asks for them."""

    keeper: SnapshotKeeper

    def get(self, agent: AgentId) -> Agent | None:
        return self.keeper.current.catalogue.agent(agent)


class _Gate:
    """Attempts at one door to prove who one is, counted by address."""

    def __init__(self, limits: Limits, door: str) -> None:
        self._limits = limits
        self._door = door

    def retry_after_s(self, source: str) -> float | None:
        limited = self._limits.attempt(None, source, door=self._door)
        return None if limited is None else max(limited.retry_after_s, 1.0)


@dataclass(slots=True)
class Running:
    """One installation, open and answering."""

    plane: ControlPlane
    app: Callable[[Scope, Receive, Send], Awaitable[None]]
    data: DataDirectory
    vkey: str
    first_link: str | None
    """The secret of the single-use first-admin link; None while somebody holds a working token."""

    @property
    def link(self) -> str | None:
        """The first admin's sign-in link; the secret stands behind `#`, which browsers and proxies do not send on."""
        return f"{self.plane.public_url}/login#{self.first_link}" if self.first_link else None


def program_rules(settings: Settings, directory: Path, *, scaled: bool) -> ProgramRules:
    first, last = settings.stdio_user_ids
    return ProgramRules(
        allowed=settings.stdio_servers == "on" or (settings.stdio_servers == "auto" and not scaled),
        hidden=(str(directory.resolve()),),
        first_uid=first,
        last_uid=last,
        memory_bytes=settings.stdio_memory_mb * 2**20,
        cpu_s=settings.stdio_cpu_seconds,
        unsafe_same_user=settings.stdio_unsafe_same_user,
    )


def _forgetting(tool_servers: ToolServers, catalogue: Callable[[], Catalogue]) -> Callable[[Change], None]:
    """Nothing stays open to a server that is not registered so any more, or whose credential is another."""

    def follow(change: Change) -> None:
        for write in change.writes:
            if write.kind == SERVER:
                known = catalogue().server(ServerName(write.key))
                tool_servers.forget(ServerName(write.key), unless=known.place if known is not None else None)
            elif write.kind == SECRET:
                for server in catalogue().servers():
                    if server.credential == write.key:
                        tool_servers.forget(server.name)

    return follow


async def _provider_credential(broker: SealedBroker, credential: str | None, url: str) -> Mapping[str, str]:
    """The headers of a stored credential for a context provider, which the broker pins as it does a tool server's."""
    server = ToolServer(ServerName("context-provider"), Environment.PRODUCTION, url, credential, {})
    return await broker.headers(server, None)


async def _store_credential(broker: SealedBroker, store: Store) -> Mapping[str, str]:
    """The headers of a store's credential, which the broker pins to its host as it does a tool server's.

    A credential is pinned to `https://HOST:PORT`, also of a store that speaks something else than HTTP.
    """
    there = urlsplit(store.location)
    netloc = f"{there.netloc}:5432" if there.scheme == "postgresql" and there.port is None else there.netloc
    url = store.location if there.scheme in {"http", "https"} else f"https://{netloc}"
    return await broker.headers(ToolServer(ServerName("store"), store.environment, url, store.credential, {}), None)


def _claim_kinds(state: IdentityState, kind: IssuerKind) -> dict[str, ClaimKind]:
    return {name: ClaimKind(str(claim)) for name, claim in state.claim_types(kind).items()}


def _prices(settings: Settings, clock: Clock) -> PriceBook:
    """What models cost whose registration does not say.

    Raises:
        InvalidInputError: the operator's own list cannot be read.
    """
    if not settings.price_file:
        return priced_book(clock)
    try:
        data = Path(settings.price_file).read_bytes()
    except OSError as error:
        raise InvalidInputError(
            Code.SETTING_INVALID, f"`price_file` cannot be read: {error.strerror}", hint="name a file of prices"
        ) from error
    return priced_book(clock, data)


def _plugins(settings: Settings, stack: contextlib.AsyncExitStack) -> tuple[PluginKind, ...]:
    """The detectors of behaviour that others wrote; their processes end with the server."""
    kinds = plugin_kinds(settings.detectors)
    for one in kinds:
        stack.callback(one.close)
    return kinds


def _detector(settings: Settings, stack: contextlib.AsyncExitStack) -> FindsPersonal:
    locales: Iterable[str] = settings.store_scan_locales or LOCALES
    if not settings.store_scan_presidio:
        return BuiltInDetector(locales)
    both = PresidioDetector(locales)
    stack.callback(both.close)
    return both


def _schedule(settings: Settings) -> Schedule:
    """How long records are kept.

    Raises:
        InvalidInputError: the operator's own file cannot be read, or says what it may not.
    """
    if not settings.retention_file:
        return the_schedule()
    try:
        return the_schedule(Path(settings.retention_file).read_bytes())
    except OSError as error:
        raise InvalidInputError(
            Code.SETTING_INVALID, f"`retention_file` cannot be read: {error.strerror}", hint="name a file of times"
        ) from error


@contextlib.asynccontextmanager
async def run(
    directory: Path,
    settings: Settings,
    *,
    port: int,
    clock: Clock | None = None,
    ids: IdSource | None = None,
    admin_email: str = "admin@localhost.localdomain",
    scaled: bool = False,
    replaced: Callable[[Controls], Controls] = lambda controls: controls,
) -> AsyncIterator[Running]:
    """Open an installation and keep it running until the context ends.

    `port` is where the caller will serve `Running.app`. `scaled`: for many replicas, where no program of a tool server
    is started unless a setting says so. `replaced` exists for tests and the demo: it shows that each
    control is needed by putting another in its place.

    Raises:
        ConflictError: another process holds the directory, or the log contradicts what it once signed.
        InvalidInputError: a file or setting is unsafe.
        UnavailableError: the log does not verify, or a store cannot be used.
    """
    clock, ids = clock or SystemClock(), ids or RandomIds()
    public_url = settings.url(port)
    async with contextlib.AsyncExitStack() as stack:
        data = DataDirectory.open(directory, ids=ids, address=public_url)
        stack.callback(data.close)
        sealer = data.sealer
        # -- the log; its key first: one is never made anew beside a log that another signed
        key = data.signing_key()
        store = SqliteRecordStore(data.audit_db, stream=None if data.audit_db.exists() else ids.new("str"))
        stack.callback(store.close)
        signer = log_signer(key, store.stream)
        log = LogWriter(
            store,
            sealer=sealer,
            signer=signer,
            clock=clock,
            ids=ids,
            anchor=CheckpointFile(directory / "checkpoint"),
            settings=LogSettings(
                checkpoint_s=settings.checkpoint_seconds, min_free_bytes=settings.disk_reserve_mb * 2**20
            ),
        )
        stack.push_async_callback(asyncio.to_thread, log.close)
        records = SqliteRecordReader(data.audit_db)
        stack.callback(records.close)
        profiles = SqliteProfileStore(data.profiles_db)
        stack.callback(profiles.close)
        fitted = SqliteFittedStore(data.baselines_db)
        stack.callback(fitted.close)
        # -- control state, proven by it
        faults: list[Exception] = []
        latest: list[int] = []
        control = ProvenControlLog(
            store=SqliteControlStore(data.control_db),
            log=log,
            records=records,
            reserve=data.reserve(),
            verify_log=lambda: latest.append(_require_verified(data.audit_db, signer)),
            sealer=sealer,
            clock=clock,
            ids=ids,
            on_fault=faults.append,
        )
        stack.push_async_callback(control.close)
        await control.start()
        # -- the rooms, in the order of the call's path
        directory_of_agents = _Directory()
        limits = Limits(
            clock,
            ids,
            MemoryCounterStore(),
            attempts=AttemptRates(
                credential=Rate.per_minute(settings.attempts_per_minute),
                unauthenticated=Rate.per_minute(settings.attempts_per_source),
            ),
        )
        identity = IdentityState(control)
        signing = SigningKeys(control, sealer, clock=clock, ids=ids)
        await signing.ensure(actor=_SYSTEM)
        fetch = HttpStatusFetch()
        stack.push_async_callback(fetch.aclose)
        tasks = TaskStatus(fetch, clock=clock)
        token_post = HttpTokenPost()
        stack.push_async_callback(token_post.aclose)
        broker = SealedBroker(
            control,
            sealer,
            token_post,
            person=lambda address: keeper.current.catalogue.person(address),  # noqa: PLW0108 - bound below, called later
            clock=clock,
            ids=ids,
            public_url=public_url,
        )
        stack.push_async_callback(broker.aclose)
        asking = HttpFactFetch()
        stack.push_async_callback(asking.aclose)
        providers = ContextProviders(
            control,
            identity,
            asking,
            functools.partial(_provider_credential, broker),
            directory_of_agents,
            clock=clock,
        )
        stack.push_async_callback(providers.aclose)
        engine, veto, releasing = CedarEngine(), second_engine(), release_signer(key)
        releases = PolicyReleases(
            control,
            engine,
            clock,
            lambda: Installation(
                servers=tuple(keeper.current.catalogue.servers()),
                teams=frozenset(team.name for team in keeper.current.catalogue.teams()),
                agents={agent.name: agent.id for agent in keeper.current.catalogue.agents()},
                types=ContextTypes(
                    user=_claim_kinds(identity, IssuerKind.USER),
                    task=_claim_kinds(identity, IssuerKind.TASK),
                    provided={
                        kind.value: {
                            name: {fact: ClaimKind(str(claim)) for fact, claim in facts.items()}
                            for name, facts in providers.fact_types(kind).items()
                        }
                        for kind in IssuerKind
                    },
                ),
                veto=veto,
                held_roles=frozenset(role for role in Role if registry.organisation.holders(role)),
                fleet=tuple(keeper.current.catalogue.agents()),
            ),
            releasing,
        )
        keeper = SnapshotKeeper(control, releases, engine, veto)
        directory_of_agents.keeper = keeper
        verifier = AccessTokenVerifier(
            identity, signing, directory_of_agents, tasks, clock=clock, public_url=public_url
        )
        upstream = Upstream(
            max_result_bytes=settings.max_result_bytes, connect_timeout_s=settings.connect_timeout_ms / 1000
        )
        stack.push_async_callback(upstream.aclose)

        def list_noticed(name: ServerName) -> None:
            definitions.noticed(name)  # bound below, called later

        tool_servers = ToolServers(
            stateless=StatelessHttp(upstream, list_noticed=list_noticed),
            sessions=SessionHttp(upstream, list_noticed=list_noticed),
            stdio=StdioServers(
                Programs(program_rules(settings, directory, scaled=scaled)),
                max_result_bytes=settings.max_result_bytes,
                list_noticed=list_noticed,
            ),
        )
        stack.push_async_callback(tool_servers.aclose)
        looks = UpstreamDefinitions(upstream, tool_servers, broker)
        watch = ClockWatch(clock.now(), max(latest))
        holds = Holds(
            control,
            ids,
            clock,
            times=HoldTimes(answer_s=settings.hold_minutes * 60),
            organisation=lambda: registry.proven_organisation(),  # noqa: PLW0108 - bound below, called later
            steady=watch.steady,
        )
        definitions = WatchedDefinitions(
            looks.look,
            server=lambda name: enforcer.server(name),  # noqa: PLW0108 - bound below, called later
            digest=definition_digest,
            clock=clock,
            whole=looks.whole,
            offered=lambda name, offer: room.monitor.note_offer(name, offer.definitions, offer.kinds),
        )
        stack.push_async_callback(definitions.aclose)
        sessions, pseudonyms = SessionLedger(ids, idle_s=settings.session_idle_minutes * 60), log.pseudonyms()
        outside = None
        if settings.opa_url:
            outside = OpaServer(settings.opa_url, timeout_s=settings.opa_timeout_ms / 1000)
            stack.push_async_callback(outside.aclose)
        controls = replaced(
            Controls(
                verifier=verifier,
                definitions=definitions,
                broker=broker,
                spend=limits,
                holds=holds,
                validate=ArgumentChecks().fault,
                decide=decide,
                listed=listed,
                audit=log,
                outside=outside,
                facts=providers,
            )
        )
        named = Pseudonyms(ids, pseudonyms)
        control.subscribe(lambda change: named.forget(change.body.get("forgotten", ())))
        measured, sender = Measured(), None
        if settings.otlp_endpoint:
            sender = SpanSender(settings.otlp_endpoint, ids, queue=settings.otlp_queue)
            stack.push_async_callback(sender.aclose)
        enforcer = Enforcer(
            controls,
            snapshot=lambda: keeper.current,
            sessions=sessions,
            pseudonyms=named,
            watch=watch,
            clock=clock,
            ids=ids,
            sealer=sealer,
            measures=(measured,),
            tracer=sender,
        )
        identity.on_revoked(enforcer.revoked)
        identity.on_revoked(broker.revoked)
        control.subscribe(enforcer.follow)  # after the keeper's: a listener that subscribed earlier is called earlier
        # -- what the process before this one left open
        now = clock.now()
        recovered = recover(records, now)
        for ending in recovered.endings:
            await log.append(ending)
        await log.append(started_entry(now))
        enforcer.recall(recovered.answers, now)
        limits.restore(
            recovered.facts,
            limits_of=lambda agent: found.version.limits if (found := directory_of_agents.get(agent)) else None,
        )
        counters = releases.current.config.counters
        lookback_us = max([sessions.idle_us, *(counter.window_us or 0 for counter in counters)])
        sessions.restore(
            past_activity(
                records,
                PartKeys(sealer, store.stream),
                since_us=now.wall_us - lookback_us,
                counted={tool for counter in counters for tool in counter.tools},
                named={one.pseudonym: one.value for one in pseudonyms},
            ),
            now,
            counters=counters,
            touched=touched_by(records.usage(), keeper.current.catalogue),
        )
        registry = Registry(
            control,
            ids=ids,
            clock=clock,
            definitions=looks,
            bootstrapping=lambda: identity.bootstrapping,
            prices=_prices(settings, clock),
            development_days=settings.development_agent_days,
        )
        # after the registry's own: what it knows is what is registered now
        control.subscribe(_forgetting(tool_servers, lambda: registry.catalogue))
        people = People(
            control,
            identity,
            lambda: registry.organisation,
            clock=clock,
            ids=ids,
            attempts=_Gate(limits, "sign-in"),
        )
        enrolment = Enrolment(
            control,
            directory_of_agents,
            identity,
            clock=clock,
            ids=ids,
            attempts=_Gate(limits, "enrol"),
            token_endpoint=token_endpoint(public_url),
        )
        revocations = Revocations(control, directory_of_agents)
        points = EnforcementPoints(control, clock=clock, ids=ids)
        history = History(records, PartKeys(sealer, store.stream), engine, releasing, clock, veto)
        simulations = Simulations(
            ShardedHistory(history, functools.partial(open_history, directory)),
            lambda: keeper.current.policy,
            lambda: {agent.id: agent for agent in keeper.current.catalogue.agents()},
            clock=clock,
            ids=ids,
        )
        stack.push_async_callback(simulations.close)
        rehearsals = Rehearsals(
            releases,
            engine,
            lambda: Fleet(
                {f"{agent.environment}/{agent.name}": agent for agent in keeper.current.catalogue.agents()},
                tuple(keeper.current.catalogue.servers()),
            ),
            simulations,
            now_us=lambda: clock.now().wall_us,
            veto=veto,
        )
        room = furnished(
            control=control,
            records=records,
            registry=registry,
            identity=identity,
            people=people,
            enrolment=enrolment,
            revocations=revocations,
            points=points,
            directory_keys=DirectoryKeys(control, clock=clock, ids=ids),
            broker=broker,
            releases=releases,
            snapshot=lambda: keeper.current,
            holds=holds,
            limits=limits,
            archive=_agent_archive(directory / "archive", data.audit_db, log.checkpoint, signer.verifier()),
            sealer=sealer,
            subjects=store,
            part_keys=PartKeys(sealer, store.stream),
            pseudonyms=log.pseudonyms,
            backup_days=settings.backup_days,
            chat_votes=settings.chat_votes,
            schedule=_schedule(settings),
            profiles=profiles,
            fitted=fitted,
            detectors=(ViewsKind(), *_plugins(settings, stack)),
            detectors_in_memory=settings.detectors_in_memory,
            learning=LearningTerms(settings.baseline_sessions, settings.baseline_days),
            clock=clock,
            ids=ids,
            rehearse=rehearsals.rehearse,
            adapters=OpenedStores(
                [Path(each) for each in settings.store_directories],
                apart_from=directory,
                headers=functools.partial(_store_credential, broker),
            ),
            samples=FileSamples(directory / "purges", sealer),
            detector=_detector(settings, stack),
            steady=watch.steady,
            forget=definitions.forget,
            opened=functools.partial(_opened, records, PartKeys(sealer, store.stream)),
            session_idle_us=settings.session_idle_minutes * 60_000_000,
            card_keys=SigningKeys(control, sealer, clock=clock, ids=ids, use=CARDS),
            certifies=certificate_signer(key),
            checkpoint=log.checkpoint,
            public_url=public_url,
            program=f"accredit {__version__}",
            succession_times=SuccessionTimes.in_days(
                settings.owner_read_only_days, settings.owner_suspend_days, settings.owner_retire_days
            ),
        )
        plane = ControlPlane(
            public_url=public_url,
            clock=clock,
            watch=watch,
            control=control,
            log=log,
            records=records,
            part_keys=PartKeys(sealer, store.stream),
            history=history,
            rehearsals=rehearsals,
            simulations=simulations,
            registry=registry,
            releases=releases,
            snapshots=keeper,
            identity=identity,
            providers=providers,
            people=people,
            enrolment=enrolment,
            tokens=TokenEndpoint(
                identity, signing, verifier, directory_of_agents, tasks, log,
                clock=clock, ids=ids, attempts=_Gate(limits, "token"), public_url=public_url,
                delegations=HandingOn(
                    log, snapshot=lambda: keeper.current, sessions=sessions, pseudonyms=named, watch=watch, clock=clock,
                    ids=ids,
                ),
                on_posture=room.monitor.note_posture,
            ),
            signing=signing,
            revocations=revocations,
            points=points,
            broker=broker,
            definitions=definitions,
            limits=limits,
            holds=holds,
            enforcer=enforcer,
            room=room,
            metrics=measured.exposed,
            ready=lambda: _trouble(log, control, faults),
        )  # fmt: skip
        gateway = McpGateway(
            enforcer,
            tool_servers,
            public_url=public_url,
            deferred=SqliteDeferredCallStore(data.deferred_db),
            sealer=sealer,
            clock=clock,
            ids=ids,
            allowed_hosts=settings.allowed_hosts,
            watch=definitions,
            max_body_bytes=settings.max_body_bytes,
        )
        if posts := _posts(settings, public_url):
            notices = Notices(posts, clock)
            stack.push_async_callback(notices.aclose)
            _tell_people(
                notices, control, holds, lambda agent: _called(keeper, agent), functools.partial(_votable, room)
            )
        stack.push_async_callback(gateway.aclose)
        control.subscribe(gateway.changed)  # after the keeper, so that what it looks at is the new state
        identity.on_revoked(gateway.revoked)  # after the enforcer, which stops what is in flight
        apis = HttpGateway(
            enforcer,
            upstream,
            public_url=public_url,
            allowed_hosts=settings.allowed_hosts,
            max_body_bytes=settings.max_body_bytes,
        )
        llm = LlmGateway(
            enforcer,
            upstream,
            public_url=public_url,
            allowed_hosts=settings.allowed_hosts,
            first_byte_timeout_s=settings.llm_first_byte_timeout_ms / 1000,
            idle_timeout_s=settings.llm_idle_timeout_ms / 1000,
        )
        adviser = Adviser(
            enforcer,
            points,
            holds,
            audit=controls.audit,
            decide=controls.decide,
            attempt=controls.spend.attempt,
            asked=lambda point: limits.asked(point.name, point.calls_per_minute),
            snapshot=lambda: keeper.current,
            watch=watch,
            clock=clock,
            ids=ids,
        )
        authzen = AuthzenGateway(
            adviser,
            public_url=public_url,
            sealer=sealer,
            clock=clock,
            allowed_hosts=settings.allowed_hosts,
            max_body_bytes=settings.max_body_bytes,
        )
        reports = Reports(
            enforcer.passed,
            adviser,
            audit=controls.audit,
            attempt=lambda sender, source: (
                controls.spend.attempt(sender.credential, source)
                if isinstance(sender, Principal)
                else limits.asked(sender.name, sender.calls_per_minute)
            ),
            snapshot=lambda: keeper.current,
            gateway_host=urlsplit(public_url).hostname or "",
            sealer=sealer,
            clock=clock,
        )
        otlp = OtlpGateway(reports, public_url=public_url, allowed_hosts=settings.allowed_hosts)
        measured.registry.register(PresentState(plane, reports, lambda: sender.counts if sender is not None else None))
        stack.push_async_callback(reports.tick, closing=True)
        # what nobody awaited is durable before the log closes
        stack.push_async_callback(enforcer.drained)
        stack.callback(lambda: enforcer.tick(closing=True))
        await room.start()
        stack.push_async_callback(room.close)
        first_link = await people.bootstrap_admin(admin_email)
        background = [
            asyncio.create_task(room.run(), name="lifecycle"),
            asyncio.create_task(tasks.run(), name="task-status"),
            asyncio.create_task(_housekeeping(enforcer, reports, holds, people, gateway), name="housekeeping"),
        ]
        if sender is not None:
            background.append(asyncio.create_task(sender.run(), name="span-sender"))
        stack.push_async_callback(_ended, background)
        yield Running(
            plane,
            _app(plane, gateway, {"/http/": apis, "/llm/": llm, "/otlp/": otlp}, authzen, settings),
            data,
            signer.vkey,
            first_link,
        )


def _require_verified(path: Path, signer: CheckpointSigner) -> int:
    """The latest time that the verified log states."""

    def opened() -> LogReader:
        return SqliteRecordReader(path)

    report = verify_log(opened, verifier=signer.verifier())
    if not report.ok:
        raise UnavailableError(
            Code.LOG_INVALID, f"the audit log does not verify: {report.what}", hint="run `accredit audit verify`"
        )
    return report.latest_us


def _opened(records: SqliteRecordReader, keys: PartKeys, seq: int, name: str) -> Mapping[str, Any]:
    """What a part of a record says, where that was not erased."""
    record = next(records.records(seq, seq + 1), None)
    if record is None:
        return {}
    try:
        return part_values(open_part(record, name, keys))
    except InvalidInputError:
        return {}


def _trouble(log: LogWriter, control: ProvenControlLog, faults: list[Exception]) -> str | None:
    if not log.healthy:
        return "the audit log does not take records"
    if control.refused:
        return "control events wait for the log"
    return "an internal listener failed; restart" if faults else None


async def _housekeeping(
    enforcer: Enforcer, reports: Reports, holds: Holds, people: People, gateway: McpGateway
) -> None:
    """What is due now and then. A failure is logged and tried again."""
    while True:
        await asyncio.sleep(5)
        try:
            enforcer.tick()
            await reports.tick()
            await holds.sweep()
            await people.sweep()
            await gateway.tick()
        except Exception:  # noqa: BLE001 - a background task must outlive one failure
            _log.exception("housekeeping failed and will be tried again")


def _posts(settings: Settings, public_url: str) -> tuple[NoticePost, ...]:
    """Where people are told of holds, requests and alerts.

    Raises:
        InvalidInputError: a file with a secret is not safe, or has none.
    """
    posts: list[NoticePost] = []
    if settings.notice_webhook_url:
        key = read_secret_file(Path(settings.notice_webhook_key_file), at_least=24, at_most=1024)
        posts.append(WebhookPost(settings.notice_webhook_url, key.encode(), public_url))
    if settings.notice_chat_url_file:
        url = read_secret_file(Path(settings.notice_chat_url_file), at_least=8, at_most=2048)
        try:
            posts.append(SlackPost(sound_notice_url(url, "notice_chat_url_file"), public_url))
        except ValueError as error:
            raise InvalidInputError(Code.SETTING_INVALID, str(error)) from error
    if settings.notice_pagerduty_key_file:
        routing = read_secret_file(Path(settings.notice_pagerduty_key_file), at_least=16, at_most=128)
        posts.append(PagerDutyPost(settings.notice_pagerduty_url, routing, public_url))
    return tuple(posts)


def _called(keeper: SnapshotKeeper, agent: str) -> str:
    known = keeper.current.catalogue.agent(AgentId(agent))
    return known.name if known is not None else agent


def _votable(room: LifecycleRoom, request: ApprovalRequest) -> str | None:
    """The digest of what is voted on, if chats are listened to and it may be approved from one."""
    if not room.chats.channels() or not counts_from_chat(request, VoteVerdict.APPROVE, room.chats.highest):
        return None
    try:
        return str(room.approvals.view(request.id)[1])
    except AccreditError:
        return None  # there is nothing to be voted on, or it cannot be told now


def _tell_people(
    notices: Notices,
    control: ControlLog,
    holds: Holds,
    name: Callable[[str], str],
    votable: Callable[[ApprovalRequest], str | None],
) -> None:
    for hold in holds.find(state=HoldState.OPEN):
        if (notice := opened_notice(hold, name)) is not None:
            notices.tell(notice)

    def follow(change: Change) -> None:
        for notice in (*notices_of(change, name, votable), *alert_notices(change, name)):
            notices.tell(notice)

    control.subscribe(follow)


async def _ended(tasks: list[asyncio.Task[None]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


def _app(
    plane: ControlPlane, gateway: McpGateway, apps: Mapping[str, _App], authzen: AuthzenGateway, settings: Settings
) -> Callable[[Scope, Receive, Send], Awaitable[None]]:
    """One port: each request goes to its room by its path, with nothing in between."""
    control, outer, console = control_api(plane), outer_api(plane), console_app(_shown(plane))
    addresses = HostAllowList(plane.public_url, settings.allowed_hosts)

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await _lifespan(receive, send)
            return
        path: str = scope.get("path", "")
        if path == "/mcp" or path.startswith("/mcp/"):
            await gateway(scope, receive, send)
        elif scope["type"] != "http":
            await send({"type": "websocket.close", "code": 1003})
        elif (beneath := next((app for root, app in apps.items() if path.startswith(root)), None)) is not None:
            await beneath(scope, receive, send)
        elif authzen.serves(path):
            await authzen(scope, receive, send)
        elif (refusal := _misdirected(addresses, scope)) is not None:
            await refusal(scope, receive, send)
        elif path.startswith("/api/"):
            await control(scope, receive, send)
        elif path in {"/", "/login", "/logout", "/console"} or path.startswith("/console/"):
            await console(scope, receive, send)
        else:
            await outer(scope, receive, send)

    return app


def _agent_archive(
    directory: Path, audit_db: Path, checkpoint: Callable[[], Awaitable[bytes]], verifier: CheckpointVerifier
) -> Archive:
    """Columnar where the extra for that is installed, which only writing loads; else a file of lines."""
    if can_archive():
        return FolderArchive(directory, audit_db, opened=archiving, checkpoint=checkpoint, verifier=verifier)
    return FileArchive(directory, audit_db, checkpoint=checkpoint, verifier=verifier)


def _shown(plane: ControlPlane) -> ConsoleServices:
    """What the pages read and change: the same services as the API."""
    room = plane.room
    return ConsoleServices(
        public_url=plane.public_url,
        clock=plane.clock,
        sessions=plane.people,
        operations=room.operations,
        catalogue=lambda: plane.registry.catalogue,
        organisation=lambda: plane.registry.organisation,
        tiers=room.judging,
        dossiers=room.dossiers,
        requests=room.approvals,
        holds=plane.holds,
        alerts=room.monitor,
        accounts=plane.broker,
        calls=RecentCalls(plane.records),
        records=plane.records,
        turned_away=plane.enforcer.turned_away,
        findings=room.discovery,
        store_reviews=room.store_reviews,
        store_operations=room.store_operations,
        successions=room.people.successions.all,
        retirements=room.retirements,
        certificates=room.retirements.certificates,
        incidents=plane.registry.incidents,
        incident_operations=room.incidents,
        glasses=room.breaking,
        chats=room.chats,
        reviews=room.reviews.reviews,
        review_operations=room.reviews,
        behaviour=room.baseline_operations,
    )


def _misdirected(addresses: HostAllowList, scope: Scope) -> Json | None:
    headers = dict(scope["headers"])
    try:
        addresses.check(
            headers[b"host"].decode("latin-1") if b"host" in headers else None,
            headers[b"origin"].decode("latin-1") if b"origin" in headers else None,
        )
    except ForbiddenError as error:
        return problem(403, error.code, error.message, error.hint)
    return None


async def _lifespan(receive: Receive, send: Send) -> None:
    while True:
        message = await receive()
        await send({"type": f"{message['type']}.complete"})
        if message["type"] == "lifespan.shutdown":
            return
