"""Break-glass: for a few hours, named tools of one agent are used without waiting for the people that holds ask for.

It answers for holds and for nothing else: what forbids without `@hold` still forbids, and so do limits, restrictions
and what a version was approved under. Whoever breaks it is nobody on the agent's side, and within three days security
reviews it. One person alone breaks it at once, and people are told at once; or two do: one asks, and it is broken,
without a page, when another who could break it themselves confirms exactly that. While one that they had a hand in was
not reviewed in time, a person breaks no other.

`check_breaking` and `lifted_by` are pure; `BreakGlasses` keeps the rows.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any, Final

from accredit.approvals.duties import BarredReason, barred
from accredit.approvals.model import ApprovalRequest, ApprovalState, Parties
from accredit.audit.model import Facts, Part
from accredit.audit.ports import Actor, Change, ControlLog, StateView, Write
from accredit.kernel.canonical import Digest, digest_value
from accredit.kernel.clock import Clock
from accredit.kernel.codes import Code
from accredit.kernel.errors import ConflictError, ForbiddenError, InvalidInputError, NotFoundError
from accredit.kernel.ids import AgentId, PersonId, ToolId
from accredit.registry.organisation import Organisation

__all__ = [
    "BREAK_GLASS",
    "CONFIRM_US",
    "BreakGlass",
    "BreakGlasses",
    "GlassReview",
    "break_glass_doc",
    "break_glass_from",
    "check_breaking",
    "check_confirming",
    "lifted_by",
]

BREAK_GLASS: Final = "break_glass"
CONFIRM_US: Final = 3_600_000_000
"""How long what was asked for waits for a second person."""
_MAX_HOURS: Final = 8
_HOUR_US: Final = 3_600_000_000
_MAX_NAMED: Final = 20
_MAX_LIVE: Final = 3
_MAX_REASON: Final = 2_000


class GlassReview(StrEnum):
    """What became of looking at it afterwards."""

    WAITS = "waits"
    ASKED = "asked"
    """It is not broken yet: a second person has to confirm it."""
    LAPSED = "lapsed"
    """Nobody confirmed it: it never was in force."""
    UPHELD = "upheld"
    REJECTED = "rejected"
    OVERDUE = "overdue"
    """Nobody decided in time: whoever broke it breaks no other until somebody did."""


_SETTLED: Final = frozenset({GlassReview.LAPSED, GlassReview.UPHELD, GlassReview.REJECTED})


@dataclass(frozen=True, slots=True)
class BreakGlass:
    """One breaking of it."""

    id: str
    agent: AgentId
    tools: tuple[ToolId, ...]
    policies: tuple[str, ...]
    """Ids of the policies and restrictions whose holds do not wait meanwhile."""
    by: PersonId
    opened_us: int
    until_us: int
    request: str
    """In which it is reviewed."""
    review: GlassReview = GlassReview.WAITS
    second: PersonId | None = None
    """Who confirmed it, of two."""
    minutes: int = 0
    """For how long it is, from when it is confirmed; of one that nobody has to confirm 0."""

    @property
    def hands(self) -> frozenset[PersonId]:
        """Who broke it."""
        return frozenset({self.by} if self.second is None else {self.by, self.second})

    def in_force(self, now_us: int) -> bool:
        return self.opened_us <= now_us < self.until_us and self.review not in {GlassReview.ASKED, GlassReview.LAPSED}

    @property
    def digest(self) -> Digest:
        """Of all that is confirmed."""
        asked = {"agent": self.agent, "by": self.by, "id": self.id, "minutes": self.minutes}
        return digest_value("break-glass", {**asked, "policies": list(self.policies), "tools": list(self.tools)})


def break_glass_doc(one: BreakGlass, *, reason: str, salt: str) -> dict[str, Any]:
    """Its row, under its id; the salt keeps the reason from being guessed by the row's digest."""
    return {
        "agent": one.agent,
        "by": one.by,
        "minutes": one.minutes,
        "opened_us": one.opened_us,
        "policies": list(one.policies),
        "reason": reason,
        "request": one.request,
        "review": one.review.value,
        "salt": salt,
        "second": one.second,
        "tools": list(one.tools),
        "until_us": one.until_us,
    }


def break_glass_from(key: str, doc: Mapping[str, Any]) -> BreakGlass:
    return BreakGlass(
        id=key,
        agent=AgentId(doc["agent"]),
        tools=tuple(ToolId(one) for one in doc["tools"]),
        policies=tuple(doc["policies"]),
        by=PersonId(doc["by"]),
        opened_us=doc["opened_us"],
        until_us=doc["until_us"],
        request=doc["request"],
        review=GlassReview(doc["review"]),
        second=doc.get("second"),
        minutes=doc.get("minutes", 0),
    )


def lifted_by(broken: Collection[BreakGlass], tool: ToolId, *, now_us: int) -> frozenset[str]:
    """The policies and restrictions whose holds do not wait for a call of a tool now."""
    return frozenset(name for one in broken if tool in one.tools and one.in_force(now_us) for name in one.policies)


def check_breaking(
    made: BreakGlass,
    others: Collection[BreakGlass],
    organisation: Organisation,
    parties: Parties,
    *,
    reason: str,
    tools: Collection[ToolId],
    holds: Collection[str],
) -> None:
    """Whether somebody may break it for an agent whose sides are `parties`; `holds` are what can be named.

    Raises:
        InvalidInputError: it is for too much or too long, or names what cannot be named.
        ForbiddenError: `separation_of_duties`: they stand on the agent's side.
        ConflictError: one of theirs was not reviewed, or too many are in force.
    """
    against = barred(organisation, parties, made.by, opened_us=made.opened_us, now_us=made.opened_us)
    if against is not None:
        own = against not in {BarredReason.UNKNOWN, BarredReason.LEFT, BarredReason.BOT}
        why = "you stand on this agent's side" if own else "only a person who is there breaks it"
        raise ForbiddenError(Code.SEPARATION_OF_DUTIES, why, hint="somebody who stands on no side of it may")
    if not 1 <= len(made.tools) <= _MAX_NAMED or not 1 <= len(made.policies) <= _MAX_NAMED:
        raise _wrong(f"name 1 to {_MAX_NAMED} tools, and as many holds at most")
    if not made.opened_us < made.until_us <= made.opened_us + _MAX_HOURS * _HOUR_US:
        raise _wrong(f"it is for at most {_MAX_HOURS} hours")
    if not reason.strip() or len(reason) > _MAX_REASON:
        raise _wrong(f"say why, in at most {_MAX_REASON} characters")
    for tool in made.tools:
        if tool not in tools:
            raise _wrong(f"the agent is not granted `{tool[:80]}`")
    for name in made.policies:
        if name not in holds:
            raise _wrong(f"`{name[:200]}` is no policy or restriction that only holds calls of this agent")
    _require_reviewed(made.by, others)
    live = [one for one in others if made.by in one.hands and (one.in_force(made.opened_us) or _asked(one, made))]
    if len(live) >= _MAX_LIVE:
        raise ConflictError(Code.CONFLICT, f"{_MAX_LIVE} that you broke are in force", hint="end one first")


def _asked(one: BreakGlass, made: BreakGlass) -> bool:
    return one.review is GlassReview.ASKED and one.id != made.id


def _require_reviewed(person: PersonId, others: Collection[BreakGlass]) -> None:
    if any(person in one.hands and one.review is GlassReview.OVERDUE for one in others):
        raise ConflictError(
            Code.CONFLICT, "one that you broke was not reviewed in time", hint="have security review that first"
        )


def check_confirming(
    made: BreakGlass,
    second: PersonId,
    others: Collection[BreakGlass],
    organisation: Organisation,
    parties: Parties,
    *,
    seen: str,
    now_us: int,
) -> None:
    """Whether somebody may confirm what another asked for; `parties` are the agent's sides, and `seen` what was shown.

    Raises:
        ForbiddenError: `separation_of_duties`: they asked, could be whoever asked, or stand on the agent's side.
        ConflictError: it does not wait (any more), something else was shown, or one of theirs was not reviewed.
    """
    asking = Parties(made.by, parties.authors, parties.owners)
    against = barred(organisation, asking, second, opened_us=made.opened_us, now_us=now_us)
    if against is not None:
        raise ForbiddenError(
            Code.SEPARATION_OF_DUTIES, "you asked for it, could be whoever did, or stand on this agent's side",
            hint="somebody who stands on no side of it may confirm it",
        )  # fmt: skip
    if made.review is not GlassReview.ASKED or now_us >= made.opened_us + CONFIRM_US:
        raise ConflictError(Code.CONFLICT, "it does not wait for a second person", hint="ask for it anew")
    if seen != made.digest:
        raise ConflictError(Code.CONFLICT, "what you were shown is not what is asked for", hint="look at it again")
    _require_reviewed(second, others)


def _wrong(why: str) -> InvalidInputError:
    return InvalidInputError(Code.BODY_MALFORMED, f"the glass cannot be broken like this: {why}")


class BreakGlasses:
    """Keeps what was broken. `request` knows where a review stands."""

    def __init__(self, control: ControlLog, clock: Clock, *, request: Callable[[str], ApprovalRequest | None]) -> None:
        self._control = control
        self._clock = clock
        self._request = request

    def all(self) -> tuple[BreakGlass, ...]:
        """Every one on record, newest first."""
        found = [break_glass_from(row.key, row.doc) for row in self._control.view.scan(BREAK_GLASS)]
        return tuple(sorted(found, key=lambda one: (one.opened_us, one.id), reverse=True))

    def get(self, id_: str) -> BreakGlass:
        """Raises NotFoundError: there is none of that id."""
        row = self._control.view.get(BREAK_GLASS, id_)
        if row is None:
            raise NotFoundError(Code.NOT_FOUND, f"there is no break-glass `{id_[:80]}`")
        return break_glass_from(id_, row.doc)

    def reason(self, id_: str) -> str:
        """Why it was broken. Raises as `get`."""
        row = self._control.view.get(BREAK_GLASS, self.get(id_).id)
        return str(row.doc["reason"]) if row is not None else ""

    async def open(self, made: BreakGlass, actor: Actor, *, reason: str, salt: str, check: Callable[[], None]) -> None:
        """Break it; `check` is asked within the transaction and raises to refuse."""

        def build(_: StateView) -> Change:
            check()
            return _change("break_glass.opened", made, actor, {"row": break_glass_doc(made, reason=reason, salt=salt)})

        await self._control.transact(build)

    async def ask(self, made: BreakGlass, actor: Actor, *, reason: str, salt: str, check: Callable[[], None]) -> None:
        """Keep what a second person has to confirm; nothing is broken. `check` as in `open`."""

        def build(_: StateView) -> Change:
            check()
            waits = replace(made, until_us=made.opened_us, review=GlassReview.ASKED)
            return _change("break_glass.asked", waits, actor, {"row": break_glass_doc(waits, reason=reason, salt=salt)})

        await self._control.transact(build)

    async def confirm(
        self, id_: str, second: PersonId, request: str, actor: Actor, *, check: Callable[[BreakGlass, int], None]
    ) -> BreakGlass:
        """Break what was asked for. `check` is asked within the transaction and raises to refuse."""

        def build(view: StateView) -> Change:
            one, row, now_us = self._of(view, id_)
            check(one, now_us)
            until_us = now_us + one.minutes * _HOUR_US // 60
            fresh = {**row, "opened_us": now_us, "request": request, "review": GlassReview.WAITS.value,
                     "second": second, "until_us": until_us}  # fmt: skip
            return _change("break_glass.confirmed", break_glass_from(id_, fresh), actor, {"row": fresh})

        await self._control.transact(build)
        return self.get(id_)

    async def end(self, id_: str, actor: Actor) -> BreakGlass:
        """End it now, or take back what was asked for. Raises as `get`."""

        def build(view: StateView) -> Change | None:
            one, row, now_us = self._of(view, id_)
            if one.review is GlassReview.ASKED:
                fresh = {**row, "review": GlassReview.LAPSED.value}
                return _change("break_glass.lapsed", one, actor, {"row": fresh}, narrowing=True)
            if not one.in_force(now_us):
                return None
            return _change("break_glass.ended", one, actor, {"row": {**row, "until_us": now_us}}, narrowing=True)

        await self._control.transact(build)
        return self.get(id_)

    async def reask(self, id_: str, request: str, actor: Actor) -> None:
        """Note that an overdue review is asked for again."""

        def build(view: StateView) -> Change | None:
            one, row, _ = self._of(view, id_)
            return _change("break_glass.review_asked", one, actor, {"row": {**row, "request": request}})

        await self._control.transact(build)

    async def settle(self) -> int:
        """Take over what reviews came to, or did not; how many changed. Idempotent, to be called now and then."""
        changed = 0
        for one in self.all():
            if one.review in _SETTLED:
                continue
            if one.review is GlassReview.ASKED:
                if self._clock.now().wall_us >= one.opened_us + CONFIRM_US:
                    await self.end(one.id, Actor(basis="system"))
                    changed += 1
                continue
            request = self._request(one.request)
            review = _reviewed(request)
            if review is one.review:
                continue

            def build(view: StateView, id_: str = one.id, review: GlassReview = review) -> Change | None:
                known, row, now_us = self._of(view, id_)
                if known.review in _SETTLED:
                    return None
                until_us = known.until_us if review is GlassReview.UPHELD else min(known.until_us, now_us)
                fresh = {**row, "review": review.value, "until_us": until_us}
                system = Actor(basis="system")
                return _change(f"break_glass.{review.value}", replace(known, review=review), system, {"row": fresh})

            changed += await self._control.transact(build) is not None
        return changed

    def _of(self, view: StateView, id_: str) -> tuple[BreakGlass, Mapping[str, Any], int]:
        row = view.get(BREAK_GLASS, id_)
        if row is None:
            raise NotFoundError(Code.NOT_FOUND, f"there is no break-glass `{id_[:80]}`")
        return break_glass_from(id_, row.doc), row.doc, self._clock.now().wall_us


def _reviewed(request: ApprovalRequest | None) -> GlassReview:
    match request.state if request is not None else None:
        case ApprovalState.OPEN:
            return GlassReview.WAITS
        case ApprovalState.APPROVED:
            return GlassReview.UPHELD
        case ApprovalState.REJECTED:
            return GlassReview.REJECTED
        case _:
            return GlassReview.OVERDUE


def _change(kind: str, one: BreakGlass, actor: Actor, given: Mapping[str, Any], *, narrowing: bool = False) -> Change:
    row = given["row"]
    return Change(
        Facts(kind, agent=one.agent),
        (Write(BREAK_GLASS, one.id, row),),
        actor,
        {
            "break_glass": one.id,
            "by": one.by,
            "policies": row["policies"],
            "request": row["request"],
            "review": row["review"],
            "second": row.get("second"),
            "tools": row["tools"],
            "until_us": row["until_us"],
        },
        (Part("text", {"reason": row["reason"]}),),
        narrowing=narrowing,
    )
