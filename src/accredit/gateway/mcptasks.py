"""Calls that a client asks about until they are done (the tasks extension of MCP 2026-07-28, SEP-2663).

Two kinds: a call that waits for a person, and one that its tool server works on. Each is known under a name of ours
to the agent, user and task that made it, at the endpoint where it was made. They outlive this process: what waits goes
on waiting, what has ended is told, what a tool server went on with is asked about again, and of all else that was in
flight it is told that nobody knows how it ended. No call is sent twice, whenever the process dies: see `DeferredCalls`.
"""

from __future__ import annotations

import asyncio
import functools
import logging
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final, TypeVar

import orjson

from accredit.enforcement.model import Admitted, Call
from accredit.gateway.items import RpcCall
from accredit.gateway.jsonrpc import RpcError, RpcId, RpcNumber
from accredit.gateway.ports import DeferredCallStore, DeferredStanding, KeptCall, KeptSize
from accredit.gateway.replies import Reply
from accredit.identity.model import Principal, Revocation
from accredit.kernel.clock import BothClocks, Clock
from accredit.kernel.codes import Code
from accredit.kernel.errors import AccreditError, ConflictError, InvalidInputError, UnavailableError
from accredit.kernel.ids import AgentId, DecisionId, HoldId, IdSource, ServerName
from accredit.kernel.sealing import Sealer

__all__ = ["TASKS", "DeferredCall", "DeferredCalls", "HeardReply", "UpstreamTask", "read_task", "takes_tasks"]

_log = logging.getLogger("accredit.gateway")

TASKS: Final = "io.modelcontextprotocol/tasks"
POLL_MS: Final = 2_000
_MOST: Final = 4_096
_MOST_OF_ONE: Final = 64
_MAX_ID: Final = 256
_MAX_UPSTREAM_ID: Final = 1_024
_MAX_WORDS: Final = 512
_MAX_ERROR_TEXT: Final = 1_024
_MOST_KEPT: Final = 512 * 2**20
_MOST_KEPT_OF_ONE: Final = 32 * 2**20
"""Bytes that are kept of all and of one agent's: what waits, and ends for who asks again."""
_SHORTEST_MS: Final = 1_000
_LONGEST_MS: Final = 24 * 3600 * 1000
_STATUSES: Final = frozenset({"cancelled", "completed", "failed", "input_required", "working"})


def takes_tasks(capabilities: Any) -> bool:
    """Whether a client declares the extension."""
    extensions = capabilities.get("extensions") if isinstance(capabilities, Mapping) else None
    return isinstance(extensions, Mapping) and isinstance(extensions.get(TASKS), Mapping)


@dataclass(frozen=True, slots=True)
class UpstreamTask:
    """Where a task of a tool server stands."""

    id: str
    status: str
    ttl_ms: int | None
    poll_ms: int
    message: str | None
    result: Mapping[str, Any] | None
    error: Mapping[str, Any] | None


def read_task(result: Mapping[str, Any]) -> UpstreamTask:
    """A tool server's `Task`.

    Raises:
        UnavailableError: `upstream_invalid`.
    """
    own, status = result.get("taskId"), result.get("status")
    ttl, poll, words = result.get("ttlMs"), result.get("pollIntervalMs"), result.get("statusMessage")
    if not isinstance(own, str) or not 0 < len(own) <= _MAX_UPSTREAM_ID or status not in _STATUSES:
        raise _invalid("has no name or no status")
    if not isinstance(ttl, int | None) or isinstance(ttl, bool) or not isinstance(poll, int | None):
        raise _invalid("has no time to live")
    ended, error = result.get("result"), result.get("error")
    if status == "completed" and not isinstance(ended, dict):
        raise _invalid("has ended without an end")
    if status == "input_required":
        raise _invalid("asked for input, which was not declared to it")
    kept = words[:_MAX_WORDS] if isinstance(words, str) else None
    bounded = max(500, min(poll or POLL_MS, 60_000))
    return UpstreamTask(
        own,
        str(status),
        ttl,
        bounded,
        kept,
        ended if status == "completed" else None,
        _error(error) if status == "failed" else None,
    )


def _error(error: Any) -> dict[str, Any]:
    """A protocol error as that of any answer: number and words, and nothing that could not be told."""
    number, words = (error.get("code"), error.get("message")) if isinstance(error, dict) else (None, None)
    if not isinstance(number, int) or isinstance(number, bool) or not isinstance(words, str):
        raise _invalid("has a malformed error")
    return {"code": number, "message": words[:_MAX_ERROR_TEXT]}


def _invalid(text: str) -> UnavailableError:
    return UnavailableError(Code.UPSTREAM_INVALID, f"the tool server's task {text}")


_Owner = tuple[AgentId, str | None, str | None, ServerName | None]


def _owner(principal: Principal, endpoint: ServerName | None) -> _Owner:
    user, task = principal.user, principal.task
    return principal.agent, user.key if user else None, task.key if task else None, endpoint


def _bound(principal: Principal) -> tuple[str, ...]:
    """What ends all that this caller has: see `Revocation.ends`."""
    found = {f"agent:{principal.agent}", f"credential:{principal.credential}"}
    found |= {f"issuer:{one}" for one in principal.registrations}
    for one in principal.delegators:
        found |= {f"agent:{one.agent}", f"credential:{one.credential}"}
    return tuple(sorted(found))


@dataclass(slots=True)
class DeferredCall:
    """One call that its client asks about until it is done."""

    id: str
    owner: _Owner
    epoch: int
    """The agent's when it was made: whatever raises that ends the call for good."""
    bound: tuple[str, ...]
    created_us: int
    ttl_ms: int
    standing: DeferredStanding
    call: Call | None = None
    """To be made once a person has approved it; only as long as it waits, or is being made here."""
    asked: RpcCall | None = None
    """As its server is asked."""
    decision: DecisionId | None = None
    """By which it was let through."""
    admitted: Admitted | None = None
    """Set: its tool server works on it, under the name `upstream`, and it is not settled."""
    upstream: str = ""
    place: str = ""
    """Where that server was: what is somewhere else does not know the name. Empty: it ended with the process."""
    poll_ms: int = POLL_MS
    words: str | None = None
    updated_us: int = 0
    ended: Mapping[str, Any] | None = None
    """`status`, and `result` or `error`."""
    running: asyncio.Task[None] | None = None
    keeping: asyncio.Future[None] | None = field(default=None, repr=False)
    """Set: how it ended is on its way to where it outlives this process."""
    fault: AccreditError | None = None
    """Why it was not sent: it goes on waiting."""
    overtaken: bool = False
    """It stands elsewhere than this says: to be looked up anew."""
    expiry: asyncio.TimerHandle | None = field(default=None, repr=False)

    @property
    def expires_us(self) -> int:
        """By the wall clock."""
        return self.created_us + self.ttl_ms * 1_000

    @property
    def left_behind(self) -> bool:
        """Whether a tool server went on with it for a process that is gone, and can be asked again."""
        return self.standing is DeferredStanding.BEGUN and self.admitted is None and self.place != ""

    def nobody_knows(self) -> None:
        """Whoever asks now is told so; that it may have ended well can still be found out."""
        self.ended = _nobody_knows(self.decision)

    def state(self) -> dict[str, Any]:
        """As clients are told of it."""
        told: dict[str, Any] = {
            "taskId": self.id,
            "status": "working",
            "createdAt": _moment(self.created_us),
            "lastUpdatedAt": _moment(self.updated_us),
            "ttlMs": self.ttl_ms,
            "pollIntervalMs": self.poll_ms,
        }
        if self.words is not None:
            told["statusMessage"] = self.words
        return told | dict(self.ended or {})


def _moment(at_us: int) -> str:
    return datetime.fromtimestamp(at_us / 1_000_000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


_T = TypeVar("_T")


class DeferredCalls:
    """Those of an installation: kept in a store, but for what is in flight here.

    INVARIANT: a call is noted as begun, durably, before it is sent; so whoever finds it waiting knows that it was not.
    What is found begun and is not in flight here was begun by a process that is gone, for there is one at a time.
    """

    def __init__(self, store: DeferredCallStore, sealer: Sealer, clock: Clock, ids: IdSource) -> None:
        """Take over what an earlier process kept.

        Raises:
            UnavailableError: it cannot be read.
        """
        self._store = store
        self._sealer = sealer.derive("deferred-calls")
        self._clock = clock
        self._clocks = BothClocks(clock.now())
        self._ids = ids
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="deferred-calls")
        self._closed = False
        self._live: dict[str, DeferredCall] = {}
        """In flight here, or ended here and not kept yet."""
        self._sizes: dict[str, KeptSize] = {}
        """All that is kept, the one longest ended first."""
        self._bytes = 0
        self._bytes_of: Counter[AgentId] = Counter()
        self._of: Counter[AgentId] = Counter()
        self._leaving: set[str] = set()
        """Let go of, and perhaps still kept."""
        self._writing: set[asyncio.Future[Any]] = set()
        for size in store.sizes():
            self._count(size)

    def __len__(self) -> int:
        return len(self._sizes)

    def room(self, agent: AgentId) -> bool:
        """Whether one more of an agent's may be deferred."""
        return len(self._sizes) < _MOST and self._of[agent] < _MOST_OF_ONE

    async def add(
        self,
        call: Call,
        asked: RpcCall,
        endpoint: ServerName | None,
        *,
        ttl_ms: int,
        expired: Callable[[DeferredCall], None] = lambda _: None,
        admitted: Admitted | None = None,
        task: UpstreamTask | None = None,
        place: str = "",
        words: str | None = None,
    ) -> DeferredCall:
        """Defer a call for as long as it may take: until a person approves it or, `admitted`, its server is done.

        `place` is where that server is, if it can be asked after this process; `expired` is told when a call that is in
        flight took longer.

        Raises:
            InvalidInputError: the call has no JSON form.
            UnavailableError: it could not be kept.
            ConflictError: there is no room for one more.
        """
        principal, now_us = call.principal, self._clock.now().wall_us
        made = DeferredCall(
            id=self._ids.new("tsk"),
            owner=_owner(principal, endpoint),
            epoch=principal.epoch,
            bound=_bound(principal),
            created_us=now_us,
            ttl_ms=max(_SHORTEST_MS, min(ttl_ms, _LONGEST_MS)),
            standing=DeferredStanding.WAITS if admitted is None else DeferredStanding.BEGUN,
            call=call,
            asked=asked,
            decision=admitted.decision_id if admitted is not None else None,
            admitted=admitted,
            upstream=task.id if task is not None else "",
            place=place,
            poll_ms=task.poll_ms if task is not None else POLL_MS,
            words=words,
            updated_us=now_us,
        )
        kept = self._sealed(made)
        size = _size_of(kept)
        self._make_room(size.agent, size.size)
        if not self.room(size.agent) or self._too_much(size.agent, size.size):
            raise ConflictError(Code.CONCURRENCY_LIMITED, "too many calls of this agent go on")
        self._count(size)  # before it is there, or two at once could both be the last
        if admitted is not None:
            self._goes_on_here(made, expired)
        try:
            await self._blocking(self._store.add, kept)
        except BaseException:
            self._let_go(made.id)
            raise
        return made

    def take_up(self, deferred: DeferredCall, admitted: Admitted, expired: Callable[[DeferredCall], None]) -> bool:
        """Go on here with what was left behind; False if it is over meanwhile."""
        if deferred.id not in self._sizes or deferred.id in self._live:
            return False
        deferred.admitted = admitted
        self._goes_on_here(deferred, expired)
        return True

    async def find(self, named: Any, principal: Principal, endpoint: ServerName | None, rpc_id: RpcId) -> DeferredCall:
        """The call of that name.

        Raises:
            RpcError: there is none of this caller, at this endpoint.
            UnavailableError: what is kept cannot be read.
        """
        known = await self._known(named, principal) if isinstance(named, str) and len(named) <= _MAX_ID else None
        if known is None or known.owner != _owner(principal, endpoint) or known.epoch != principal.epoch:
            raise RpcError(
                RpcNumber.PARAMS,
                Code.MCP_TASK_UNKNOWN.meaning,
                code=Code.MCP_TASK_UNKNOWN,
                rpc_id=rpc_id,
                hint=Code.MCP_TASK_UNKNOWN.remedy,
            )
        return known

    async def _known(self, named: str, principal: Principal) -> DeferredCall | None:
        if (live := self._live.get(named)) is not None:
            return live
        kept = await self._blocking(self._store.get, named)
        if (live := self._live.get(named)) is not None:  # begun while it was looked for
            return live
        if kept is None or named in self._leaving or self._clocks.passed(kept.expires_us, self._clock.now()):
            return None
        return self._opened(kept, principal)

    async def begin(self, deferred: DeferredCall, decision: DecisionId) -> bool:
        """Note that a waiting call is about to be sent; False if it does not wait any more, and must not be.

        Raises:
            UnavailableError: that could not be noted, and it must not be sent.
        """
        deferred.decision = decision
        kept = self._sealed(deferred, DeferredStanding.BEGUN)
        self._goes_on_here(deferred, lambda _: None)
        try:
            begun = await self._blocking(self._store.advance, kept, after=DeferredStanding.WAITS)
        except BaseException:
            self._lands(deferred)
            raise
        if not begun:
            self._lands(deferred)
            deferred.overtaken = True
            return False
        deferred.standing = DeferredStanding.BEGUN
        return True

    def end(self, deferred: DeferredCall, **ended: Any) -> None:
        """Note how a call ended: it is told until its time is over, or newer ends take too much room beside it.

        It is kept when `kept` returns. An end that cannot be kept is told as long as this process lives.
        """
        if deferred.ended is not None:
            return
        deferred.ended = ended
        deferred.updated_us = self._clock.now().wall_us
        deferred.keeping = asyncio.ensure_future(self._keep_end(deferred))
        self._writing.add(deferred.keeping)
        deferred.keeping.add_done_callback(self._writing.discard)

    async def kept(self, deferred: DeferredCall) -> None:
        """Wait until what `end` noted is where it outlives this process."""
        if deferred.keeping is not None:
            await asyncio.shield(deferred.keeping)

    async def _keep_end(self, deferred: DeferredCall) -> None:
        try:
            kept = self._sealed(deferred, DeferredStanding.ENDED)
            stands = await self._blocking(self._store.advance, kept, after=deferred.standing)
        except AccreditError as error:
            _log.error("the end of a deferred call could not be kept: %s", error.message)
            return
        self._lands(deferred)
        if not stands:  # it was let go of meanwhile, or somebody else was sooner
            deferred.overtaken = True
            return
        deferred.standing = DeferredStanding.ENDED
        if deferred.id in self._sizes:
            self._let_go(deferred.id)
            self._count(_size_of(kept))
            self._make_room(kept.agent, 0, but=deferred.id)

    # -- what comes back once

    async def spend(self, state: str, until_us: int) -> bool:
        """Note, durably, that a state handed to a client came back; False if it had come back before.

        Raises:
            UnavailableError: that could not be noted.
        """
        return await self._blocking(self._store.spend, state, until_us=until_us)

    # -- the end of their time

    def revoked(self, revocation: Revocation) -> None:
        """Let go of all that ends with something that was just revoked."""
        name = f"{revocation.kind.value}:{revocation.id}"
        self._forget([one.id for one in self._sizes.values() if name in one.bound])

    async def sweep(self) -> None:
        """Let go of what is over. To be called now and then.

        Raises:
            UnavailableError: the store cannot be used.
        """
        now = self._clock.now()
        over = [one.id for one in self._sizes.values() if self._clocks.passed(one.expires_us, now)]
        self._forget([one for one in over if one not in self._live])
        await self._blocking(self._store.sweep, self._clocks.surely_us(now))

    def _goes_on_here(self, deferred: DeferredCall, expired: Callable[[DeferredCall], None]) -> None:
        left_s = max(0.0, (deferred.expires_us - self._clock.now().wall_us) / 1_000_000)
        self._live[deferred.id] = deferred
        deferred.expiry = asyncio.get_running_loop().call_later(left_s, self._expire, deferred, expired)

    def _lands(self, deferred: DeferredCall) -> None:
        self._live.pop(deferred.id, None)
        if deferred.expiry is not None:
            deferred.expiry.cancel()

    def _expire(self, deferred: DeferredCall, expired: Callable[[DeferredCall], None]) -> None:
        if self._live.get(deferred.id) is not deferred:
            return
        self._forget([deferred.id])
        if deferred.running is not None:
            deferred.running.cancel()
        expired(deferred)

    # -- room

    def _count(self, size: KeptSize) -> None:
        self._sizes[size.id] = size
        self._of[size.agent] += 1
        self._bytes += size.size
        self._bytes_of[size.agent] += size.size

    def _let_go(self, named: str) -> None:
        """Do not count it any more, and know nothing of it here."""
        size = self._sizes.pop(named, None)
        if (live := self._live.get(named)) is not None:
            self._lands(live)
        if size is None:
            return
        self._bytes -= size.size
        for counted, by in ((self._of, 1), (self._bytes_of, size.size)):
            counted[size.agent] -= by
            if not counted[size.agent]:
                del counted[size.agent]

    def _forget(self, calls: Sequence[str]) -> None:
        """Let go of these here at once, and where they are kept as soon as may be."""
        for named in calls:
            self._let_go(named)
        self._leaving.update(calls)
        if calls:
            forgetting = asyncio.ensure_future(self._forgotten(calls))
            self._writing.add(forgetting)
            forgetting.add_done_callback(self._writing.discard)

    async def _forgotten(self, calls: Sequence[str]) -> None:
        try:
            await self._blocking(self._store.forget, calls)
        except AccreditError as error:  # unknown all the same, sealed, and swept when its time is over
            _log.error("deferred calls could not be let go of: %s", error.message)
        else:
            self._leaving.difference_update(calls)

    def _too_much(self, agent: AgentId, more: int) -> bool:
        return self._bytes_of[agent] + more > _MOST_KEPT_OF_ONE or self._bytes + more > _MOST_KEPT

    def _make_room(self, agent: AgentId, more: int, but: str = "") -> None:
        """Let go of the oldest ends: first of the agent's own, and of others' only where all together are too much."""
        ends = [one for one in self._sizes.values() if one.standing is DeferredStanding.ENDED and one.id != but]
        own = [one for one in ends if one.agent == agent]
        for one in own:
            if self._bytes_of[agent] + more <= _MOST_KEPT_OF_ONE:
                break
            self._forget([one.id])
        for one in ends:
            if self._bytes + more <= _MOST_KEPT:
                break
            self._forget([one.id])

    # -- sealing

    def _sealed(self, deferred: DeferredCall, standing: DeferredStanding | None = None) -> KeptCall:
        """As it is kept: the call itself as long as it waits, or its server may be asked about it.

        Raises:
            InvalidInputError: it has no JSON form.
        """
        standing = standing or deferred.standing
        agent, user, task, endpoint = deferred.owner
        told: dict[str, Any] = {
            "created_us": deferred.created_us,
            "decision": deferred.decision,
            "endpoint": endpoint,
            "epoch": deferred.epoch,
            "poll_ms": deferred.poll_ms,
            "task": task,
            "ttl_ms": deferred.ttl_ms,
            "updated_us": deferred.updated_us,
            "user": user,
            "words": deferred.words,
        }
        goes_on = standing is DeferredStanding.BEGUN and deferred.place != ""
        if (standing is DeferredStanding.WAITS or goes_on) and deferred.call is not None and deferred.asked is not None:
            told["call"] = _call_doc(deferred.call, deferred.asked)
        if goes_on:
            told |= {"place": deferred.place, "upstream": deferred.upstream}
        if standing is DeferredStanding.ENDED:
            told["ended"] = dict(deferred.ended or {})
        content = _text(told)
        belonging = _belonging(deferred.id, agent, standing, deferred.expires_us, deferred.bound)
        sealed = self._sealer.seal(content, belongs_to=belonging)
        return KeptCall(deferred.id, agent, standing, deferred.expires_us, deferred.bound, sealed)

    def _opened(self, kept: KeptCall, principal: Principal) -> DeferredCall | None:
        """What is kept; the call in it as whoever asks about it would make it. None if that was not kept by us."""
        belonging = _belonging(kept.id, kept.agent, kept.standing, kept.expires_us, kept.bound)
        try:
            told = orjson.loads(self._sealer.open(kept.sealed, belongs_to=belonging))
        except InvalidInputError:
            _log.error("a deferred call was changed where it is kept: it counts as unknown")
            return None
        owner = (kept.agent, told["user"], told["task"], ServerName(told["endpoint"]) if told["endpoint"] else None)
        found = DeferredCall(
            id=kept.id,
            owner=owner,
            epoch=told["epoch"],
            bound=kept.bound,
            created_us=told["created_us"],
            ttl_ms=told["ttl_ms"],
            standing=kept.standing,
            decision=told["decision"],
            poll_ms=told["poll_ms"],
            words=told["words"],
            updated_us=told["updated_us"],
            ended=told.get("ended"),
        )
        if "call" in told:
            found.call, found.asked = _read_call(told["call"], principal)
            found.upstream, found.place = told.get("upstream", ""), told.get("place", "")
        elif kept.standing is DeferredStanding.BEGUN:
            found.nobody_knows()
        return found

    # -- the store's own thread

    async def _blocking(self, call: Callable[..., _T], *given: Any, **named: Any) -> _T:
        work = functools.partial(call, *given, **named)
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)

    async def aclose(self) -> None:
        """Let go of what is in flight: it is closed from the log at the next start, and told as unknown. Once."""
        if self._closed:
            return
        self._closed = True
        running = []
        for deferred in list(self._live.values()):
            self._lands(deferred)
            if deferred.running is not None:
                deferred.running.cancel()
                running.append(deferred.running)
        await asyncio.gather(*running, return_exceptions=True)
        await asyncio.gather(*self._writing, return_exceptions=True)
        await self._blocking(self._store.close)
        self._thread.shutdown()


def _belonging(named: str, agent: AgentId, standing: DeferredStanding, expires_us: int, bound: Sequence[str]) -> bytes:
    return orjson.dumps(["deferred-call", named, agent, standing.value, expires_us, list(bound)])


def _size_of(kept: KeptCall) -> KeptSize:
    return KeptSize(kept.id, kept.agent, kept.standing, kept.expires_us, kept.bound, len(kept.sealed))


def _text(value: Any) -> bytes:
    """The JSON text of a value, its members in their order.

    Raises:
        InvalidInputError: it has none that reads back as itself.
    """
    try:
        text = orjson.dumps(value)
        if orjson.loads(text) == value:
            return text
    except (orjson.JSONEncodeError, orjson.JSONDecodeError, RecursionError) as error:
        raise InvalidInputError(Code.UNENCODABLE_INPUT, "a value has no JSON form", cause=repr(error)) from error
    raise InvalidInputError(Code.UNENCODABLE_INPUT, "a value does not read back from JSON as itself")


def _call_doc(call: Call, asked: RpcCall) -> dict[str, Any]:
    """What is needed to make a tool call later. Items are never deferred."""
    return {
        "answers": dict(call.answers),
        "declared": dict(call.declared),
        "hold": call.hold,
        "method": asked.method,
        "named_call": call.named_call,
        "params": dict(asked.params),
        "protocol": call.protocol,
        "run_label": call.run_label,
        "server": asked.server,
        "tool": asked.own,
    }


def _read_call(doc: Mapping[str, Any], principal: Principal) -> tuple[Call, RpcCall]:
    server = ServerName(doc["server"]) if doc["server"] is not None else None
    asked = RpcCall(server, doc["tool"], doc["params"]["arguments"], doc["method"], doc["params"])
    call = Call(
        principal=principal,
        server=server,
        tool=asked.own,
        arguments=asked.arguments,
        protocol=doc["protocol"],
        source="",
        run_label=doc["run_label"],
        named_call=doc["named_call"],
        declared=doc["declared"],
        answers=doc["answers"],
        hold=HoldId(doc["hold"]) if doc["hold"] is not None else None,
    )
    return call, asked


def _nobody_knows(decision: DecisionId | None) -> dict[str, Any]:
    """How a call ended that was in flight in a process that is gone."""
    code = Code.OUTCOME_UNKNOWN
    told = {"code": code.value, "hint": code.remedy, "decision_id": decision}
    return {"status": "failed", "error": {"code": int(RpcNumber.INTERNAL), "message": code.meaning, "data": told}}


async def _nobody(_: Any) -> None:
    """Nobody listens while a deferred call runs: what is said is kept for whoever asks."""


class HeardReply(Reply):
    """Keeps the answer instead of sending it."""

    __slots__ = ("heard",)

    def __init__(self) -> None:
        super().__init__(_nobody)
        self.rpc_id = 0
        self.heard: bytes | None = None

    async def final(self, body: bytes, *headers: tuple[bytes, bytes], status: int = 200) -> None:  # noqa: ARG002 - as it is
        self.heard = body
        self.done = self.started = True

    async def part(self, body: bytes) -> None:
        """What comes before the end is not told of a task."""

    def ended(self) -> dict[str, Any]:
        """How a task ended that was answered so."""
        message = orjson.loads(self.heard or b"{}")
        if "error" in message:
            return {"status": "failed", "error": message["error"]}
        return {"status": "completed", "result": message.get("result", {})}
