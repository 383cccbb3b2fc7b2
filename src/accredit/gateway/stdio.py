"""MCP of either era over the standard input and output of programs that are started here.

One program for each server and credential, started when it is first needed, and again when it ended. Many calls are in
it at a time: an answer belongs to the call whose id it bears, exactly, and while that waits. What bears any other id,
or comes a second time, belongs to nobody and is dropped; so is what is not JSON-RPC. How much a program may say that
belongs to nobody is bounded, and so are the length of a line and the time that it takes.

A question to an agent's user bears no such id. It is taken to be about the one call that is in the program, if that is
one and was the only one for a moment; of several nobody could tell whose user is to be asked, and it is refused.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
from collections import deque
from collections.abc import Callable, Coroutine, Mapping
from types import TracebackType
from typing import Any, Final, Self

from accredit.gateway.elicitation import ELICITATION
from accredit.gateway.programs import Program, Programs
from accredit.gateway.relay import (
    LIST_NOTICES,
    Answer,
    ServerAsk,
    answer_of,
    encode_message,
    read_server_message,
    rpc_request,
)
from accredit.gateway.resourcewatch import Bells, ListeningWatch, SubscribedWatch, listen_to
from accredit.gateway.routing import SUBSCRIPTION_KEY
from accredit.gateway.sessionhttp import initialize_params
from accredit.gateway.toolservers import (
    DISCOVER,
    Allowance,
    Asks,
    CallsInside,
    ListNoticed,
    ResourceWatch,
    ServerExchange,
    ToolRequest,
    always,
    discovered,
    negotiated,
    nobody_listens,
    reply_to,
    shared,
)
from accredit.gateway.upstream import scrubbed
from accredit.identity.scrubbing import without_credential
from accredit.kernel.codes import Code
from accredit.kernel.errors import AccreditError, UnavailableError
from accredit.kernel.ids import ServerName
from accredit.registry.model import LATEST_REVISION, ToolServer

__all__ = ["LineReader", "ProgramFault", "StdioServers"]

_log = logging.getLogger("accredit.gateway")

_PIECE: Final = 64 * 1024
_BEGIN_S: Final = 20.0
_DISCOVER_S: Final = 5.0
_MAX_PROGRAMS: Final = 64
_MAX_WAITING: Final = 64
_STRAY_AT_ONCE: Final = 1_000
_STRAY_PER_S: Final = 100.0
_SHOWN_STRAY: Final = 5
_STEADY_S: Final = 60.0
_LONGEST_WAIT_S: Final = 60.0
_CRASHES: Final = 10
"""In a row: after that many it is left alone for a long time."""
_LEFT_ALONE_S: Final = 600.0

_Key = tuple[ServerName, tuple[object, ...], tuple[tuple[str, str], ...]]


def _invalid(words: str) -> UnavailableError:
    return UnavailableError(Code.UPSTREAM_INVALID, f"the tool server {words}")


class ProgramFault(Exception):  # noqa: N818 - never leaves this room
    """The program did what no server may: it is ended."""

    def __init__(self, error: UnavailableError) -> None:
        super().__init__(error.message)
        self.error = error


class LineReader:
    """Splits what is read into lines, each bounded."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._rest = bytearray()
        self._searched = 0

    @property
    def partial(self) -> bool:
        return bool(self._rest)

    def feed(self, piece: bytes) -> list[bytes]:
        self._rest += piece
        found, start = [], 0
        while (end := self._rest.find(b"\n", max(start, self._searched))) >= 0:
            if end - start > self._most:
                raise ProgramFault(self._oversized())
            found.append(bytes(self._rest[start:end]).removesuffix(b"\r"))
            start = end + 1
        del self._rest[:start]
        self._searched = len(self._rest)
        if len(self._rest) > self._most:
            raise ProgramFault(self._oversized())
        return found

    def _oversized(self) -> UnavailableError:
        return UnavailableError(
            Code.UPSTREAM_OVERSIZED,
            f"the tool server wrote a line of more than {self._most} bytes",
            hint="see `max_result_bytes`",
        )


class _Conversation:
    """A program and the requests that it is working on."""

    def __init__(
        self,
        program: Program,
        server: ToolServer,
        credential: Mapping[str, str],
        *,
        list_noticed: ListNoticed,
        max_bytes: int,
        line_s: float,
        write_s: float,
        idle_s: float,
    ) -> None:
        self.program = program
        self.server = server
        self.sessions = server.revision != LATEST_REVISION
        self.revision = server.revision
        self.retired = False
        """Whether it was ended because nobody needed it."""
        self.failure: UnavailableError | None = None
        """Set once nothing can be asked any more."""
        self.answered = False
        """Whether it ever answered a request."""
        self._credential = credential
        self._list_noticed = list_noticed
        self._max_bytes = max_bytes
        self._line_s = line_s
        self._write_s = write_s
        self._idle_s = idle_s
        self._loop = asyncio.get_running_loop()
        self.started = self._loop.time()
        self._ids = itertools.count(1)
        self._waiting: CallsInside[_Exchange] = CallsInside(self._loop.time)
        self._writing = asyncio.Lock()
        self._stray = Allowance(_STRAY_AT_ONCE, _STRAY_PER_S, self.started)
        self._strays = 0
        self.bells = Bells()
        self._aside: set[asyncio.Task[None]] = set()
        self._at_once = False
        self._idle = self._loop.call_later(self._idle_s, self._retire)
        self.running = self._loop.create_task(self._run())

    # -- its life

    async def _run(self) -> None:
        """Read until it ends, or does what no server may; then end all of it."""
        gone = self._loop.create_task(self.program.over())
        reading = self._loop.create_task(self._read())
        try:
            done, _ = await asyncio.wait({gone, reading}, return_when=asyncio.FIRST_COMPLETED)
            if reading not in done:  # what it wrote before it ended is still to be read; a child may keep the pipe open
                await asyncio.wait({reading}, timeout=0.2)
            elif gone not in done and reading.exception() is None:
                await asyncio.wait({gone}, timeout=0.2)  # it closed its output: mostly it is just ending
            if reading.done() and isinstance(fault := reading.exception(), ProgramFault):
                self._at_once = True
                self._ended_badly(fault.error)
            elif self.failure is None:
                await self.program.fell_silent()
                self._ended_badly(self.program.failure())
        except asyncio.CancelledError:
            self.fail(UnavailableError(Code.UPSTREAM_UNREACHABLE, "the tool server is not registered so any more"))
            raise
        except Exception:  # noqa: BLE001 - a boundary: whatever went wrong here, nobody must wait for an answer
            _log.exception("reading from tool server %s failed", self.server.name)
            self.fail(UnavailableError(Code.INTERNAL, Code.INTERNAL.meaning))
        finally:
            for task in (gone, reading, *self._aside):
                task.cancel()
            self._idle.cancel()
            await self.program.end(at_once=self._at_once)

    def _ended_badly(self, error: UnavailableError) -> None:
        words = self.program.last_words
        _log.warning("tool server %s: %s (%s); its last words: %s", self.server.name, error.message, error.cause, words)
        self.fail(error)

    def _retire(self) -> None:
        """Nobody asked for long: it is started again when somebody does."""
        if not self._waiting and not self._writing.locked() and not self.bells:
            self.retired = True
            self.fail(UnavailableError(Code.UPSTREAM_UNREACHABLE, "the tool server is ended"))
            self.running.cancel()

    def fail(self, error: UnavailableError) -> None:
        """Nothing can be asked any more, and nobody needs to wait."""
        if self.failure is not None:
            return
        self.failure = error
        for exchange in self._waiting.clear():
            exchange.take(error)
        self.bells.lost()

    async def end(self, *, at_once: bool) -> None:
        self.fail(UnavailableError(Code.UPSTREAM_UNREACHABLE, "the tool server is ended"))
        await self.program.end(at_once=at_once)
        await asyncio.wait({self.running})

    # -- reading

    async def _read(self) -> None:
        lines, stream, begun = LineReader(self._max_bytes), self.program.output, 0.0
        while True:
            try:
                async with asyncio.timeout_at(begun + self._line_s if lines.partial else None):
                    piece = await stream.read(_PIECE)
            except TimeoutError:
                raise ProgramFault(_invalid(f"took more than {self._line_s:g} s for one line")) from None
            if not piece:
                return
            was_partial = lines.partial
            found = lines.feed(piece)
            if lines.partial and (found or not was_partial):
                begun = self._loop.time()
            for line in found:
                if len(line) > _PIECE and self._credential:  # a large one keeps nobody else waiting
                    self._take(line, await asyncio.to_thread(_read_line, self._credential, line))
                else:
                    self._take(line, _read_line(self._credential, line))
            await asyncio.sleep(0)  # a flood must not keep everybody else from their turn

    def _take(self, line: bytes, message: dict[str, Any] | None) -> None:
        if message is None:
            self._belongs_to_nobody(line)
            return
        if "method" in message:
            self._unasked(message, line)
            return
        rpc_id = message.get("id")
        exchange = self._waiting.get(rpc_id) if type(rpc_id) is int else None
        if exchange is None:
            self._belongs_to_nobody(line)
            return
        self.answered = True
        exchange.take_message(message, len(line))

    def _unasked(self, message: dict[str, Any], line: bytes) -> None:
        if "id" in message:
            self._asks(message, line)
            return
        params = message.get("params")
        params = params if isinstance(params, dict) else {}
        meta = params.get("_meta")
        token = params.get("progressToken") if message["method"] == "notifications/progress" else None
        if not self.sessions and isinstance(meta, dict):
            token = meta.get(SUBSCRIPTION_KEY, token)
        exchange = self._waiting.get(token) if type(token) is int else None
        if exchange is not None:
            exchange.take_message(message, len(line))
            return
        notice = answer_of(message, rpc_id=0).notice
        if notice is not None and notice.method in LIST_NOTICES:
            self._list_noticed(self.server.name)
        elif notice is not None and self.sessions:
            self.bells.ring(notice)
        self._belongs_to_nobody(b"" if isinstance(message["method"], str) else line)

    def _asks(self, message: dict[str, Any], line: bytes) -> None:
        try:
            ask = answer_of(message, rpc_id=0, sessions=True).ask
        except UnavailableError:
            ask = None
        unclear = False
        if ask is not None and ask.method == ELICITATION and self.sessions:
            about = self._waiting.only_one()
            if about is not None and about.may_be_asked:
                about.take_ask(ask, len(line))
                return
            unclear = about is None and bool(self.server.elicitation)
        self._belongs_to_nobody(b"" if ask is not None else line)
        if ask is not None and len(self._aside) < _MAX_WAITING:
            self._later(self._tell(reply_to(ask, unclear=unclear)))

    def _belongs_to_nobody(self, line: bytes) -> None:
        """Count it; too much of it is a flood."""
        if not self._stray.take(self._loop.time()):
            raise ProgramFault(_invalid("writes what nobody asked for without end"))
        if line and self._strays < _SHOWN_STRAY:
            self._strays += 1
            shown = _shown(self._credential, line)
            _log.info("tool server %s wrote what answers no request: %s", self.server.name, shown)

    # -- writing

    async def send(self, text: bytes, recheck: Callable[[], None], ready: Callable[[], None]) -> None:
        """Write one line, whole, as soon as there is room for it.

        Raises:
            UnavailableError: it ended, or does not read.
            AccreditError: whatever the re-check raised; then nothing was written.
        """
        try:
            async with asyncio.timeout(self._write_s):
                async with self._writing:
                    if self.failure is None:
                        await self.program.input.drain()
                    if self.failure is not None:
                        raise self.failure
                    recheck()  # nothing yields between here and the transport's write
                    ready()
                    self.program.input.write(text + b"\n")
        except TimeoutError as error:
            stuck = UnavailableError(Code.UPSTREAM_UNREACHABLE, "the tool server does not read its input")
            self.fail(stuck)
            self._at_once = True
            self.running.cancel()
            raise stuck from error
        except OSError as error:
            await asyncio.wait({self.running}, timeout=1.0)  # why it ended is known in a moment
            if self.failure is not None:
                raise self.failure from error
            raise UnavailableError(
                Code.UPSTREAM_UNREACHABLE, "the tool server's program ended", cause=repr(error)[:200]
            ) from error

    async def _tell(self, message: Mapping[str, Any]) -> None:
        await self.send(encode_message(message), always, lambda: None)

    def _later(self, work: Coroutine[Any, Any, None]) -> None:
        async def told() -> None:
            try:
                await work
            except AccreditError as error:
                _log.info("tool server %s took no message: %s", self.server.name, error.code)

        task = self._loop.create_task(told())
        self._aside.add(task)
        task.add_done_callback(self._aside.discard)

    # -- requests

    def new_id(self) -> int:
        """Under which an exchange is answered once it is `waiting`."""
        return next(self._ids)

    def waiting(self, rpc_id: int, exchange: _Exchange) -> None:
        self._waiting.add(rpc_id, exchange)
        self._idle.cancel()

    def over(self, rpc_id: int, *, cancelled: bool) -> None:
        """Nobody waits for an answer under this id any more."""
        waited = self._waiting.remove(rpc_id, cancelled=cancelled)
        if not self._waiting and self.failure is None:
            self._idle.cancel()
            self._idle = self._loop.call_later(self._idle_s, self._retire)
        if waited and cancelled and self.failure is None:
            params = {"requestId": rpc_id, "reason": "the caller does not wait any more"}
            self._later(self._tell({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": params}))

    async def begin(self) -> None:
        """In the era of sessions: what comes before anything else."""
        if not self.sessions:
            return
        opening = _Exchange.within(self, ToolRequest("initialize", initialize_params(self.server)), self._max_bytes)
        try:
            async with asyncio.timeout(_BEGIN_S), opening:
                answer = await opening.next()
        except TimeoutError as error:
            raise UnavailableError(
                Code.UPSTREAM_UNREACHABLE, f"the tool server did not begin within {_BEGIN_S:g} s"
            ) from error
        if answer is None or answer.result is None:
            raise _invalid("answered `initialize` with an error")
        self.revision = negotiated(answer.result, self.server.revision)
        await self._tell({"jsonrpc": "2.0", "method": "notifications/initialized"})


def _read_line(credential: Mapping[str, str], line: bytes) -> dict[str, Any] | None:
    """The message in a line, without the credential; None if it is none."""
    try:
        return read_server_message(scrubbed(credential, line))
    except UnavailableError:
        return None


def _shown(credential: Mapping[str, str], line: bytes) -> str:
    """The beginning of a line for the log: without the credential, and unable to imitate anything."""
    return without_credential(credential, line)[:200].decode("latin-1").encode("unicode_escape").decode("ascii")


class _Exchange:
    """One request to a program."""

    def __init__(
        self,
        conversation: Callable[[], Coroutine[Any, Any, _Conversation]],
        request: ToolRequest,
        recheck: Callable[[], None],
        max_bytes: int,
    ) -> None:
        self._open = conversation
        self._request = request
        self._recheck = recheck
        self._max_bytes = max_bytes
        self._conversation: _Conversation | None = None
        self._rpc_id = 0
        self._items: deque[Answer | UnavailableError] = deque()
        self._some = asyncio.Event()
        self._asks = Asks()
        self._over = False
        self.received = 0
        self.sent = False

    @classmethod
    def within(cls, conversation: _Conversation, request: ToolRequest, max_bytes: int) -> _Exchange:
        """A request of our own in a program that is just beginning."""

        async def this() -> _Conversation:
            return conversation

        return cls(this, request, always, max_bytes)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._conversation is not None:
            # what has an effect when it is begun has one if nobody waits: only `initialize` may not be cancelled
            self._conversation.over(self._rpc_id, cancelled=not self._over and self._request.method != "initialize")

    async def next(self) -> Answer | None:
        if self._conversation is None:
            await self._begin()
        while not self._items:
            self._some.clear()
            await self._some.wait()
        item = self._items.popleft()
        if isinstance(item, UnavailableError):
            raise item
        self._over = item.final
        return item

    async def _begin(self) -> None:
        conversation = await self._open()
        request, rpc_id = self._request, conversation.new_id()
        text = rpc_request(
            request.method,
            request.params,
            rpc_id=rpc_id,
            sessions=conversation.sessions,
            progress=request.progress,
            traceparent=request.traceparent,
            capabilities=request.capabilities,
        )

        def ready() -> None:
            self._conversation, self._rpc_id, self.sent = conversation, rpc_id, True
            conversation.waiting(rpc_id, self)

        await conversation.send(text, self._recheck, ready)

    def take_message(self, message: dict[str, Any], size: int) -> None:
        """A message that belongs to this request."""
        self.received += size
        try:
            self._check_size()
            answer = answer_of(message, rpc_id=self._rpc_id)
        except UnavailableError as error:
            self._finish()
            self.take(error)
            return
        if answer.final:
            self._finish()
        elif len(self._items) >= _MAX_WAITING:
            # of notices that nobody reads so fast, the newest count; questions are far fewer
            oldest = next(at for at, each in enumerate(self._items) if isinstance(each, Answer) and each.ask is None)
            del self._items[oldest]
        self.take(answer)

    def take_ask(self, ask: ServerAsk, size: int) -> None:
        """A question that the program puts while it works on this request."""
        self.received += size
        try:
            self._check_size()
            self._asks.take(ask)
        except UnavailableError as error:
            if self._conversation is not None:
                self._conversation.over(self._rpc_id, cancelled=True)
            self.take(error)
            return
        self.take(Answer(ask=ask))

    @property
    def may_be_asked(self) -> bool:
        return self._request.may_be_asked

    async def respond(self, ask: ServerAsk, said: Mapping[str, Any], recheck: Callable[[], None]) -> None:
        """As of the port."""
        conversation = self._conversation or await self._open()
        message = {"jsonrpc": "2.0", "id": ask.id, **said}
        await conversation.send(encode_message(message), recheck, lambda: None)

    def _check_size(self) -> None:
        if self.received > self._max_bytes:
            raise UnavailableError(
                Code.UPSTREAM_OVERSIZED,
                f"the answer is larger than {self._max_bytes} bytes",
                hint="see `max_result_bytes`",
            )

    def _finish(self) -> None:
        """INVARIANT: an id is answered once; whatever bears it later belongs to nobody."""
        if self._conversation is not None:
            self._conversation.over(self._rpc_id, cancelled=False)

    def take(self, item: Answer | UnavailableError) -> None:
        self._items.append(item)
        self._some.set()


class _Place:
    """A server's program as it is run again and again."""

    def __init__(self) -> None:
        self.opening: asyncio.Task[_Conversation] | None = None
        self.crashes = 0
        self.not_before = 0.0

    @property
    def open(self) -> _Conversation | None:
        task = self.opening
        if task is None or not task.done() or task.cancelled() or task.exception() is not None:
            return None
        return task.result()

    @property
    def idle(self) -> bool:
        """Whether nothing runs or is being started."""
        open_ = self.open
        return self.opening is None or (self.opening.done() and (open_ is None or open_.failure is not None))


class StdioServers:
    """Implements `ToolServerProtocol`."""

    def __init__(
        self,
        programs: Programs,
        *,
        max_result_bytes: int = 16 * 2**20,
        line_s: float = 30.0,
        write_s: float = 10.0,
        first_wait_s: float = 0.5,
        idle_s: float = 900.0,
        list_noticed: ListNoticed = nobody_listens,
    ) -> None:
        self._list_noticed = list_noticed
        self._programs = programs
        self._max_bytes = max_result_bytes
        self._line_s = line_s
        self._write_s = write_s
        self._first_wait_s = first_wait_s
        self._idle_s = idle_s
        self._places: dict[_Key, _Place] = {}
        self._ending: set[asyncio.Task[None]] = set()
        self._closed = False

    def exchange(
        self,
        server: ToolServer,
        request: ToolRequest,
        *,
        credential: Mapping[str, str],
        recheck: Callable[[], None],
    ) -> ServerExchange:
        """As of the port."""
        given = dict(credential)
        return _Exchange(lambda: self._conversation(server, given), request, recheck, self._max_bytes)

    def watch(
        self, server: ToolServer, uri: str, *, credential: Mapping[str, str], recheck: Callable[[], None]
    ) -> ResourceWatch:
        """As of the port. A program that is watched is not ended for want of calls."""

        def exchange(request: ToolRequest) -> ServerExchange:
            return self.exchange(server, request, credential=credential, recheck=recheck)

        async def bells() -> Bells:
            return (await self._conversation(server, dict(credential))).bells

        if server.revision == LATEST_REVISION:
            return ListeningWatch(uri, exchange(listen_to(uri)))
        return SubscribedWatch(uri, bells, exchange)

    def listen(self, server: ToolServer, *, credential: Mapping[str, str]) -> None:
        """Nothing to do: a program is heard for as long as it runs."""

    async def revision(self, server: ToolServer, *, credential: Mapping[str, str]) -> str:
        """As of the port."""
        if server.revision != LATEST_REVISION:
            return (await self._conversation(server, dict(credential))).revision
        try:
            async with asyncio.timeout(_DISCOVER_S):
                return await discovered(self.exchange(server, DISCOVER, credential=credential, recheck=always))
        except TimeoutError as error:
            self._let_go(server, credential)
            raise _invalid(f"did not answer `{DISCOVER.method}` within {_DISCOVER_S:g} s") from error
        except UnavailableError:
            self._let_go(server, credential)
            raise

    def _let_go(self, server: ToolServer, credential: Mapping[str, str]) -> None:
        """Of a program that speaks another revision there is no need, and its end is no crash."""
        key = _key(server, credential)
        if key in self._places:
            self._drop(key, at_once=True)

    def forget(self, server: ServerName, *, unless: tuple[object, ...] | None = None) -> None:
        """As of the port: its programs are killed."""
        for key in [each for each in self._places if each[0] == server and each[1] != unless]:
            self._drop(key, at_once=True)

    async def aclose(self) -> None:
        """End every program, and wait until all are gone."""
        self._closed = True
        for key in list(self._places):
            self._drop(key, at_once=False)
        await asyncio.gather(*self._ending, return_exceptions=True)
        await self._programs.aclose()

    def _drop(self, key: _Key, *, at_once: bool) -> None:
        place = self._places.pop(key)
        if place.opening is not None:
            task = asyncio.get_running_loop().create_task(_ended(place.opening, at_once=at_once))
            self._ending.add(task)
            task.add_done_callback(self._ending.discard)

    async def _conversation(self, server: ToolServer, credential: Mapping[str, str]) -> _Conversation:
        """The one that is open, or a new one.

        Raises:
            UnavailableError: it cannot be started, or ended too often.
        """
        if self._closed:
            raise UnavailableError(Code.UPSTREAM_UNREACHABLE, "no tool server is started any more")
        key = _key(server, credential)
        place = self._places.get(key)
        if place is None:
            self._make_room()
            place = self._places[key] = _Place()
        loop = asyncio.get_running_loop()
        task = place.opening
        if task is not None and task.done() and ((open_ := place.open) is None or open_.failure is not None):
            self._put_down(place, open_)
            task = None
        if task is None:
            wait_s = place.not_before - loop.time()
            if wait_s > 0:
                raise UnavailableError(
                    Code.UPSTREAM_UNREACHABLE,
                    "the tool server's program ended, and is not started again yet",
                    hint=f"try again in {wait_s:.1f} s; its words are in the log of accredit",
                )
            task = place.opening = loop.create_task(self._start(server, credential))
        return await shared(task)

    def _put_down(self, place: _Place, ended: _Conversation | None) -> None:
        """It ended: how soon it may be started again."""
        loop = asyncio.get_running_loop()
        place.opening = None
        if ended is not None and ended.retired:
            return
        if ended is not None and ended.answered and loop.time() - ended.started > _STEADY_S:
            place.crashes = 0
        place.crashes += 1
        wait_s = min(_LONGEST_WAIT_S, self._first_wait_s * 2 ** (place.crashes - 1))
        place.not_before = loop.time() + (_LEFT_ALONE_S if place.crashes >= _CRASHES else wait_s)

    def _make_room(self) -> None:
        if len(self._places) < _MAX_PROGRAMS:
            return
        idle = next((key for key, place in self._places.items() if place.idle), None)
        if idle is None:
            raise UnavailableError(
                Code.UPSTREAM_UNREACHABLE, f"more than {_MAX_PROGRAMS} programs of tool servers are running"
            )
        del self._places[idle]

    async def _start(self, server: ToolServer, credential: Mapping[str, str]) -> _Conversation:
        program = await self._programs.start(server, credential)
        conversation = _Conversation(
            program,
            server,
            credential,
            list_noticed=self._list_noticed,
            max_bytes=self._max_bytes,
            line_s=self._line_s,
            write_s=self._write_s,
            idle_s=self._idle_s,
        )
        try:
            await conversation.begin()
        except BaseException as error:
            await conversation.end(at_once=True)
            _log.warning("tool server %s did not begin; its last words: %s", server.name, program.last_words)
            if isinstance(error, UnavailableError) and program.status is not None and program.status > 0:
                raise program.failure() from error
            raise
        return conversation


def _key(server: ToolServer, credential: Mapping[str, str]) -> _Key:
    return server.name, server.place, tuple(sorted(credential.items()))


async def _ended(opening: asyncio.Task[_Conversation], *, at_once: bool) -> None:
    if not opening.done():
        opening.cancel()
        await asyncio.wait({opening})
    if not opening.cancelled() and opening.exception() is None:
        await opening.result().end(at_once=at_once)
