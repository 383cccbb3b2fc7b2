"""Looks into stores of memory and knowledge, and purges what an agent kept there: resumable, in bounded memory.

A purge goes through its namespace several times:

    plan      what becomes of each item, counted and digested; nothing is changed
    check     the same again: nothing is deleted unless it comes to what was planned and, if need be, signed off
    delete    until a pass finds nothing more to delete, or deleting changes nothing any more
    finish    compact, rewrite, vacuum: deleted bytes go as well
    prove     ask the store once more, and look for bytes of a sample of what was deleted

The row of the purge says which of these are done. Killed anywhere, the next process begins the unfinished pass again:
what was deleted is not there any more. INVARIANT: what a store says is never counted on; it is asked again.
"""

from __future__ import annotations

import asyncio
import heapq
import logging
import re
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from hashlib import sha256, shake_256
from typing import Any, Final

from accredit.approvals.model import ApprovalState, SubjectKind
from accredit.audit.model import Facts, Part
from accredit.audit.ports import Actor, Change, ControlLog, StateView, Write
from accredit.identity.model import Operator
from accredit.kernel.canonical import Digest, digest_value
from accredit.kernel.clearance import Basis, Clearance
from accredit.kernel.clock import Clock
from accredit.kernel.codes import Code
from accredit.kernel.errors import (
    AccreditError,
    ConflictError,
    ForbiddenError,
    InvalidInputError,
    NotFoundError,
    UnavailableError,
)
from accredit.kernel.ids import AgentId, IdSource
from accredit.lifecycle.dispositions import disposition, takes_others
from accredit.lifecycle.model import Procedure, Step
from accredit.lifecycle.ports import ApprovalDesk, FindsPersonal, LegalHolds, Samples, StoreAdapter, StoreAdapters
from accredit.lifecycle.store_rows import (
    PURGE,
    SCAN,
    outcome_doc,
    outcome_from,
    purge_doc,
    purge_from,
    scan_doc,
    scan_from,
    scan_key,
)
from accredit.lifecycle.stored import (
    Capabilities,
    Disposition,
    Finished,
    Holding,
    Item,
    KeyDestroyed,
    Purge,
    PurgeCounts,
    PurgeState,
    ResidualBytes,
    Residue,
    ReviewVerdict,
    Scan,
    Selector,
    StoreFinding,
    StoreOutcome,
    key_waits,
)
from accredit.lifecycle.walking import walk
from accredit.registry.certifiability import store_entry, uncertifiable
from accredit.registry.model import Agent, AgentState, Store, Tier
from accredit.registry.proposals import Proposal, proposal_digest

__all__ = ["PATIENCE_US", "StoreInventory", "Stores"]

PATIENCE_US: Final = 3 * 86_400_000_000
"""How long a store that cannot be reached is tried again before what it holds is said to be unreachable."""
_PROGRESS: Final = 5_000
"""Items between two notes of how far a scan or purge is."""
_MOST_PASSES: Final = 12
_SAMPLES: Final = 64
_MOST_MARKER: Final = 64
_LEAST_MARKER: Final = 12
_PLAIN: Final = re.compile(r"[A-Za-z0-9 .,:;@+_-]{12,}")
"""What stands on disk as it is, however a store escapes text."""
_MOST_JOBS: Final = 4
_WIDE: Final = 2_048
"""Bits of a sum of hashes: enough that nobody finds other items with the same sum."""
_NOT_ITS_OWN: Final = frozenset({Disposition.LATER, Disposition.OTHERS, Disposition.UNKNOWN_OWNER})
"""What others write meanwhile, and what was written since, changes no plan."""
_NEVER_RAN: Final = frozenset({AgentState.DRAFT, AgentState.SUBMITTED, AgentState.APPROVED, AgentState.REJECTED})
_GONE: Final = frozenset({AgentState.RETIRING, AgentState.RETIRED})
_SYSTEM: Final = Actor(basis="system")
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class StoreInventory:
    """What a store can do and holds."""

    store: Store
    version: str
    capabilities: Capabilities
    holdings: tuple[Holding, ...]


@dataclass(slots=True)
class _Pass:
    """One way through a namespace, as it counts."""

    counts: Counter[Disposition] = field(default_factory=Counter)
    holds: set[str] = field(default_factory=set)
    total: int = 0
    """Of the hashes of all items that are the agent's: the same in whatever order the store gives them (LtHash)."""
    samples: list[tuple[bytes, bytes]] = field(default_factory=list)
    """(place in a keyed order, marker) of what is to be deleted: the last of that order, so a fair sample."""

    def see(self, item: Item, what: Disposition, hold: str | None) -> None:
        self.counts[what] += 1
        if hold is not None:
            self.holds.add(hold)
        if what not in _NOT_ITS_OWN:
            hashed = shake_256(f"{item.digest} {what.value}".encode()).digest(_WIDE // 8)
            self.total = (self.total + int.from_bytes(hashed)) % 2**_WIDE

    def sample(self, item: Item, salt: bytes) -> None:
        drawn = sha256(salt + item.id.encode("utf-8", "surrogatepass")).digest()
        full = len(self.samples) == _SAMPLES
        if (full and drawn <= self.samples[0][0]) or (marker := _marker(item.text)) is None:
            return
        if full:
            heapq.heapreplace(self.samples, (drawn, marker))
        else:
            heapq.heappush(self.samples, (drawn, marker))

    @property
    def plan(self) -> Digest:
        own = {one.value: count for one, count in sorted(self.counts.items()) if one not in _NOT_ITS_OWN}
        return digest_value("purge-plan", {"counts": own, "items": f"{self.total:x}"})


class Stores:
    """The one that looks into registered stores and purges them.

    `reviewed` knows what people decided on items of shared knowledge. `at` is called with what was just done, for fault
    tests.
    """

    def __init__(
        self,
        control: ControlLog,
        adapters: StoreAdapters,
        samples: Samples,
        holds: LegalHolds,
        detector: FindsPersonal,
        desk: ApprovalDesk,
        *,
        registered: Callable[[], Mapping[str, Store]],
        declared: Callable[[AgentId], Sequence[Mapping[str, Any]]],
        agent: Callable[[AgentId], Agent | None],
        agents: Callable[[], Iterable[Agent]],
        tier_of: Callable[[Agent], Tier | None],
        reviewed: Callable[[Selector], Callable[[Item], ReviewVerdict | None]],
        clock: Clock,
        ids: IdSource,
        at: Callable[[str], None] = lambda _: None,
    ) -> None:
        """`declared` gives the entries of `stores` of every version that an agent ever had."""
        self._control = control
        self._adapters = adapters
        self._samples = samples
        self._holds = holds
        self._detector = detector
        self._desk = desk
        self._registered = registered
        self._declared = declared
        self._agent = agent
        self._agents = agents
        self._tier_of = tier_of
        self._reviewed = reviewed
        self._clock = clock
        self._ids = ids
        self._at = at
        self._jobs: dict[str, asyncio.Task[None]] = {}

    # -- looking

    def store(self, name: str) -> Store:
        """The registered store of that name.

        Raises:
            NotFoundError: there is none.
        """
        found = self._registered().get(name)
        if found is None:
            raise NotFoundError(Code.STORE_UNKNOWN, f"no store is called `{name[:80]}`")
        return found

    async def inventory(self, name: str) -> StoreInventory:
        """What a store can do and holds, in the namespaces it is registered for.

        Raises:
            NotFoundError: no such store.
            UnavailableError: it cannot be opened or read.
        """
        store = self.store(name)
        async with self._opened(store) as adapter:
            holdings = await asyncio.to_thread(adapter.inventory)
            there = tuple(one for one in holdings if store.holds(one.namespace))
            return StoreInventory(store, adapter.version, adapter.capabilities(), there)

    @asynccontextmanager
    async def _opened(self, store: Store) -> AsyncIterator[StoreAdapter]:
        adapter = await self._adapters.open(store)
        try:
            yield adapter
        finally:
            await asyncio.to_thread(adapter.close)

    async def sample_items(self, name: str, namespace: str, after: str | None) -> tuple[tuple[Item, ...], str | None]:
        """One page of a namespace, for people who review it. Raises as `inventory`."""
        store = self._namespace(name, namespace)
        async with self._opened(store) as adapter:
            page = await asyncio.to_thread(adapter.items, namespace, after, 50)
        return page.items[:50], page.following

    async def items_by_id(self, name: str, namespace: str, ids: Sequence[str]) -> tuple[Item, ...]:
        """Those of some items that are there. Raises as `inventory`."""
        store = self._namespace(name, namespace)
        async with self._opened(store) as adapter:
            return tuple(await asyncio.to_thread(adapter.get, namespace, ids))

    async def assign(self, name: str, namespace: str, item: str, owner: str) -> bool:
        """Give an item of a shared namespace to another agent; False if the store cannot. Raises as `inventory`."""
        store = self._namespace(name, namespace)
        async with self._opened(store) as adapter:
            if store.owner_field is None or not adapter.capabilities().assign:
                return False
            await asyncio.to_thread(adapter.assign, namespace, [item], store.owner_field, owner)
        return True

    def _namespace(self, name: str, namespace: str) -> Store:
        store = self.store(name)
        if not store.holds(namespace):
            raise NotFoundError(Code.STORE_UNKNOWN, f"`{name}` is not registered for `{namespace[:80]}`")
        return store

    # -- scanning

    def scan_of(self, name: str, namespace: str) -> Scan | None:
        """The newest scan of a namespace."""
        row = self._control.view.get(SCAN, scan_key(name, namespace))
        return scan_from(row.doc) if row else None

    def scans(self) -> tuple[Scan, ...]:
        """The newest scan of every namespace that was scanned."""
        return tuple(scan_from(row.doc) for row in self._control.view.scan(SCAN))

    async def scan(self, name: str, namespace: str, actor: Actor) -> Scan:
        """Look for personal data and secrets in a namespace, or go on with that.

        It goes on in the background; what is given back says how far it is.

        Raises:
            NotFoundError: no such store or namespace.
            UnavailableError: the scan could not be noted.
        """
        self._namespace(name, namespace)
        before = self.scan_of(name, namespace)
        if before is None or before.ended_us is not None:
            now_us = self._clock.now().wall_us
            fresh = Scan(name, namespace, self._detector.name, now_us, 0, 0, (), None)
            await self._note_scan(fresh, "store.scan-begun", actor)
        key = f"scan {scan_key(name, namespace)}"
        self._start(key, lambda: self._scanning(name, namespace))
        await self._wait(key)
        return self.scan_of(name, namespace) or fresh

    async def _scanning(self, name: str, namespace: str) -> None:
        scan = self.scan_of(name, namespace)
        if scan is None or scan.ended_us is not None:
            return
        of: dict[str, list[int]] = {one.kind: [one.items, one.values] for one in scan.findings}
        items, flagged, cut, noted = scan.items, scan.flagged, scan.cut, scan.items
        async with self._opened(self.store(name)) as adapter:
            async for page in walk(adapter, namespace, after=scan.cursor):
                for found, whole in await asyncio.to_thread(self._looked_at, page.items):
                    items, flagged, cut = items + 1, flagged + bool(found), cut + (not whole)
                    for kind, count in found.items():
                        seen = of.setdefault(kind, [0, 0])
                        seen[0], seen[1] = seen[0] + 1, seen[1] + count
                over = page.following is None
                if over or items - noted >= _PROGRESS:
                    noted = items
                    scan = replace(
                        scan,
                        items=items,
                        flagged=flagged,
                        cut=cut,
                        cursor=page.following,
                        findings=tuple(
                            StoreFinding(kind, self._detector.data_class(kind), *counts)
                            for kind, counts in sorted(of.items())
                        ),
                        ended_us=self._clock.now().wall_us if over else None,
                    )
                    await self._note_scan(scan, "store.scanned" if over else "store.scan-stepped", _SYSTEM)
                    self._at("scanned")

    def _looked_at(self, items: Sequence[Item]) -> list[tuple[Mapping[str, int], bool]]:
        found = []
        for item in items:
            counts, whole = self._detector.seen("\n".join([item.text, *(f"{k}: {v}" for k, v in item.fields.items())]))
            found.append((counts, whole and item.whole))
        return found

    def flagged(self, item: Item) -> Mapping[str, int]:
        """What the detector sees in one item: kinds and counts."""
        ((found, _),) = self._looked_at([item])
        return found

    def clean(self, item: Item) -> bool:
        """Whether all of an item was looked at and nothing was found."""
        ((found, whole),) = self._looked_at([item])
        return whole and not found

    async def _note_scan(self, scan: Scan, kind: str, actor: Actor) -> None:
        key, nonce = scan_key(scan.store, scan.namespace), self._ids.secret(16).hex()
        body = {"flagged": scan.flagged, "items": scan.items, "store": scan.store}
        change = Change(Facts(kind), (Write(SCAN, key, scan_doc(scan, nonce=nonce)),), actor, body)
        await self._control.transact(lambda _: change)

    # -- planning

    def purge_of(self, purge: str) -> Purge:
        """The purge of that id.

        Raises:
            NotFoundError: there is none.
        """
        row = self._control.view.get(PURGE, purge)
        if row is None:
            raise NotFoundError(Code.NOT_FOUND, f"there is no purge `{purge[:80]}`")
        return purge_from(row.doc)

    def purges(self, agent: AgentId | None = None) -> tuple[Purge, ...]:
        """Purges, newest first."""
        found = (purge_from(row.doc) for row in self._control.view.scan(PURGE))
        return tuple(
            sorted((one for one in found if agent in {None, one.selector.agent}), key=lambda one: -one.planned_us)
        )

    def entries(self, agent: AgentId) -> tuple[Mapping[str, Any], ...]:
        """What an agent ever declared to keep things in, each once."""
        found: dict[str, Mapping[str, Any]] = {}
        for one in self._declared(agent):
            found.setdefault(f"{store_entry(one)} {one['adapter']}", one)
        return tuple(found[key] for key in sorted(found))

    async def plan(
        self, agent: AgentId, name: str, namespace: str, operator: Operator, *, procedure: str | None = None
    ) -> Purge:
        """What a purge of an agent's items in a namespace would do now. Nothing of the store is changed.

        Raises:
            NotFoundError: no such agent or store, or the agent never declared that namespace of it.
            UnavailableError: the store cannot be read, or the plan could not be noted.
        """
        found = self._known(agent)
        store = self._namespace(name, namespace)
        entry = next(
            (one for one in self.entries(agent) if one.get("store") == name and one.get("namespace") == namespace), None
        )
        if entry is None:
            raise NotFoundError(Code.STORE_UNKNOWN, f"the agent never declared `{namespace[:80]}` of `{name[:80]}`")
        now_us = self._clock.now().wall_us
        selector = Selector(
            store=name,
            namespace=namespace,
            agent=agent,
            agent_name=found.name,
            kind=str(entry["kind"]),
            shared=store.shared,
            owner_field=store.owner_field,
            subject_field=store.subject_field,
            until_us=now_us,
        )
        async with self._opened(store) as adapter:
            seen = await self._gone_through(adapter, selector)
            version = adapter.version
        made = Purge(
            id=self._ids.new("prg"),
            selector=selector,
            entry=store_entry(entry),
            plan=seen.plan,
            counts=PurgeCounts(dict(seen.counts)),
            holds=tuple(sorted(seen.holds)),
            state=PurgeState.PLANNED,
            by=operator.person,
            credential=operator.credential,
            basis=operator.basis,
            planned_us=now_us,
            adapter=store.adapter,
            adapter_version=version,
            procedure=procedure,
        )

        def build(view: StateView) -> Change:
            # a plan that nobody acted on gives way to a newer one
            older = [
                Write(PURGE, row.key, None)
                for row in view.scan(PURGE)
                if row.doc["state"] == PurgeState.PLANNED
                and (row.doc["scope"]["store"], row.doc["scope"]["namespace"]) == (name, namespace)
                and row.doc["scope"]["agent"] == agent
            ]
            return self._change("store.purge-planned", made, view, _actor(operator), also=older[:50])

        await self._control.transact(build)
        return made

    async def _gone_through(
        self,
        adapter: StoreAdapter,
        selector: Selector,
        *,
        each: Callable[[list[Item]], Awaitable[None]] | None = None,
        salt: bytes | None = None,
        remaining: Callable[[Item], None] | None = None,
    ) -> _Pass:
        """One pass; `each` gets what is to be deleted of every page, `remaining` every item that is there."""
        seen, reviewed = _Pass(), self._reviewed(selector)
        running, gone = self._alike(selector)

        def held(subject: str | None) -> str | None:
            # of what time an item is, is not known, and whom it is about only if it says so
            for one in (selector.agent, *gone):
                if held_by := self._holds.blocks(agent=one, subject=subject, store=selector.store):
                    return held_by[0]
            return None

        async for page in walk(adapter, selector.namespace):
            doomed = []
            for item in page.items:
                what, hold = disposition(item, selector, held=held, reviewed=reviewed, contested=running)
                seen.see(item, what, hold)
                if what is Disposition.DELETE:
                    doomed.append(item)
                    if salt is not None:
                        seen.sample(item, salt)
                if remaining is not None:
                    remaining(item)
            if each is not None and doomed:
                await each(doomed)
        return seen

    def _alike(self, selector: Selector) -> tuple[bool, tuple[AgentId, ...]]:
        """Who else's items look like the agent's: whether an agent that runs does, and those that are gone.

        Names are used again once an agent is retired, and nothing keeps two agents from declaring one namespace.
        """
        place, running, gone = (selector.store, selector.namespace), False, list[AgentId]()
        for one in self._agents():
            if one.id == selector.agent or one.state in _NEVER_RAN:
                continue
            if selector.shared and one.name != selector.agent_name:
                continue
            entries = (
                self.entries(one.id) if selector.shared else one.version.manifest.get("spec", {}).get("stores", ())
            )
            if all((each.get("store"), each.get("namespace")) != place for each in entries):
                continue
            if one.state in _GONE:
                gone.append(one.id)
            else:
                running = True
        return running, tuple(gone)

    def needs_sign_off(self, purge: Purge) -> bool:
        """Whether a purge takes the sign-off of others."""
        found = self._known(purge.selector.agent)
        return takes_others(purge.counts, self.store(purge.selector.store).environment, self._tier_of(found))

    # -- purging

    async def ask(self, purge: str, operator: Operator) -> Purge:
        """Begin a planned purge, or ask for the sign-off that it takes. Doing it again goes on.

        Raises:
            NotFoundError: no such purge.
            ConflictError: it ended or was refused.
            UnavailableError: it could not be noted.
        """
        found = self.purge_of(purge)
        match found.state:
            case PurgeState.PLANNED if self.needs_sign_off(found):
                request = await self._desk.open_proposal(self._proposal(found, operator), operator)
                await self._move(
                    found, replace(found, state=PurgeState.ASKED, request=request.id, by=operator.person,
                                   credential=operator.credential, basis=operator.basis),
                    "store.purge-asked", _actor(operator),
                )  # fmt: skip
            case PurgeState.PLANNED:
                await self._move(
                    found, replace(found, state=PurgeState.RUNNING, by=operator.person,
                                   credential=operator.credential, basis=operator.basis),
                    "store.purge-begun", _actor(operator),
                )  # fmt: skip
            case PurgeState.ENDED | PurgeState.REFUSED:
                raise ConflictError(Code.CONFLICT, f"the purge is {found.state.value}", hint="plan it again")
            case _:
                pass
        if self.purge_of(purge).state is PurgeState.RUNNING:
            self._start(purge, lambda: self._running(purge))
            await self._wait(purge)
        return self.purge_of(purge)

    def _proposal(self, purge: Purge, operator: Operator) -> Proposal:
        content = self._content(purge, operator.person)
        return Proposal(
            SubjectKind.PURGE.value,
            proposal_digest(content),
            f"purge:{purge.id}",
            content,
            self.store(purge.selector.store).environment,
            frozenset({operator.person}),
        )

    def _content(self, purge: Purge, by: str) -> dict[str, Any]:
        return {
            "adapter": purge.adapter,
            "by": by,
            "change": SubjectKind.PURGE.value,
            "counts": {one.value: count for one, count in sorted(purge.counts.of.items())},
            "plan": purge.plan,
            "purge": purge.id,
            "scope": purge.selector.document(),
        }

    async def approved(self, content: Mapping[str, Any], clearance: Clearance, actor: Actor) -> None:
        """Begin what was signed off; nothing if it began before.

        Raises:
            ForbiddenError: the clearance is for something else.
            ConflictError: the purge does not wait for it any more.
        """
        found = self.purge_of(content["purge"])
        clearance.covers(SubjectKind.PURGE.value, proposal_digest(content))
        if clearance.basis is not Basis.APPROVALS:
            raise ForbiddenError(Code.CLEARANCE_REQUIRED, "a purge takes the sign-off of a second person")
        if dict(content) != self._content(found, content["by"]):
            raise ConflictError(Code.CONFLICT, "the purge is not the one that was signed off", hint="plan it again")
        if found.state is PurgeState.RUNNING:
            return
        if found.state is not PurgeState.ASKED:
            raise ConflictError(Code.CONFLICT, f"the purge is {found.state.value}", hint="plan it again")
        after = replace(found, state=PurgeState.RUNNING, approvers=tuple(clearance.by))
        await self._move(found, after, "store.purge-begun", actor)

    async def round(self) -> None:
        """Go on with scans and purges that were begun and have not ended."""
        for row in list(self._control.view.scan(PURGE)):
            if row.doc["state"] == PurgeState.ASKED:
                await self._follow_request(purge_from(row.doc))
            elif row.doc["state"] == PurgeState.RUNNING:
                self._start(row.key, partial(self._running, row.key))
        for row in list(self._control.view.scan(SCAN)):
            if row.doc["ended_us"] is None:
                name, namespace = row.doc["store"], row.doc["namespace"]
                self._start(f"scan {row.key}", partial(self._scanning, name, namespace))

    async def _follow_request(self, purge: Purge) -> None:
        """A purge whose sign-off will not come is refused."""
        request = None if purge.request is None else self._desk.get(purge.request)
        if request is not None and request.state in {ApprovalState.OPEN, ApprovalState.APPROVED}:
            return
        state = "not known any more" if request is None else request.state.value
        await self._refuse(purge, f"its request for sign-off is {state}")

    async def close(self) -> None:
        """End what runs; it goes on at the next start."""
        for task in self._jobs.values():
            task.cancel()
        await asyncio.gather(*self._jobs.values(), return_exceptions=True)

    def _start(self, key: str, work: Callable[[], Awaitable[None]]) -> None:
        running = self._jobs.get(key)
        if running is not None and not running.done():
            return
        self._jobs = {one: task for one, task in self._jobs.items() if not task.done()}
        if len(self._jobs) < _MOST_JOBS:
            self._jobs[key] = asyncio.get_running_loop().create_task(self._job(key, work))

    async def _job(self, key: str, work: Callable[[], Awaitable[None]]) -> None:
        try:
            await work()
        except AccreditError as error:
            _log.warning("%s waits: %s", key, error.message)

    async def _wait(self, key: str, *, seconds: float = 5.0) -> None:
        """Until a job ends, or for a while."""
        task = self._jobs.get(key)
        if task is not None:
            await asyncio.wait([task], timeout=seconds)

    async def _running(self, purge_id: str) -> None:
        purge = self.purge_of(purge_id)
        if purge.state is not PurgeState.RUNNING:
            return
        try:
            async with self._opened(self.store(purge.selector.store)) as adapter:
                if purge.begun_us is None:
                    purge = await self._checked(adapter, purge)
                if purge.state is PurgeState.RUNNING:
                    await self._carried_out(adapter, purge)
        except (UnavailableError, NotFoundError) as error:
            if error.code in {Code.STORE_UNREACHABLE, Code.STORE_UNTRUSTED, Code.STORE_UNKNOWN}:
                await self._failed(self.purge_of(purge_id), error)
            raise

    async def _checked(self, adapter: StoreAdapter, purge: Purge) -> Purge:
        """The purge as begun, if what is there is what was planned."""
        seen = await self._gone_through(adapter, purge.selector, salt=self._ids.secret(16))
        if seen.plan != purge.plan:
            return await self._refuse(purge, "what is in the store is not what was planned any more")
        markers = [marker for _, marker in seen.samples]
        await asyncio.to_thread(self._samples.put, purge.id, markers)
        begun = replace(purge, begun_us=self._clock.now().wall_us, failing_us=None)
        await self._move(purge, begun, "store.purge-checked", _SYSTEM)
        self._at("checked")
        return begun

    async def _refuse(self, purge: Purge, why: str) -> Purge:
        refused = replace(purge, state=PurgeState.REFUSED, why=why)
        await self._move(purge, refused, "store.purge-refused", _SYSTEM)
        return refused

    async def _carried_out(self, adapter: StoreAdapter, purge: Purge) -> None:
        selector, noted = purge.selector, 0

        async def delete(items: list[Item]) -> None:
            nonlocal purge, noted
            await asyncio.to_thread(adapter.delete, selector.namespace, [item.id for item in items])
            self._at("deleted")
            noted += len(items)
            if noted >= _PROGRESS:
                after = replace(purge, deleted=purge.deleted + noted)
                await self._move(purge, after, "store.purge-stepped", _SYSTEM)
                purge, noted = after, 0

        left: int | None = None
        for _ in range(_MOST_PASSES):
            seen = await self._gone_through(adapter, selector, each=delete)
            there = seen.counts[Disposition.DELETE]
            if not there or (left is not None and there >= left):
                break  # all is gone, or deleting changes nothing
            left = there
        empty = seen.counts.total() == 0 and not selector.shared
        finished = await asyncio.to_thread(adapter.finish, selector.namespace, empty=empty)
        self._at("finished")
        keys, key_doubts = await self._keys(purge, alone=empty)
        markers = set(await asyncio.to_thread(self._samples.get, purge.id))

        def stays(item: Item) -> None:
            # what another item still says is no trace of a deleted one
            text = item.text.encode("utf-8", "surrogatepass")
            for marker in [one for one in markers if one in text]:
                markers.discard(marker)

        proof = await self._gone_through(adapter, selector, remaining=stays)
        if proof.counts[Disposition.DELETE]:
            residue = Residue(ResidualBytes.FOUND, "the store itself still shows items that were deleted")
        elif not markers and purge.counts[Disposition.DELETE]:
            residue = Residue(ResidualBytes.NOT_CHECKABLE, "nothing that was deleted could be told apart on disk")
        elif not purge.counts[Disposition.DELETE]:
            residue = Residue(ResidualBytes.NONE, "there was nothing to delete")
        else:
            residue = await asyncio.to_thread(adapter.residue, selector.namespace, sorted(markers))
        self._at("proven")
        await self._end(purge, finished, proof, residue, keys, key_doubts)

    async def _keys(self, purge: Purge, *, alone: bool) -> tuple[tuple[KeyDestroyed, ...], tuple[str, ...]]:
        """Destroy the key of the namespace, if it has one of its own and nothing is left in it."""
        store = self.store(purge.selector.store)
        scope = store.key_scope
        if scope is None:
            return (), ()
        if "{namespace}" not in scope:
            return (), (f"the key `{scope}` is not this namespace's alone and was not destroyed",)
        scope = scope.replace("{namespace}", purge.selector.namespace)
        if not alone:
            return (), (f"the key `{scope}` was not destroyed: items stay that it opens",)
        for other in self._registered().values():
            if other.name != store.name and other.opened_by(scope):
                return (), (f"the key `{scope}` was not destroyed: it is the store `{other.name}`'s as well",)
        # there is no item that could be held, but copies of what was there are opened by it as well
        if held_by := self._key_held(purge.selector.agent, store):
            return (), (f"the key `{scope}` was not destroyed: the agent is under legal hold {held_by[0]}",)
        try:
            return (await self._adapters.destroy_key(store, scope),), ()
        except (InvalidInputError, UnavailableError) as error:
            return (), (f"the key `{scope}` was not destroyed: {error.message}",)

    def _key_held(self, agent: AgentId, store: Store) -> tuple[str, ...]:
        """The holds on the agent itself, whoever what the key opens is about."""
        return self._holds.blocks(agent=agent, subject="", store=store.name)

    async def _end(
        self,
        purge: Purge,
        finished: Finished,
        proof: _Pass,
        residue: Residue,
        keys: tuple[KeyDestroyed, ...],
        doubts: tuple[str, ...],
    ) -> None:
        left, now_us = proof.counts[Disposition.DELETE], self._clock.now().wall_us
        planned = purge.counts[Disposition.DELETE]
        method = residue.method + (f" ({', '.join(residue.where[:10])})" if residue.where else "")
        pending = tuple(key_waits(one.scope) for one in keys if one.pending_until_us is not None)
        outcome = StoreOutcome(
            id=purge.id,
            agent=purge.selector.agent,
            store=purge.entry,
            adapter=purge.adapter,
            adapter_version=purge.adapter_version,
            scope=purge.selector.document(),
            plan=purge.plan,
            items_before=planned,
            items_after=left,
            deleted=max(planned - left, 0),
            methods=("delete", *finished.methods) if planned else (),
            keys=keys,
            api_absent=left == 0,
            residual=residue.residual,
            residual_method=method[:500],
            skipped=_skipped(proof.counts),
            holds=tuple(sorted(proof.holds)),
            unreachable=(*finished.copies, *doubts, *pending),
            operator=purge.by,
            approvers=purge.approvers,
            begun_us=purge.begun_us or now_us,
            ended_us=now_us,
        )
        await self._over(purge, outcome)

    async def _over(self, purge: Purge, outcome: StoreOutcome) -> None:
        after = replace(purge, state=PurgeState.ENDED, outcome=outcome, deleted=outcome.deleted)
        await self._move(purge, after, "store.purged", _SYSTEM)
        await asyncio.to_thread(self._samples.drop, purge.id)
        self._at("ended")

    async def _failed(self, purge: Purge, error: AccreditError) -> None:
        """Note since when a store fails; give up on one that lies, or has failed for too long."""
        if purge.state is not PurgeState.RUNNING:
            return
        now_us = self._clock.now().wall_us
        since_us = purge.failing_us if purge.failing_us is not None else now_us
        if error.code is not Code.STORE_UNTRUSTED and now_us - since_us < PATIENCE_US:
            if purge.failing_us is None:
                await self._move(purge, replace(purge, failing_us=now_us), "store.purge-waits", _SYSTEM)
            return
        await self._over(purge, self._not_reached(purge, error.message, now_us))

    def _not_reached(self, purge: Purge, why: str, now_us: int) -> StoreOutcome:
        return StoreOutcome(
            id=purge.id,
            agent=purge.selector.agent,
            store=purge.entry,
            adapter=purge.adapter,
            adapter_version=purge.adapter_version,
            scope=purge.selector.document(),
            plan=purge.plan,
            items_before=purge.counts[Disposition.DELETE],
            items_after=None,
            deleted=purge.deleted,
            methods=("delete",) if purge.deleted else (),
            keys=(),
            api_absent=None,
            residual=ResidualBytes.NOT_CHECKABLE,
            residual_method="the store could not be read to the end",
            skipped=_skipped(Counter(purge.counts.of)),
            holds=purge.holds,
            unreachable=(f"the store itself: {why}",),
            operator=purge.by,
            approvers=purge.approvers,
            begun_us=purge.begun_us or now_us,
            ended_us=now_us,
        )

    async def verify(self, purge: str) -> tuple[Purge, int]:
        """Ask the store anew whether an ended purge still holds: the purge, and how many items it would delete now.

        Raises:
            NotFoundError: no such purge.
            ConflictError: it has not ended.
            UnavailableError: the store cannot be read.
        """
        found = self.purge_of(purge)
        if found.state is not PurgeState.ENDED:
            raise ConflictError(Code.CONFLICT, f"the purge is {found.state.value}")
        async with self._opened(self.store(found.selector.store)) as adapter:
            seen = await self._gone_through(adapter, found.selector)
        return found, seen.counts[Disposition.DELETE]

    # -- retirement

    def foresee(self, agent: Agent) -> Mapping[str, Any]:
        """What retiring the agent would find, by what is known without asking any store."""
        entries = self.entries(agent.id)
        doubts = {one.entry: one.why for one in uncertifiable(entries, self._registered())}
        newest: dict[str, Purge] = {}
        for one in reversed(self.purges(agent.id)):
            newest[one.entry] = one
        planned = []
        left = []
        for declared in entries:
            entry = store_entry(declared)
            known = newest.get(entry)
            if known is not None:
                counts = {one.value: count for one, count in sorted(known.counts.of.items())}
                planned.append({"counts": counts, "plan": known.plan, "store": entry})
            if (doubt := doubts.get(entry)) is not None:
                left.append(f"{entry}: cannot certify: {doubt}")
        return {"open": left, "planned": planned, "stores": [store_entry(one) for one in entries]}

    async def retire(self, agent: Agent, procedure: Procedure) -> Mapping[str, Any]:
        """Purge all that an agent kept in registered stores, as far as it is or can be signed off; can be repeated.

        Raises:
            UnavailableError: a store cannot be reached yet, or a sign-off is still missing (`purge_awaits`).
        """
        outcomes, waits = [], []
        registered = self._registered()
        operator = Operator(procedure.by, procedure.credential, frozenset({"admin"}), procedure.basis)
        entries = self.entries(agent.id)
        doubts = {one.entry: one.why for one in uncertifiable(entries, registered)}
        for declared in entries:
            entry, name, namespace = store_entry(declared), declared.get("store"), declared.get("namespace")
            if name is None or namespace is None or name not in registered or not registered[name].holds(namespace):
                why = doubts.get(entry) or f"`{name}` is not registered for `{namespace}` any more"
                outcomes.append(self._unlooked(agent, declared, f"cannot certify: {why}", procedure))
                continue
            try:
                outcomes.append(await self._retired(agent, name, namespace, operator, procedure))
            except UnavailableError as error:
                late = self._clock.now().wall_us - procedure.begun_us >= PATIENCE_US
                if error.code is Code.STORE_UNTRUSTED or (error.code is Code.STORE_UNREACHABLE and late):
                    outcomes.append(self._unlooked(agent, declared, f"the store itself: {error.message}", procedure))
                else:
                    waits.append(error)
        if waits:
            raise waits[0]
        return {
            "open": [each for outcome in outcomes for each in outcome.open],
            "outcomes": [outcome_doc(one) for one in outcomes],
            "stores": [store_entry(one) for one in entries],
        }

    def waiting(self, agent: Agent, procedure: Procedure) -> tuple[str, ...]:
        """What of a retirement's purges is not done yet, in plain words."""
        found = []
        for declared in self.entries(agent.id):
            entry, name, namespace = store_entry(declared), declared.get("store"), declared.get("namespace")
            if name is None or namespace is None or name not in self._registered():
                continue
            purge = self._newest(agent.id, procedure.id, name, namespace)
            if purge is None:
                found.append(f"{entry}: it could not be looked into yet")
            elif purge.state is PurgeState.ASKED:
                found.append(f"{entry}: its purge waits for request {purge.request}")
            elif purge.state in {PurgeState.PLANNED, PurgeState.RUNNING}:
                since = "it cannot be reached yet" if purge.failing_us is not None else "its purge is not done yet"
                found.append(f"{entry}: {since}")
        return tuple(found)

    def outcomes(self, agent: Agent, procedure: Procedure) -> tuple[StoreOutcome, ...]:
        """What the purges of a retirement came to so far, the newest of each place."""
        done = next((one.result for one in procedure.done if one.step is Step.STORES), {})
        told = {one["store"]: outcome_from(one) for one in done.get("outcomes", ())}
        for declared in self.entries(agent.id):
            name, namespace = declared.get("store"), declared.get("namespace")
            if name is None or namespace is None:
                continue
            ended = [
                one for one in self._of_procedure(agent.id, procedure.id, name, namespace) if one.outcome is not None
            ]
            if ended and ended[0].outcome is not None:
                told[store_entry(declared)] = ended[0].outcome
        return tuple(told[entry] for entry in sorted(told))

    async def again(self, agent: Agent, procedure: Procedure, outcome: StoreOutcome) -> None:
        """Go on with what a retired agent's purge had to leave, once that can be: holds that were lifted, keys.

        Raises:
            UnavailableError: the store cannot be reached, or a sign-off is still missing.
        """
        name, namespace = str(outcome.scope.get("store") or ""), str(outcome.scope.get("namespace") or "")
        newest = self._newest(agent.id, procedure.id, name, namespace)
        if newest is None:
            return
        operator = Operator(procedure.by, procedure.credential, frozenset({"admin"}), procedure.basis)
        if newest.id == outcome.id:
            await self._keys_again(newest, outcome)
            held = outcome.skipped.get(Disposition.HELD.value)
            standing = set(self._holds.blocks())  # also those of others whose items could not be told from its own
            if not held or standing & set(outcome.holds):
                return
            await self.plan(agent.id, name, namespace, operator, procedure=procedure.id)
        await self._retired(agent, name, namespace, operator, procedure)

    async def _keys_again(self, purge: Purge, outcome: StoreOutcome) -> None:
        """Ask the key service again for keys whose time has come."""
        now_us = self._clock.now().wall_us
        due = [one for one in outcome.keys if one.pending_until_us is not None and now_us >= one.pending_until_us]
        store = self.store(purge.selector.store)
        if not due or self._key_held(purge.selector.agent, store):
            return  # to ask is to order anew what somebody took back, and perhaps for the sake of that hold
        fresh = {one.scope: await self._adapters.key_gone(store, one) for one in due}
        keys = tuple(fresh.get(one.scope, one) for one in outcome.keys)
        gone = {key_waits(one.scope) for one in keys if one.pending_until_us is None}
        after = replace(outcome, keys=keys, unreachable=tuple(one for one in outcome.unreachable if one not in gone))
        await self._move(purge, replace(purge, outcome=after), "store.purge-confirmed", _SYSTEM)

    def _of_procedure(self, agent: AgentId, procedure: str, name: str, namespace: str) -> list[Purge]:
        """A retirement's purges of a place, newest first."""
        return [
            one
            for one in self.purges(agent)
            if one.procedure == procedure and (one.selector.store, one.selector.namespace) == (name, namespace)
        ]

    def _newest(self, agent: AgentId, procedure: str, name: str, namespace: str) -> Purge | None:
        return next(iter(self._of_procedure(agent, procedure, name, namespace)), None)

    async def _retired(
        self, agent: Agent, name: str, namespace: str, operator: Operator, procedure: Procedure
    ) -> StoreOutcome:
        known = self._newest(agent.id, procedure.id, name, namespace)
        purge = known or await self.plan(agent.id, name, namespace, operator, procedure=procedure.id)
        if purge.state is PurgeState.PLANNED:
            purge = await self.ask(purge.id, operator)
        if purge.state is PurgeState.ASKED:
            await self._follow_request(purge)
            purge = self.purge_of(purge.id)
        if purge.state is PurgeState.ASKED:
            raise UnavailableError(Code.PURGE_AWAITS, f"the purge of {purge.entry} waits for request `{purge.request}`")
        if purge.state is PurgeState.RUNNING:
            self._start(purge.id, lambda: self._running(purge.id))
            task = self._jobs.get(purge.id)
            if task is not None:
                await asyncio.shield(task)
            purge = self.purge_of(purge.id)
        if purge.state is PurgeState.RUNNING:
            raise UnavailableError(Code.STORE_UNREACHABLE, f"the purge of {purge.entry} is not done")
        if purge.outcome is not None:
            return purge.outcome
        return self._not_reached(purge, f"it was not purged: {purge.why}", self._clock.now().wall_us)

    def _unlooked(self, agent: Agent, declared: Mapping[str, Any], why: str, procedure: Procedure) -> StoreOutcome:
        now_us = self._clock.now().wall_us
        return StoreOutcome(
            id=f"{procedure.id}/{store_entry(declared)}",
            agent=agent.id,
            store=store_entry(declared),
            adapter=str(declared["adapter"]),
            adapter_version="",
            scope={"agent": agent.id, "kind": declared["kind"], "namespace": declared.get("namespace")},
            plan=None,
            items_before=None,
            items_after=None,
            deleted=0,
            methods=(),
            keys=(),
            api_absent=None,
            residual=ResidualBytes.NOT_CHECKABLE,
            residual_method="it was not looked into",
            skipped={},
            holds=(),
            unreachable=(why,),
            operator=procedure.by,
            approvers=(),
            begun_us=now_us,
            ended_us=now_us,
        )

    # -- what stands

    def _known(self, agent: AgentId) -> Agent:
        found = self._agent(agent)
        if found is None:
            raise NotFoundError(Code.NOT_FOUND, f"no agent has the id `{agent[:80]}`")
        return found

    async def _move(self, before: Purge, after: Purge, kind: str, actor: Actor) -> None:
        def build(view: StateView) -> Change:
            row = view.get(PURGE, before.id)
            if row is None or purge_from(row.doc) != before:
                raise ConflictError(Code.CONFLICT, "the purge changed meanwhile", hint="look at it again")
            return self._change(kind, after, view, actor)

        await self._control.transact(build)

    def _change(self, kind: str, purge: Purge, view: StateView, actor: Actor, *, also: Iterable[Write] = ()) -> Change:
        row = view.get(PURGE, purge.id)
        nonce = row.doc["nonce"] if row is not None else self._ids.secret(16).hex()
        body = {
            "deleted": purge.deleted,
            "plan": purge.plan,
            "purge": purge.id,
            "state": purge.state.value,
            "store": purge.selector.store,
        }
        parts = (Part("text", {"why": purge.why}),) if purge.why else ()
        writes = (Write(PURGE, purge.id, purge_doc(purge, nonce=nonce)), *also)
        return Change(Facts(kind, agent=purge.selector.agent), writes, actor, body, parts)


def _marker(text: str) -> bytes | None:
    """What of a text is looked for on disk: the longest plain run, cut to a bound."""
    runs = _PLAIN.findall(text[:65_536])
    if not runs:
        return None
    run = max(runs, key=len).strip()
    if len(run) < _LEAST_MARKER:
        return None
    start = max(0, len(run) // 2 - _MOST_MARKER // 2)
    return str(run[start : start + _MOST_MARKER]).encode()


def _skipped(counts: Counter[Disposition]) -> dict[str, int]:
    return {one.value: count for one, count in sorted(counts.items()) if one is not Disposition.DELETE and count}


def _actor(who: Operator) -> Actor:
    return Actor(person=who.person, credential=who.credential, basis=who.basis)
