"""Holds as the path of a call and the operators use them: open, answer, use once.

Rows of kind `hold` are the truth; what is kept in memory follows the control log, so that asking for grants costs a
look-up. Refusals to agents are values; refusals to operators are errors.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from accredit.approvals.answering import answer, may_answer, over
from accredit.approvals.duties import Barred, Eligible
from accredit.approvals.model import HeldCall, Hold, HoldRefusal, HoldState, HoldVerdict
from accredit.approvals.requests import request_digest, view_digest, view_text
from accredit.approvals.rows import KIND, hold_doc, read_hold
from accredit.audit.model import Facts
from accredit.audit.ports import Actor, Change, ControlLog, StateView, Write
from accredit.identity.model import Operator
from accredit.kernel.canonical import Digest
from accredit.kernel.clearance import Basis
from accredit.kernel.clock import Clock, Deadline, Instant
from accredit.kernel.codes import Code
from accredit.kernel.errors import (
    AccreditError,
    ConflictError,
    ForbiddenError,
    InvalidInputError,
    NotFoundError,
    UnavailableError,
)
from accredit.kernel.ids import AgentId, CredentialId, HoldId, IdSource
from accredit.policy.model import HoldNeed
from accredit.registry.organisation import Organisation

__all__ = ["HoldTimes", "Holds"]

_MAX_OPEN = 5
_MAX_REASON = 2_000
_MAX_SWEPT = 100


@dataclass(frozen=True, slots=True)
class HoldTimes:
    """How long holds live, in seconds."""

    answer_s: int = 900
    """For people to answer."""
    use_s: int = 900
    """For the agent to use a complete answer."""
    keep_s: int = 86_400
    """That one which is over is still told of, without its values."""


@dataclass(frozen=True, slots=True)
class _Kept:
    hold: Hold
    deadline: Deadline


class Holds:
    """Every hold of this installation.

    `organisation` is asked on every answer; without it nobody holds a role. `steady` says whether the wall clock can
    be trusted: while it cannot, nobody answers by role, for what was first could not be told.
    """

    def __init__(
        self,
        control: ControlLog,
        ids: IdSource,
        clock: Clock,
        *,
        times: HoldTimes | None = None,
        organisation: Callable[[], Organisation] = Organisation,
        steady: Callable[[Instant], bool] = lambda _: True,
    ) -> None:
        self._control = control
        self._ids = ids
        self._clock = clock
        self._times = times or HoldTimes()
        self._organisation = organisation
        self._steady = steady
        self._kept: dict[HoldId, _Kept] = {}
        self._of_request: defaultdict[Digest, set[HoldId]] = defaultdict(set)
        self._granted: defaultdict[AgentId, set[HoldId]] = defaultdict(set)
        self._of_agent: defaultdict[AgentId, set[HoldId]] = defaultdict(set)
        self._claimed: set[HoldId] = set()
        """Being used, or perhaps used: what failed half-way stays claimed, for unknown means no."""
        self._alone = asyncio.Lock()
        """One opening or answer at a time, or two equal calls could open two holds."""
        now = clock.now()
        for row in control.view.scan(KIND):
            self._keep(read_hold(row.doc), now)
        control.subscribe(self._follow)

    # -- the path of a call

    def any_granted(self, agent: AgentId) -> bool:
        """Whether the agent has a granted hold at all: if not, no request needs a digest."""
        return agent in self._granted

    def grants_for(self, request: Digest) -> frozenset[str]:
        """Ids of the policies for which an unused grant for exactly this request exists."""
        if request not in self._of_request:
            return frozenset()
        now = self._clock.now()
        return frozenset(
            grant.policy
            for kept in self._about(request)
            if self._standing(kept, now) is HoldState.GRANTED
            for grant in kept.hold.grants
        )

    def state(self, hold: HoldId, agent: AgentId, request: Digest) -> HoldState | None:
        """Where the hold a client names stands; None if there is no such hold for this agent and request."""
        kept = self._kept.get(hold)
        if kept is None or kept.hold.agent != agent or kept.hold.request != request:
            return None
        return self._standing(kept, self._clock.now())

    async def open(self, call: HeldCall, needs: Iterable[HoldNeed]) -> Hold | HoldRefusal:
        """A hold for exactly this call: a new one, or the equal one that waits already.

        An equal one that was denied is not asked again until its time is over.

        Raises:
            InvalidInputError: the arguments have no JSON form.
            UnavailableError: the hold could not be made durable.
        """
        request = request_digest(call)
        wanted = tuple(sorted(set(needs), key=lambda need: (need.policy, need.role)))
        assert wanted, "a hold that needs nobody"  # noqa: S101 - a programming mistake
        agent = call.agent.id
        async with self._alone:
            now = self._clock.now()
            for kept in self._about(request):
                if kept.hold.needs != wanted:
                    continue
                standing = self._standing(kept, now)
                if standing in {HoldState.OPEN, HoldState.GRANTED}:
                    return kept.hold
                if standing is HoldState.DENIED and not kept.deadline.passed(now):
                    return HoldRefusal(Code.HOLD_DENIED, "an approver denied exactly this call", kept.hold.id)
            mine = [self._kept[one] for one in self._of_agent.get(agent, ())]
            if sum(self._standing(kept, now) is HoldState.OPEN for kept in mine) >= _MAX_OPEN:
                return HoldRefusal(Code.HOLD_LIMIT, f"the agent has {_MAX_OPEN} open holds")
            text = view_text(call, wanted, nonce=self._ids.new("nonce"))
            hold = Hold(
                id=HoldId(self._ids.new("hld")),
                agent=agent,
                version=call.agent.version.digest,
                environment=call.agent.environment,
                tool=call.tool.id,
                request=request,
                needs=wanted,
                state=HoldState.OPEN,
                opened_us=now.wall_us,
                expires_us=now.wall_us + self._times.answer_s * 1_000_000,
                barred=dict(call.barred),
                view=text,
                view_digest=view_digest(text),
                team=call.agent.team.id,
            )
            actor = Actor(agent=agent, credential=call.principal.credential)
            asked = [{"policy": need.policy, "role": need.role} for need in wanted]
            body = {"expires_us": hold.expires_us, "needs": asked, "view": hold.view_digest}
            await self._control.transact(lambda _: _change("hold.opened", actor, hold, body=body))
            return hold

    async def consume(
        self, request: Digest, policies: Collection[str], *, credential: CredentialId
    ) -> tuple[str, ...] | HoldRefusal:
        """Use the grants that lifted `policies` for this request: their ids, durably used, or `grant_used`.

        A hold is used as a whole: it was granted for one execution. Once begun, a use is never undone: if it fails
        or is cancelled half-way, the grants are gone and a person can be asked again.

        Raises:
            UnavailableError: the use could not be made durable; the call must not go ahead.
        """
        now = self._clock.now()
        chosen: dict[str, tuple[Hold, str]] = {}
        for kept in self._about(request):
            if self._standing(kept, now) is HoldState.GRANTED:
                for grant in kept.hold.grants:
                    chosen.setdefault(grant.policy, (kept.hold, grant.id))
        if not policies or not chosen.keys() >= set(policies):
            return HoldRefusal(Code.GRANT_USED, "no unused grant for exactly this call")
        holds = {hold.id: hold for hold, _ in (chosen[policy] for policy in policies)}
        grants = tuple(sorted(chosen[policy][1] for policy in policies))
        # INVARIANT: from here to the await nothing else runs, so of any number of callers one claims a hold
        self._claimed |= holds.keys()

        def build(view: StateView) -> Change | None:
            for hold in holds.values():
                row = view.get(KIND, hold.id)
                if row is None or read_hold(row.doc) != hold:
                    return None
            used = [over(hold, HoldState.USED, now.wall_us) for hold in holds.values()]
            actor = Actor(agent=used[0].agent, credential=credential)
            return _change("hold.used", actor, *used, body={"grants": list(grants)})

        if await self._control.transact(build) is None:
            return HoldRefusal(Code.GRANT_USED, "the grant changed meanwhile")
        return grants

    # -- people

    def get(self, hold: HoldId) -> Hold | None:
        """The hold as it stands now."""
        kept = self._kept.get(hold)
        return None if kept is None else self._present(kept, self._clock.now())

    def find(self, *, agent: AgentId | None = None, state: HoldState | None = None) -> tuple[Hold, ...]:
        """Holds as they stand now, oldest first."""
        now = self._clock.now()
        ids = tuple(self._kept if agent is None else self._of_agent.get(agent, ()))
        kept = [self._kept[one] for one in ids]
        present = [self._present(one, now) for one in kept]
        return tuple(
            sorted(
                (hold for hold in present if state in {None, hold.state}), key=lambda hold: (hold.opened_us, hold.id)
            )
        )

    async def decide(
        self,
        hold_id: HoldId,
        operator: Operator,
        verdict: HoldVerdict,
        *,
        view_digest: Digest,
        role: str | None = None,
        reason: str = "",
    ) -> Hold:
        """Record a person's answer in one role, or in every role still wanted; returns the hold after it.

        Raises:
            NotFoundError: no such hold.
            ForbiddenError: this person may not answer it (`not_authorised`, `separation_of_duties`).
            ConflictError: it is over or answered, or another view was answered.
            InvalidInputError: the reason is too long.
            UnavailableError: the answer could not be made durable, and is not in force; or what it rests on cannot be
                shown.
        """
        if len(reason) > _MAX_REASON:
            raise InvalidInputError(Code.BODY_OVERSIZED, f"a reason has at most {_MAX_REASON} characters")
        async with self._alone:
            kept = self._kept.get(hold_id)
            if kept is None:
                raise NotFoundError(Code.HOLD_UNKNOWN, f"there is no hold `{hold_id[:80]}`")
            now = self._clock.now()
            before = self._present(kept, now)
            if operator.basis == Basis.ROLES:
                self._require_sure(now)
            after = answer(
                before,
                operator,
                verdict,
                role=role,
                view_digest=view_digest,
                reason=reason,
                now_us=now.wall_us,
                use_us=self._times.use_s * 1_000_000,
                new_grant_id=lambda: self._ids.new("grt"),
                organisation=self._organisation(),
            )
            if isinstance(after, HoldRefusal):
                raise _raised(after)
            actor = Actor(person=operator.person, credential=operator.credential, basis=operator.basis)
            if verdict is HoldVerdict.DENY:
                change = _change("hold.denied", actor, after, body={"view": view_digest})
            else:
                given = [
                    {"for": one.for_person, "id": one.id, "policy": one.policy, "role": one.role}
                    for one in after.grants
                ]
                change = _change(
                    "hold.granted", actor, after, body={"grants": given[len(before.grants) :], "view": view_digest}
                )
            if await self._control.transact(_unless_changed(before, change)) is None:
                raise ConflictError(Code.CONFLICT, "the hold changed meanwhile")
            return after

    def standing(self, hold_id: HoldId, operator: Operator) -> Mapping[str, Eligible | Barred]:
        """How a person stands, by their roles, to every role the hold still wants.

        Raises:
            NotFoundError: no such hold.
        """
        kept = self._kept.get(hold_id)
        if kept is None:
            raise NotFoundError(Code.HOLD_UNKNOWN, f"there is no hold `{hold_id[:80]}`")
        now = self._clock.now()
        hold, organisation = self._present(kept, now), self._organisation()
        if hold.state is not HoldState.OPEN:
            return {}
        return {
            need.role: may_answer(hold, operator.person, need, organisation, now_us=now.wall_us)
            for need in hold.missing
        }

    def _require_sure(self, now: Instant) -> None:
        if self._control.unproven:
            # any row that the log contradicts could be the one that would have barred somebody
            raise UnavailableError(Code.STATE_UNPROVEN, "stored state is not what the audit log proves")
        if not self._steady(now):
            raise UnavailableError(Code.CLOCK_UNCONFIRMED, "the wall clock stepped: nobody answers by role")

    async def sweep(self) -> int:
        """Record what has expired and forget what was over long ago; returns how many holds that touched.

        To be called now and then: expiry itself needs no sweep. A round is bounded, the next goes on.

        Raises:
            UnavailableError: the records could not be made durable.
        """
        now = self._clock.now()
        swept = 0
        for kept in list(self._kept.values()):
            hold = kept.hold
            if swept == _MAX_SWEPT:
                break
            if hold.closed_us is not None:
                if now.wall_us - hold.closed_us < self._times.keep_s * 1_000_000:
                    continue
                change = _change("hold.removed", Actor(), hold, removed=True)
            elif kept.deadline.passed(now):
                change = _change("hold.expired", Actor(), over(hold, HoldState.EXPIRED, now.wall_us))
            else:
                continue
            async with self._alone:
                swept += await self._control.transact(_unless_changed(hold, change)) is not None
        return swept

    def writes_to_void(self, view: StateView, agent: AgentId, now_us: int) -> tuple[Write, ...]:
        """Every open or granted hold of an agent over, for a transaction that ends the agent. Does no I/O."""
        rows = (view.get(KIND, hold) for hold in sorted(self._of_agent.get(agent, ())))
        held = [read_hold(row.doc) for row in rows if row is not None]
        return tuple(
            Write(KIND, hold.id, hold_doc(over(hold, HoldState.EXPIRED, now_us)))
            for hold in held
            if hold.state in {HoldState.OPEN, HoldState.GRANTED}
        )

    # -- what is kept in memory

    def _about(self, request: Digest) -> Iterator[_Kept]:
        held = [self._kept[one] for one in self._of_request.get(request, ())]
        return iter(sorted(held, key=lambda kept: (kept.hold.opened_us, kept.hold.id)))

    def _standing(self, kept: _Kept, now: Instant) -> HoldState:
        state = kept.hold.state
        if state not in {HoldState.OPEN, HoldState.GRANTED}:
            return state
        if kept.hold.id in self._claimed:
            return HoldState.USED
        return HoldState.EXPIRED if kept.deadline.passed(now) else state

    def _present(self, kept: _Kept, now: Instant) -> Hold:
        standing = self._standing(kept, now)
        return kept.hold if standing is kept.hold.state else over(kept.hold, standing, now.wall_us)

    def _follow(self, change: Change) -> None:
        now = self._clock.now()
        for write in change.writes:
            if write.kind == KIND:
                before = self._forget(HoldId(write.key))
                if write.doc is not None:
                    self._keep(read_hold(write.doc), now, before)

    def _keep(self, hold: Hold, now: Instant, before: _Kept | None = None) -> None:
        if before is not None and before.hold.expires_us == hold.expires_us:
            deadline = before.deadline
        else:
            # boot time does not survive a restart: what is left is known by the wall clock, at most one full term
            longest_us = max(self._times.answer_s, self._times.use_s) * 1_000_000
            left_us = min(max(hold.expires_us - now.wall_us, 0), longest_us)
            deadline = Deadline(hold.expires_us, now.boot_us + left_us)
        self._kept[hold.id] = _Kept(hold, deadline)
        self._of_request[hold.request].add(hold.id)
        self._of_agent[hold.agent].add(hold.id)
        if hold.state is HoldState.GRANTED:
            self._granted[hold.agent].add(hold.id)
        if hold.closed_us is not None:
            self._claimed.discard(hold.id)  # the row says so now

    def _forget(self, hold_id: HoldId) -> _Kept | None:
        kept = self._kept.pop(hold_id, None)
        if kept is None:
            return None
        for index, key in ((self._of_request, kept.hold.request), (self._of_agent, kept.hold.agent)):
            _drop(index, key, hold_id)
        _drop(self._granted, kept.hold.agent, hold_id)
        return kept


def _drop(index: dict[Any, set[HoldId]], key: Any, hold: HoldId) -> None:
    held = index.get(key, set())
    held.discard(hold)
    if not held:
        index.pop(key, None)


def _change(
    kind: str, actor: Actor, *holds: Hold, body: Mapping[str, Any] | None = None, removed: bool = False
) -> Change:
    """One event of one agent's holds. Their request digests stay in the rows, which the log seals."""
    first = holds[0]
    facts: dict[str, Any] = {"holds": [hold.id for hold in holds], **(body or {})}
    return Change(
        facts=Facts(
            kind=kind, agent=first.agent, version=first.version, environment=first.environment.value, tool=first.tool
        ),
        writes=tuple(Write(KIND, hold.id, None if removed else hold_doc(hold)) for hold in holds),
        actor=actor,
        body=facts,
    )


def _unless_changed(before: Hold, change: Change) -> Callable[[StateView], Change | None]:
    def build(view: StateView) -> Change | None:
        row = view.get(KIND, before.id)
        return change if row is not None and read_hold(row.doc) == before else None

    return build


def _raised(refusal: HoldRefusal) -> AccreditError:
    barred = refusal.code in {Code.NOT_AUTHORISED, Code.SEPARATION_OF_DUTIES}
    error = ForbiddenError if barred else ConflictError
    return error(refusal.code, refusal.detail)
