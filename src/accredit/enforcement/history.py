"""The past as enforcement saw it: every recorded call with the control state it was judged in, rebuilt from the log.

Control records are fed, in their order, to the same classes that keep the present: what they make of them is what was
in force then. A call names the position of the control state it was judged in, and is recorded behind it, so the
snapshots of the latest positions are kept. The log is not verified here (`audit verify` does that); a part that was
changed does not open, and a call that cannot be rebuilt exactly is said to be so, never guessed.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

import orjson
from msgspec import UNSET

from accredit.audit.model import Facts, Receipt, StoredRecord, StoredRow
from accredit.audit.notes import NoteSigner
from accredit.audit.ports import Actor, Change, LogReader, StateView, Write
from accredit.audit.records import (
    SALT_SIZE,
    PartKeys,
    open_part,
    part_texts,
    part_values,
    sealed_part,
    unseal_part,
)
from accredit.audit.state import STATE_PART, LiveState, changes_of, shape, state_path
from accredit.enforcement.snapshot import Snapshot, SnapshotKeeper
from accredit.kernel.clock import Clock
from accredit.kernel.codes import Code
from accredit.kernel.errors import AccreditError, InvalidInputError, UnavailableError
from accredit.kernel.ids import AgentId, ToolId
from accredit.policy.context import LooksAt
from accredit.policy.model import CallRequest, ExternalName, ExternalRequest, Hop
from accredit.policy.ports import Engine, VetoEngine
from accredit.policy.recorded import Judgement, RecordedBody, RecordedHead, read_body, read_head
from accredit.policy.releases import CURRENT, PUBLICATION, RELEASE, PolicyReleases
from accredit.policy.replay import PastHandover, PastQuestion, Unrepeatable
from accredit.policy.snapshot import PolicySnapshot
from accredit.registry import rows
from accredit.registry.model import Agent, Restriction

__all__ = ["History", "PastCall"]

_KINDS: Final = frozenset(
    {
        rows.AGENT,
        rows.DEFINITION,
        rows.PERSON,
        rows.RESTRICTION,
        rows.SERVER,
        rows.TEAM,
        rows.TOOL,
        rows.VERSION,
        CURRENT,
        PUBLICATION,
        RELEASE,
    }
)
"""What a snapshot is made of. Other rows are not even opened."""
_PAGE: Final = 512
_KEPT: Final = 256
"""So many positions back a call may have been judged: calls wait for their record for milliseconds."""
_DECISION: Final = b'"kind":"decision"'
_ADVICE: Final = b'"kind":"advice"'
_HANDING: Final = b'"kind":"delegation"'
_CUT: Final = b'"truncated":'
_SEARCH: Final = b'"search":'
"""Names of fields stand in the stored bytes as they are."""
_INPUT: Final = frozenset({"input"})
_RESERVED: Final = b"__e"
"""How every reserved key begins (`policy/context.py`)."""


class _PastControl:
    """A `ControlLog` that is told what happened instead of making it happen."""

    def __init__(self) -> None:
        self._state = LiveState()
        self._listeners: list[Callable[[Change], None]] = []
        self.position = -1
        self.unproven: frozenset[tuple[str, str]] = frozenset()

    @property
    def recorded(self) -> int | None:
        return self.position

    @property
    def view(self) -> StateView:
        return self._state

    def subscribe(self, listener: Callable[[Change], None]) -> None:
        self._listeners.append(listener)

    async def transact(self, build: Callable[[StateView], Change | None]) -> Receipt | None:  # noqa: ARG002 - the port's
        raise UnavailableError(Code.STATE_UNPROVEN, "the past cannot be changed")

    def feed(self, seq: int, change: Change) -> None:
        checked = shape(change)
        self._state.enforce(checked)
        self.position = seq
        for listener in self._listeners:
            listener(checked.change)


class _Wrapped:
    """The data keys of a stretch of the log, read by the name of their parts when the first of that name is opened."""

    def __init__(self, reader: LogReader, start: int, stop: int) -> None:
        self._reader, self._start, self._stop = reader, start, stop
        self._known: dict[str, dict[int, bytes]] = {}

    def of(self, name: str) -> dict[int, bytes]:
        """By seq."""
        known = self._known.get(name)
        if known is None:
            known = self._known[name] = self._reader.wrapped_keys_of(name, self._start, self._stop)
        return known


@dataclass(slots=True)
class PastCall:
    """One recorded decision, and what it can be made again from."""

    seq: int
    header: RecordedHead
    stated: RecordedBody
    judgement: Judgement | None
    """None: no policy was asked, or (see `why`) the record does not say."""
    snapshot: Snapshot | None
    agent: Agent | None
    """The agent as it was."""
    _row: StoredRow
    _wrapped: _Wrapped
    _keys: PartKeys
    _arguments: bytes | None = None
    """Once opened."""

    @property
    def body(self) -> dict[str, Any]:
        """All that the record's body states."""
        found: dict[str, Any] = orjson.loads(self._row[2][SALT_SIZE:])
        return found

    @property
    def policy(self) -> PolicySnapshot | None:
        """Release and catalogue it was judged by."""
        return self.snapshot.policy if self.snapshot is not None else None

    @property
    def judged(self) -> bool:
        """Whether policies were asked at all."""
        return self.judgement is not None

    @property
    def why(self) -> Unrepeatable | None:
        """Why it cannot be judged again as it was; None if it can, or was not judged at all."""
        if self.judgement is None:
            return Unrepeatable.OLDER if self.stated.release is not None and self.stated.judged is UNSET else None
        if self.agent is None:
            return Unrepeatable.STATE
        if any(self.seq not in self._wrapped.of(name) for name in ("arguments", "context")):
            return Unrepeatable.ERASED
        if _CUT in self._row[2]:
            parts = self.body["parts"]
            if "truncated" in parts["arguments"] or "truncated" in parts["context"]:
                return Unrepeatable.CUT
        return None

    def facts(self, looks_at: LooksAt | None = None, *, clean: bool = False) -> dict[str, Any] | None:
        """The context that was judged; or, if that is enough, no more of it than is looked at.

        None: in what would be left out, a reserved key may stand; unless it is known to be `clean`.

        Raises:
            InvalidInputError: it does not open; `why` says so for what is known before.
        """
        try:
            arguments = self._opened_arguments()
            if clean and looks_at is not None and looks_at.parts == _INPUT:
                return {"input": part_values(arguments, looks_at.arguments)}
            context = self._opened("context")
            if looks_at is None:
                return {**part_values(context), "input": part_values(arguments)}
            # a name stands there as it is, and nothing escapes an underscore: what is not in the bytes is nowhere
            suspect = not clean and (_RESERVED in arguments or _RESERVED in context)
            found = {} if suspect else part_values(context, looks_at.parts)
            if not suspect and "input" in looks_at.parts:
                found["input"] = part_values(arguments, looks_at.arguments)
        except (ValueError, KeyError) as error:
            raise self._closed() from error
        return None if suspect else found

    def texts(self, looks_at: LooksAt) -> tuple[Any, ...]:
        """What is looked at of the context as it was recorded, unread: equal texts are equal facts.

        Raises:
            InvalidInputError: it does not open, or was not kept whole.
        """
        try:
            arguments = part_texts(self._opened_arguments(), looks_at.arguments, whole=True)
            if looks_at.parts == _INPUT:
                return (*arguments, *arguments.values())
            context = part_texts(self._opened("context"), looks_at.parts, whole=True)
            return (*arguments, *arguments.values(), None, *context, *context.values())
        except (ValueError, KeyError) as error:
            raise self._closed() from error

    def _opened_arguments(self) -> bytes:
        if self._arguments is None:
            self._arguments = self._opened("arguments")
        return self._arguments

    def _opened(self, name: str) -> bytes:
        seq = self.seq
        return unseal_part(seq, name, sealed_part(self._row[4], name), self._wrapped.of(name)[seq], self._keys)

    def _closed(self) -> InvalidInputError:
        return InvalidInputError(Code.LOG_INVALID, f"the parts of record {self.seq} do not open")

    def request(self, facts: Mapping[str, Any] | None = None) -> CallRequest:
        """The very request that was judged; `facts` if its context was read before.

        Raises:
            InvalidInputError: it cannot be rebuilt; `why` says so for what is known before it is opened.
        """
        snapshot, judgement, agent = self.snapshot, self.judgement, self.agent
        if snapshot is None or judgement is None or agent is None:
            raise InvalidInputError(Code.STATE_UNPROVEN, "the control state of this call is not known")
        hops: list[Hop] = []
        for name, _, restrictions in self.stated.hops:
            caller = snapshot.catalogue.agent(AgentId(name))
            if caller is None:
                raise InvalidInputError(Code.STATE_UNPROVEN, "an agent of this call's chain is not known")
            on = _restrictions(snapshot, caller, restrictions)
            hops.append(Hop(caller, hops[-1].caller if hops else agent, on))
        return CallRequest(
            agent=agent,
            tool=ToolId(self.header.tool or ""),
            context=facts if facts is not None else self.facts() or {},
            lifted=frozenset(judgement.granted),
            time_trusted=judgement.steady,
            restrictions=_restrictions(snapshot, agent, self.stated.restrictions),
            hops=tuple(hops),
            outside=judgement.answer,
            time_us=self.header.time,
        )


class History:
    """Reads the past of one log."""

    def __init__(
        self,
        reader: LogReader,
        keys: PartKeys,
        engine: Engine,
        signer: NoteSigner,
        clock: Clock,
        veto: VetoEngine | None = None,
    ) -> None:
        self._veto = veto
        self._reader = reader
        self._keys = keys
        self.engine = engine
        self._signer = signer
        self._clock = clock

    def size(self) -> int:
        """How many records there are."""
        return self._reader.size()

    def first_since(self, since_us: int) -> int:
        """The seq of the first record that is not older, to within what records of one moment overlap."""
        low, high = 0, self.size()
        while low < high:
            middle = (low + high) // 2
            row = next(iter(self._reader.rows(middle, middle + 1)), None)
            if row is not None and orjson.loads(row[1][2:])["time"] < since_us:
                low = middle + 1
            else:
                high = middle
        return max(0, low - _PAGE)

    def find(self, decision: str, *, within: int) -> PastCall | PastQuestion | None:
        """The call or question of that decision, among the newest so many records."""
        wanted, end = orjson.dumps(decision), self.size()
        for start in range(max(0, end - _PAGE), max(-1, end - within - _PAGE), -_PAGE):
            for row in self._reader.rows(max(0, start), min(end, start + _PAGE)):
                if wanted in row[2]:
                    found = next(self.calls(row[0], row[0] + 1), None)
                    if isinstance(found, (PastCall, PastQuestion)) and found.body["decision_id"] == decision:
                        return found
        return None

    def calls(self, start: int = 0, stop: int | None = None) -> Iterator[PastCall | PastQuestion | PastHandover]:
        """The decisions recorded from `start` on, in the order of the log: questions and hand-overs included.

        Raises:
            UnavailableError: the log cannot be read.
        """
        stop = self.size() if stop is None else stop
        control = _PastControl()
        # whatever was in force well before the first call is fed without making a snapshot of each step
        begin = max(0, start - 16 * _PAGE)
        past = self._control_records(0)
        ahead = next(past, None)
        while ahead is not None and ahead.seq < begin:
            self._feed(control, ahead)
            ahead = next(past, None)
        releases = PolicyReleases(control, self.engine, self._clock, _nothing_installed, self._signer)
        keeper = SnapshotKeeper(control, releases, self.engine, self._veto)
        kept: OrderedDict[int, Snapshot] = OrderedDict({control.position: keeper.current})
        for page in range(start, stop, _PAGE):
            end = min(stop, page + _PAGE)
            wrapped = _Wrapped(self._reader, page, end)
            for row in self._reader.rows(page, end):
                while ahead is not None and ahead.seq < row[0]:
                    self._feed(control, ahead)
                    kept[control.position] = keeper.current
                    if len(kept) > _KEPT:
                        kept.popitem(last=False)
                    ahead = next(past, None)
                handing = _HANDING in row[1]
                if not handing and _DECISION not in row[1] and (_ADVICE not in row[1] or _searched(row)):
                    continue
                try:
                    header, stated = read_head(row[1][2:]), read_body(row[2][SALT_SIZE:])
                except ValueError as error:
                    raise InvalidInputError(
                        Code.LOG_INVALID, f"record {row[0]} is not framed as a record", hint="accredit audit verify"
                    ) from error
                snapshot, judged = kept.get(-1 if stated.control is None else stated.control), stated.judged
                if handing:
                    yield self._handover(row, header, stated, snapshot, wrapped)
                elif judged.__class__ is Judgement:
                    agent = None if snapshot is None else _agent(snapshot, header, stated)
                    yield PastCall(row[0], header, stated, judged, snapshot, agent, row, wrapped, self._keys)
                elif judged is None or header.kind == "decision":
                    yield PastCall(row[0], header, stated, None, snapshot, None, row, wrapped, self._keys)
                else:
                    yield self._question(row, header, snapshot, wrapped)

    def _question(
        self, row: StoredRow, header: RecordedHead, snapshot: Snapshot | None, wrapped: _Wrapped
    ) -> PastQuestion:
        seq, body, keys = row[0], orjson.loads(row[2][SALT_SIZE:]), self._keys

        def opened() -> ExternalRequest:
            try:
                sealed = sealed_part(row[4], "request")
                asked = part_values(unseal_part(seq, "request", sealed, wrapped.of("request")[seq], keys))
                return ExternalRequest(
                    ExternalName(**asked["subject"]),
                    asked["action"]["name"],
                    ExternalName(**asked["resource"]),
                    asked["action"]["properties"],
                    asked["context"],
                    caller=body["asked_by"],
                    time_us=header.time,
                    time_trusted=body["steady"],
                )
            except (ValueError, KeyError, TypeError) as error:
                raise InvalidInputError(Code.LOG_INVALID, f"the parts of record {seq} do not open") from error

        why: Unrepeatable | None = None
        if body["release"] is not None:
            if snapshot is None:
                why = Unrepeatable.STATE
            elif seq not in wrapped.of("request"):
                why = Unrepeatable.ERASED
            elif "truncated" in body["parts"]["request"]:
                why = Unrepeatable.CUT
        policy = snapshot.policy if snapshot is not None else None
        return PastQuestion(seq, header, body, policy, why, opened)

    def _handover(
        self,
        row: StoredRow,
        header: RecordedHead,
        stated: RecordedBody,
        snapshot: Snapshot | None,
        wrapped: _Wrapped,
    ) -> PastHandover:
        seq, body, judged, keys = row[0], orjson.loads(row[2][SALT_SIZE:]), stated.judged, self._keys
        caller = None if snapshot is None else _agent(snapshot, header, stated)
        callee = snapshot.catalogue.agent(body["callee"]) if snapshot is not None and body["callee"] else None
        hop = Hop(caller, callee) if caller is not None and callee is not None else None

        def opened() -> CallRequest:
            if hop is None or not isinstance(judged, Judgement):
                raise InvalidInputError(Code.STATE_UNPROVEN, "the control state of this hand-over is not known")
            try:
                sealed = sealed_part(row[4], "context")
                context = part_values(unseal_part(seq, "context", sealed, wrapped.of("context")[seq], keys))
            except (ValueError, KeyError) as error:
                raise InvalidInputError(Code.LOG_INVALID, f"the parts of record {seq} do not open") from error
            return CallRequest(hop.caller, ToolId(""), context, time_trusted=judged.steady, time_us=header.time)

        why: Unrepeatable | None = None
        if judged is UNSET:
            why = Unrepeatable.OLDER
        elif judged is not None:
            if hop is None:
                why = Unrepeatable.STATE
            elif seq not in wrapped.of("context"):
                why = Unrepeatable.ERASED
            elif "truncated" in body["parts"]["context"]:
                why = Unrepeatable.CUT
        policy = snapshot.policy if snapshot is not None else None
        return PastHandover(seq, header, stated, body, hop, policy, why, opened)

    def _control_records(self, start: int) -> Iterator[StoredRecord]:
        return self._reader.control_records(start)

    def _feed(self, control: _PastControl, record: StoredRecord) -> None:
        changed = [change for change in changes_of(record) if change[0] in _KINDS]
        if not changed:
            control.position = record.seq
            return
        try:
            docs = part_values(open_part(record, STATE_PART, self._keys))
            writes = tuple(
                Write(kind, key, None if digest is None else docs[state_path(kind, key)])
                for kind, key, digest in changed
            )
        except (AccreditError, KeyError):
            # what an erased part said is not known any more: calls that rest on it will not be found as they were
            control.position = record.seq
            return
        control.feed(record.seq, Change(Facts(kind="past"), writes, Actor(basis="system"), {}))


def _searched(row: StoredRow) -> bool:
    """Whether it was asked who, what or which may: what that comes to is not recorded one by one."""
    return _SEARCH in row[2] and "search" in orjson.loads(row[2][SALT_SIZE:])


def _agent(snapshot: Snapshot, header: RecordedHead, stated: RecordedBody) -> Agent | None:
    """The agent as it was; None if state does not tell, neither of it nor of the restrictions on it."""
    agent = snapshot.catalogue.agent(header.agent)  # type: ignore[arg-type]
    if agent is None or agent.version.digest != header.version:
        return None
    for name, version, restrictions in stated.hops:
        caller = snapshot.catalogue.agent(AgentId(name))
        if caller is None or caller.version.digest != version or not _restricted(snapshot, caller, restrictions):
            return None
    return agent if _restricted(snapshot, agent, stated.restrictions) else None


def _restricted(snapshot: Snapshot, agent: Agent, restrictions: Collection[str]) -> bool:
    """Whether state tells of all these restrictions on an agent."""
    return len(_restrictions(snapshot, agent, restrictions)) == len(restrictions)


def _restrictions(snapshot: Snapshot, agent: Agent, named: Collection[str]) -> tuple[Restriction, ...]:
    """Those of some restrictions on an agent that state tells of."""
    found = (snapshot.restriction_on(agent.id, one) for one in named)
    return tuple(one for one in found if one is not None)


def _nothing_installed() -> Any:
    raise UnavailableError(Code.STATE_UNPROVEN, "nothing is published in the past")
