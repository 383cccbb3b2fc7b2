"""Findings from opening to their end. Rows are the truth; what is open is known from memory.

A finding's id follows from what it is about and how many there were of it before, so whoever opens it again after a
crash opens the same one.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from dataclasses import replace
from typing import Any, Final

from accredit.audit.model import Facts, Part
from accredit.audit.ports import Actor, Change, ControlLog, StateView, Write
from accredit.kernel.canonical import digest_value
from accredit.kernel.clock import Clock
from accredit.kernel.codes import Code
from accredit.kernel.errors import ConflictError, ForbiddenError, NotFoundError
from accredit.kernel.ids import AgentId, IdSource, PersonId
from accredit.lifecycle.discovery.findings import (
    REGISTER_US,
    AgentFinding,
    FindingAnswer,
    FindingKind,
    FindingState,
    Observed,
    answers_to,
    due_us,
    needs_second_look,
    told_before,
)
from accredit.lifecycle.discovery.rows import FINDING, finding_doc, finding_from

__all__ = ["Findings"]

_MAX_OPEN: Final = 20_000
"""Beyond so many open ones another would tell nobody anything."""


class Findings:
    """Every finding of this installation."""

    def __init__(self, control: ControlLog, ids: IdSource, clock: Clock) -> None:
        self._control = control
        self._ids = ids
        self._clock = clock
        self._all: dict[str, AgentFinding] = {}
        self._of: dict[tuple[FindingKind, str], list[str]] = {}
        self._open: set[str] = set()
        for row in control.view.scan(FINDING):
            self._keep(finding_from(row.key, row.doc))
        control.subscribe(self._follow)

    # -- reading

    def get(self, finding: str) -> AgentFinding | None:
        """The finding of that id."""
        return self._all.get(finding)

    def known(self, finding: str) -> AgentFinding:
        """The same.

        Raises:
            NotFoundError: there is none.
        """
        found = self._all.get(finding)
        if found is None:
            raise NotFoundError(Code.NOT_FOUND, f"there is no finding `{finding[:80]}`", hint="see `finding list`")
        return found

    def find(
        self, *, open_: bool | None = None, kind: FindingKind | None = None, agent: AgentId | None = None
    ) -> tuple[AgentFinding, ...]:
        """Findings, those that are due first."""
        ids = tuple(self._open if open_ else self._all)  # at once: it may be asked from another thread
        found = (self._all[one] for one in ids)
        chosen = [
            one
            for one in found
            if open_ in {None, one.open} and kind in {None, one.seen.kind} and agent in {None, one.seen.agent}
        ]
        return tuple(sorted(chosen, key=lambda one: (one.due_us, one.id)))

    def standing(self, observed: Observed) -> AgentFinding | None:
        """The finding that speaks for something observed; None: a new one has to be opened."""
        ids = self._of.get(observed.key)
        if not ids:
            return None
        newest = self._all[ids[-1]]
        return newest if told_before(newest, observed, self._clock.now().wall_us) else None

    # -- opening and ending

    async def open_finding(self, observed: Observed) -> AgentFinding | None:
        """The finding that tells of what is observed, opened if there is none. None: there are too many open ones.

        Raises:
            UnavailableError: it could not be made durable; opening it again opens the same one.
        """
        before = self.standing(observed)
        if before is not None:
            return before
        if len(self._open) >= _MAX_OPEN:
            return None
        now_us = self._clock.now().wall_us
        made = AgentFinding(self._id_of(observed), observed, FindingState.OPEN, now_us, due_us(observed, now_us))

        def build(view: StateView) -> Change | None:
            if view.get(FINDING, made.id) is not None:
                return None
            return self._change("finding.opened", Actor(basis="system"), made)

        await self._control.transact(build)
        return self._all[made.id]

    async def over(self, finding: str) -> None:
        """End a finding of what is not so any more; nothing if it is ended.

        Raises:
            UnavailableError: it could not be made durable.
        """

        def build(_: StateView) -> Change | None:
            now = self._clock.now().wall_us
            found = self._all[finding]
            if not found.open:
                return None
            return self._change(
                "finding.over", Actor(basis="system"), replace(found, state=FindingState.OVER, closed_us=now)
            )

        await self._control.transact(build)

    def no_more(self, source: str, kinds: Collection[FindingKind], seen: Iterable[Observed]) -> list[str]:
        """Open findings of a source that it does not observe any more."""
        still = {one.key for one in seen}
        found = (self._all[one] for one in sorted(self._open))
        return [
            one.id
            for one in found
            if one.seen.source == source and one.seen.kind in kinds and one.seen.key not in still
        ]

    def overdue(self, now_us: int) -> list[AgentFinding]:
        """Open findings whose deadline passed, the oldest first."""
        found = (self._all[one] for one in self._open)
        return sorted((one for one in found if now_us >= one.due_us), key=lambda one: (one.due_us, one.id))

    async def escalated(self, finding: str) -> None:
        """Note that people were told of a deadline that passed; once is enough.

        Raises:
            UnavailableError: it could not be made durable.
        """

        def build(_: StateView) -> Change | None:
            found = self._all[finding]
            if not found.open or found.escalated_us is not None:
                return None
            return self._change(
                "finding.escalated", Actor(basis="system"), replace(found, escalated_us=self._clock.now().wall_us)
            )

        await self._control.transact(build)

    # -- answering

    async def answered(
        self, finding: str, answer: FindingAnswer, actor: Actor, reason: str, *, second_by: Callable[[PersonId], bool]
    ) -> AgentFinding:
        """Put an answer on record. What it asks for was done before.

        `second_by` says whether somebody may take the second look at what another dismissed.

        Raises:
            NotFoundError: no such finding.
            ConflictError: it is over, or cannot be answered so.
            ForbiddenError: `separation_of_duties`: somebody else has to take the second look.
            UnavailableError: it could not be made durable.
        """
        assert actor.person is not None  # noqa: S101 - people answer
        person = PersonId(actor.person)

        def build(_: StateView) -> Change:
            after = self._after(self.known(finding), answer, person, reason, second_by)
            return self._change("finding.answered", actor, after, reason=reason)

        await self._control.transact(build)
        return self._all[finding]

    def check(
        self, finding: AgentFinding, answer: FindingAnswer, person: PersonId, second_by: Callable[[PersonId], bool]
    ) -> None:
        """Check that an answer can be given, before anything is done. Raises as `answered`."""
        self._after(finding, answer, person, "", second_by)

    def _after(
        self,
        found: AgentFinding,
        answer: FindingAnswer,
        person: PersonId,
        reason: str,
        second_by: Callable[[PersonId], bool],
    ) -> AgentFinding:
        possible = answers_to(found)
        if not found.open:
            raise ConflictError(Code.CONFLICT, f"finding `{found.id}` is over")
        if answer not in possible:
            raise ConflictError(
                Code.CONFLICT, f"finding `{found.id}` cannot be answered so", hint=f"answer {', '.join(possible)}"
            )
        now_us = self._clock.now().wall_us
        given = replace(found, answer=answer, by=person, reason=reason, answered_us=now_us)
        if answer is not FindingAnswer.DISMISS:
            due = max(found.due_us, now_us + REGISTER_US) if answer is FindingAnswer.REGISTER else found.due_us
            once = found.answer is FindingAnswer.REGISTER  # whoever says it again gets no more time
            return replace(given, state=FindingState.ANSWERED, due_us=found.due_us if once else due)
        if found.state is FindingState.SECOND_LOOK:
            if person == found.by or not second_by(person):
                raise ForbiddenError(
                    Code.SEPARATION_OF_DUTIES, "somebody of security who did not dismiss it has to look at it as well",
                    hint="ask somebody else, or answer it otherwise",
                )  # fmt: skip
            return replace(
                found, state=FindingState.DISMISSED, second=person, reason=reason or found.reason, closed_us=now_us
            )
        if needs_second_look(found.seen):
            return replace(given, state=FindingState.SECOND_LOOK)
        return replace(given, state=FindingState.DISMISSED, closed_us=now_us)

    # -- rows

    def _id_of(self, observed: Observed) -> str:
        earlier = len(self._of.get(observed.key, ()))
        while True:
            named = digest_value("finding", [observed.kind.value, observed.subject, earlier])
            finding = f"fnd_{named.removeprefix('sha256:')[:32]}"
            if (FINDING, finding) not in self._control.unproven:
                return finding
            earlier += 1  # somebody tampered with that row: what it told is told anew

    def _change(self, event: str, actor: Actor, after: AgentFinding, *, reason: str = "") -> Change:
        body: dict[str, Any] = {
            "answer": after.answer.value if after.answer else None,
            "due_us": after.due_us,
            "finding": after.id,
            "of": after.seen.kind.value,
            "severity": after.seen.severity.value,
            "state": after.state.value,
        }
        write = Write(FINDING, after.id, finding_doc(after, salt=self._ids.new("salt")))
        parts = (Part("text", {"reason": reason}),) if reason else ()
        return Change(Facts(event, agent=after.seen.agent), (write,), actor, body, parts)

    def _follow(self, change: Change) -> None:
        for write in change.writes:
            if write.kind == FINDING and write.doc is not None:
                self._keep(finding_from(write.key, write.doc))

    def _keep(self, one: AgentFinding) -> None:
        if one.id not in self._all:
            ids = self._of.setdefault(one.seen.key, [])
            ids.append(one.id)
            ids.sort(key=lambda each: one.opened_us if each == one.id else self._all[each].opened_us)
        self._all[one.id] = one
        (self._open.add if one.open else self._open.discard)(one.id)
