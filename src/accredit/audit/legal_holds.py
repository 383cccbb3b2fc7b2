"""What must be kept because of a legal matter, whoever asks for its deletion and whatever a schedule says.

A hold names records by agent, by the subject they are about, by the time they are of, or by several of these, and then
means what all of them fit. What is not known of a thing could be what the hold means, so it is kept. Placing one is in
force at once, also if it cannot be recorded yet; lifting one takes somebody else than who placed it.

kind         key       document
legal-hold   hold id   one hold; it stays when it is lifted
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from accredit.audit.model import Facts
from accredit.audit.ports import Actor, Change, ControlLog, Row, StateView, Write
from accredit.audit.subjects import SubjectKeys
from accredit.kernel.clock import Clock
from accredit.kernel.codes import Code
from accredit.kernel.errors import ConflictError, ForbiddenError, InvalidInputError, NotFoundError
from accredit.kernel.ids import AgentId, IdSource, PersonId

__all__ = ["LegalHold", "LegalHoldKeeper", "held_by"]

LEGAL_HOLD: Final = "legal-hold"
MAX_OPEN: Final = 1_000
_MAX_WORDS: Final = 500


@dataclass(frozen=True, slots=True)
class LegalHold:
    """One hold. What is None or empty does not narrow what it means."""

    id: str
    matter: str
    """What it is about, in words of whoever placed it: sealed in the log."""
    agent: AgentId | None
    subject: frozenset[str]
    """Names of the subject (`SubjectKeys`), one for each sense of its value."""
    incident: str | None
    """The incident it was placed for, whose agent it then names."""
    since_us: int | None
    until_us: int | None
    """Of the time that records are of: since <= time < until."""
    placed_by: PersonId
    placed_us: int
    lifted_by: PersonId | None = None
    lifted_us: int | None = None
    why_lifted: str = ""

    @property
    def open(self) -> bool:
        return self.lifted_us is None


def held_by(
    hold: LegalHold, *, agent: str | None, subjects: Collection[str] | None, at_us: int | None, agentless: bool = False
) -> bool:
    """Whether an open hold means a thing of that agent, about those subjects, of that time.

    None is not known, and then it could be. `agentless` says that it is known to be of no agent.
    """
    if not hold.open:
        return False
    if hold.agent is not None and (agentless or agent not in {None, hold.agent}):
        return False
    if hold.subject and subjects is not None and hold.subject.isdisjoint(subjects):
        return False
    if at_us is None:
        return True
    return (hold.since_us is None or at_us >= hold.since_us) and (hold.until_us is None or at_us < hold.until_us)


class LegalHoldKeeper:
    """Places and lifts holds, and says what they keep. Who may is for its callers."""

    def __init__(self, control: ControlLog, names: SubjectKeys, *, clock: Clock, ids: IdSource) -> None:
        self._control = control
        self._names = names
        self._clock = clock
        self._ids = ids

    def all(self) -> tuple[LegalHold, ...]:
        """Every hold there ever was, in the order of their ids."""
        return tuple(_hold_from(row) for row in self._control.view.scan(LEGAL_HOLD))

    def open(self, view: StateView | None = None) -> tuple[LegalHold, ...]:
        """Those in force.

        Raises:
            ConflictError: a hold is not what the log proves, so what must be kept is not known (`state_unproven`).
        """
        if any(kind == LEGAL_HOLD for kind, _ in self._control.unproven):
            raise ConflictError(
                Code.STATE_UNPROVEN,
                "a legal hold is not what the audit log proves: nothing is deleted",
                hint="run `accredit doctor`",
            )
        rows = (self._control.view if view is None else view).scan(LEGAL_HOLD)
        return tuple(_hold_from(row) for row in rows if row.doc["lifted_us"] is None)

    def blocks(
        self,
        *,
        agent: AgentId | None = None,
        subject: str | None = None,
        store: str | None = None,
        at_us: int | None = None,
    ) -> tuple[str, ...]:
        """The ids of the holds that keep what is meant from being deleted, wherever it is stored.

        None is not known. Raises as `open`.
        """
        del store  # a hold means what it names in every store
        # what cannot be the name of anybody, no hold can mean
        subjects = None if subject is None else [*self._names.every(subject)]
        return tuple(hold.id for hold in self.open() if held_by(hold, agent=agent, subjects=subjects, at_us=at_us))

    async def place(
        self,
        *,
        matter: str,
        by: Actor,
        agent: AgentId | None = None,
        subject: str | None = None,
        incident: str | None = None,
        since_us: int | None = None,
        until_us: int | None = None,
    ) -> LegalHold:
        """Keep from now on what all of that names.

        Raises:
            InvalidInputError: it names nothing, or no time at all.
            ConflictError: `MAX_OPEN` holds are in force.
            UnavailableError: it could not be recorded; it is in force all the same.
        """
        if agent is None and subject is None and since_us is None and until_us is None:
            raise InvalidInputError(
                Code.BODY_MALFORMED, "a legal hold names an agent, a subject, an incident or a time",
                hint="a hold on everything is one with `since` at the beginning",
            )  # fmt: skip
        if since_us is not None and until_us is not None and since_us >= until_us:
            raise InvalidInputError(Code.BODY_MALFORMED, "a legal hold's time ends after it begins")
        hold = LegalHold(
            id=self._ids.new("lgh"),
            matter=matter[:_MAX_WORDS],
            agent=agent,
            subject=frozenset() if subject is None else self._names.keys(subject),
            incident=incident,
            since_us=since_us,
            until_us=until_us,
            placed_by=_person(by),
            placed_us=self._clock.now().wall_us,
        )

        def build(view: StateView) -> Change:
            if sum(row.doc["lifted_us"] is None for row in view.scan(LEGAL_HOLD)) >= MAX_OPEN:
                raise ConflictError(Code.CONFLICT, f"{MAX_OPEN} legal holds are in force", hint="lift one first")
            return self._change("legal-hold.placed", hold, by)

        await self._control.transact(build)
        return hold

    async def lift(self, hold: str, *, by: Actor, reason: str) -> LegalHold:
        """End a hold; one that was lifted stays as it is.

        Raises:
            NotFoundError: there is none of that id.
            ForbiddenError: whoever placed it lifts it.
        """
        lifted: list[LegalHold] = []

        def build(view: StateView) -> Change | None:
            row = view.get(LEGAL_HOLD, hold)
            if row is None:
                raise NotFoundError(Code.NOT_FOUND, f"there is no legal hold `{hold[:80]}`")
            found = _hold_from(row)
            if found.placed_by == by.person:  # INVARIANT: placer and lifter differ
                raise ForbiddenError(
                    Code.NOT_AUTHORISED, "who placed a legal hold does not lift it", hint="ask another person"
                )
            if not found.open:
                lifted.append(found)
                return None
            now_us = self._clock.now().wall_us
            lifted.append(replace(found, lifted_by=_person(by), lifted_us=now_us, why_lifted=reason[:_MAX_WORDS]))
            return self._change("legal-hold.lifted", lifted[0], by)

        await self._control.transact(build)
        return lifted[0]

    def get(self, hold: str) -> LegalHold:
        """One hold.

        Raises:
            NotFoundError: there is none of that id.
        """
        row = self._control.view.get(LEGAL_HOLD, hold)
        if row is None:
            raise NotFoundError(Code.NOT_FOUND, f"there is no legal hold `{hold[:80]}`")
        return _hold_from(row)

    def _change(self, kind: str, hold: LegalHold, by: Actor) -> Change:
        doc = _hold_doc(hold, nonce=self._ids.secret(16).hex())
        write = Write(LEGAL_HOLD, hold.id, doc)
        return Change(Facts(kind, agent=hold.agent), (write,), by, {"hold": hold.id}, narrowing=hold.open)


def _person(by: Actor) -> PersonId:
    if by.person is None:
        raise ForbiddenError(Code.NOT_AUTHORISED, "a legal hold is placed and lifted by a person")
    return PersonId(by.person)


def _hold_doc(hold: LegalHold, *, nonce: str) -> Mapping[str, Any]:
    return {
        "agent": hold.agent,
        "incident": hold.incident,
        "lifted_by": hold.lifted_by,
        "lifted_us": hold.lifted_us,
        "matter": hold.matter,
        "nonce": nonce,
        "placed_by": hold.placed_by,
        "placed_us": hold.placed_us,
        "since_us": hold.since_us,
        "subject": sorted(hold.subject),
        "until_us": hold.until_us,
        "why_lifted": hold.why_lifted,
    }


def _hold_from(row: Row) -> LegalHold:
    doc = row.doc
    return LegalHold(
        id=row.key,
        matter=doc["matter"],
        agent=None if doc["agent"] is None else AgentId(doc["agent"]),
        subject=frozenset(doc["subject"]),
        incident=doc["incident"],
        since_us=doc["since_us"],
        until_us=doc["until_us"],
        placed_by=PersonId(doc["placed_by"]),
        placed_us=doc["placed_us"],
        lifted_by=None if doc["lifted_by"] is None else PersonId(doc["lifted_by"]),
        lifted_us=doc["lifted_us"],
        why_lifted=doc["why_lifted"],
    )
