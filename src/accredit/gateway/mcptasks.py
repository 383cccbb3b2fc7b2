"""Calls that a client asks about until they are done (the tasks extension of MCP 2026-07-28, SEP-2663).

Two kinds: a call that waits for a person, and one that its tool server works on. Each is known under a name of ours
to the agent, user and task that made it, at the endpoint where it was made. They live in this process: after a restart
the client is told that there is no such task. A hold survives that, and the call can be repeated.
"""

from __future__ import annotations

import asyncio
from collections import Counter, OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final

import orjson

from accredit.enforcement.model import Admitted, Call
from accredit.gateway.items import RpcCall
from accredit.gateway.jsonrpc import RpcError, RpcId, RpcNumber
from accredit.gateway.replies import Reply
from accredit.identity.model import Principal
from accredit.kernel.clock import Clock
from accredit.kernel.codes import Code
from accredit.kernel.errors import UnavailableError
from accredit.kernel.ids import AgentId, IdSource, ServerName

__all__ = ["TASKS", "DeferredCall", "DeferredCalls", "HeardReply", "UpstreamTask", "read_task", "takes_tasks"]

TASKS: Final = "io.modelcontextprotocol/tasks"
POLL_MS: Final = 2_000
_MOST: Final = 4_096
_MOST_OF_ONE: Final = 64
_MAX_ID: Final = 256
_MAX_UPSTREAM_ID: Final = 1_024
_MAX_WORDS: Final = 512
_MAX_ERROR_TEXT: Final = 1_024
_MOST_KEPT: Final = 64 * 2**20
"""Bytes of ends that are kept for who asks again."""
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


@dataclass(slots=True)
class DeferredCall:
    """One call, until its client has asked for the end of it."""

    id: str
    owner: _Owner
    created_us: int
    ttl_ms: int
    call: Call
    """To be made once a person has approved it."""
    asked: RpcCall
    """As its server is asked."""
    admitted: Admitted | None = None
    """Set: its tool server works on it, under the name `upstream`, and it is not settled."""
    upstream: str = ""
    poll_ms: int = POLL_MS
    words: str | None = None
    updated_us: int = 0
    ended: Mapping[str, Any] | None = None
    """`status`, and `result` or `error`."""
    busy: bool = False
    """Somebody asks about it right now."""
    running: asyncio.Task[None] | None = None
    expiry: asyncio.TimerHandle | None = field(default=None, repr=False)

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


class DeferredCalls:
    """Those of one process."""

    def __init__(self, clock: Clock, ids: IdSource) -> None:
        self._clock = clock
        self._ids = ids
        self._known: dict[str, DeferredCall] = {}
        self._of: Counter[AgentId] = Counter()
        self._told: OrderedDict[str, int] = OrderedDict()
        """Bytes of each end that is kept, oldest first."""

    def __len__(self) -> int:
        return len(self._known)

    def room(self, agent: AgentId) -> bool:
        """Whether one more of an agent's may be deferred."""
        return len(self._known) < _MOST and self._of[agent] < _MOST_OF_ONE

    def add(
        self,
        call: Call,
        asked: RpcCall,
        endpoint: ServerName | None,
        *,
        ttl_ms: int,
        expired: Callable[[DeferredCall], None],
        admitted: Admitted | None = None,
        task: UpstreamTask | None = None,
        words: str | None = None,
    ) -> DeferredCall:
        """Defer a call for as long as it may take; `expired` is told when it took longer."""
        now_us = self._clock.now().wall_us
        made = DeferredCall(
            self._ids.new("tsk"),
            _owner(call.principal, endpoint),
            now_us,
            max(_SHORTEST_MS, min(ttl_ms, _LONGEST_MS)),
            call,
            asked,
            admitted=admitted,
            upstream=task.id if task is not None else "",
            poll_ms=task.poll_ms if task is not None else POLL_MS,
            words=words,
            updated_us=now_us,
        )
        self._known[made.id] = made
        self._of[call.principal.agent] += 1
        made.expiry = asyncio.get_running_loop().call_later(made.ttl_ms / 1000, self._expire, made, expired)
        return made

    def find(self, named: Any, principal: Principal, endpoint: ServerName | None, rpc_id: RpcId) -> DeferredCall:
        """The call of that name.

        Raises:
            RpcError: there is none of this caller, at this endpoint.
        """
        known = self._known.get(named) if isinstance(named, str) and len(named) <= _MAX_ID else None
        if known is None or known.owner != _owner(principal, endpoint):
            raise RpcError(
                RpcNumber.PARAMS,
                Code.MCP_TASK_UNKNOWN.meaning,
                code=Code.MCP_TASK_UNKNOWN,
                rpc_id=rpc_id,
                hint=Code.MCP_TASK_UNKNOWN.remedy,
            )
        return known

    def end(self, deferred: DeferredCall, **ended: Any) -> None:
        """Note how a call ended: it is told until its time is over, or newer ends take too much room beside it."""
        deferred.ended = ended
        deferred.updated_us = self._clock.now().wall_us
        if deferred.id not in self._known:  # its time was over meanwhile
            return
        self._told[deferred.id] = len(orjson.dumps(ended))
        while len(self._told) > 1 and sum(self._told.values()) > _MOST_KEPT:
            self._forget(self._known[next(iter(self._told))])

    def _expire(self, deferred: DeferredCall, expired: Callable[[DeferredCall], None]) -> None:
        if deferred.id not in self._known:
            return
        self._forget(deferred)
        if deferred.running is not None:
            deferred.running.cancel()
        expired(deferred)

    def _forget(self, deferred: DeferredCall) -> None:
        del self._known[deferred.id]
        self._told.pop(deferred.id, None)
        agent = deferred.owner[0]
        self._of[agent] -= 1
        if not self._of[agent]:
            del self._of[agent]
        if deferred.expiry is not None:
            deferred.expiry.cancel()

    def close(self) -> None:
        """Forget all of them; what is not settled is closed from the log at the next start."""
        for deferred in self._known.values():
            if deferred.expiry is not None:
                deferred.expiry.cancel()
            if deferred.running is not None:
                deferred.running.cancel()
        self._known.clear()
        self._told.clear()
        self._of.clear()


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
