"""Alerts from opening to resolution: one per agent, kind and matter while it is not resolved.

Rows are the truth. An alert's id follows from what it is about and how many there were of it before, so whoever opens
it again after a crash, or after a record that was late to be durable, opens the same one. How often it was seen is
counted in memory and written now and then, together with the cursor; what was counted is known by the position of the
newest record in it, so no record counts twice.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, Final

from accredit.audit.model import Facts, Part
from accredit.audit.ports import Actor, Change, ControlLog, StateView, Write
from accredit.identity.model import Operator
from accredit.kernel.canonical import digest_value
from accredit.kernel.clock import Clock
from accredit.kernel.codes import Code
from accredit.kernel.errors import ConflictError, InvalidInputError, NotFoundError
from accredit.kernel.ids import AgentId, IdSource
from accredit.monitoring.model import Alert, AlertDisposition, AlertKind, AlertState, Deviation, RemediationKind
from accredit.monitoring.novelty import NOVELTIES
from accredit.monitoring.remedy import Remedy
from accredit.monitoring.rows import ALERT, alert_doc, alert_from
from accredit.registry.model import Environment, RestrictionKind

__all__ = ["Alerts"]

_MANY: Final = 50
_MANY_OF_NOBODY: Final = 500
"""Of what is no agent of ours: each is one that nobody registered."""
_MAX_NOTE: Final = 2_000

_Key = tuple[AgentId | None, AlertKind, str]


class Alerts:
    """Every alert of this installation."""

    def __init__(self, control: ControlLog, ids: IdSource, clock: Clock) -> None:
        self._control = control
        self._ids = ids
        self._clock = clock
        self._alerts: dict[str, Alert] = {}
        self._of: dict[_Key, set[str]] = {}
        self._of_agent: dict[AgentId | None, set[str]] = {}
        self._unremedied: set[str] = set()
        self._counted: set[str] = set()
        """Those whose count is not written yet."""
        for row in control.view.scan(ALERT):
            self._keep(alert_from(row.key, row.doc))
        control.subscribe(self._follow)

    # -- reading

    def get(self, alert: str) -> Alert | None:
        return self._alerts.get(alert)

    def find(
        self, *, agent: AgentId | None = None, state: AlertState | None = None, limit: int | None = None
    ) -> tuple[Alert, ...]:
        """Alerts, newest first."""
        # in one go: it may be asked from a thread
        ids = list(self._alerts if agent is None else self._of_agent.get(agent, ()))
        found = [self._alerts[one] for one in ids if state in {None, self._alerts[one].state}]
        return tuple(sorted(found, key=lambda alert: (-alert.opened_us, alert.id))[:limit])

    def standing(self, agent: AgentId | None, kind: AlertKind, matter: str) -> Alert | None:
        """The alert on that matter: the one not resolved, else the newest."""
        found = [self._alerts[one] for one in self._of.get((agent, kind, matter), ())]
        return max(found, key=lambda alert: (alert.closed_us is None, alert.opened_us), default=None)

    def live(self, agent: AgentId, kind: AlertKind) -> tuple[Alert, ...]:
        """An agent's alerts of a kind that are not resolved, by id."""
        found = (self._alerts[one] for one in sorted(self._of_agent.get(agent, ())))
        return tuple(alert for alert in found if alert.kind is kind and alert.closed_us is None)

    def many(self, agent: AgentId | None, kind: AlertKind) -> bool:
        """Whether an agent has so many alerts of a kind that another would tell nobody anything."""
        most = _MANY if agent is not None else _MANY_OF_NOBODY
        return sum(self._alerts[one].kind is kind for one in self._of_agent.get(agent, ())) >= most

    def unremedied(self) -> tuple[Alert, ...]:
        """Those whose automatic answer was not carried out, oldest first."""
        found = [self._alerts[one] for one in self._unremedied]
        return tuple(sorted(found, key=lambda alert: (alert.opened_us, alert.id)))

    @property
    def uncounted(self) -> int:
        """How many alerts have counts that are not written yet."""
        return len(self._counted)

    # -- what is seen

    def told(self, deviation: Deviation) -> bool:
        """Whether an alert tells of this already; if so it is counted there."""
        standing = self.standing(deviation.agent, deviation.kind, deviation.matter)
        if standing is None:
            return False
        if deviation.kind in NOVELTIES:
            return True
        if standing.closed_us is not None:
            # in a record from before it was resolved, read only after; what is so now is told anew
            return deviation.position is not None and (
                deviation.position <= standing.position or deviation.at_us <= standing.closed_us
            )
        if deviation.position is not None and deviation.position > standing.position:
            self._alerts[standing.id] = replace(
                standing,
                count=standing.count + 1,
                last_us=max(standing.last_us, deviation.at_us),
                position=deviation.position,
            )
            self._counted.add(standing.id)
        return True

    async def open(self, deviation: Deviation, remedy: Remedy, environment: Environment | None) -> None:
        """Open an alert on what no alert tells of.

        Raises:
            UnavailableError: it could not be made durable; opening it again opens the same one.
        """
        restricts = remedy.kind is RemediationKind.RESTRICT
        restriction = remedy.restriction
        if restriction is RestrictionKind.DROP_TOOL and deviation.tool is None:
            restriction = RestrictionKind.READ_ONLY  # it is about no one tool: none of those that act is left
        alert = Alert(
            id=self._id_of(deviation),
            agent=deviation.agent,
            kind=deviation.kind,
            matter=deviation.matter,
            severity=remedy.severity,
            state=AlertState.OPEN,
            evidence=deviation.evidence,
            opened_us=deviation.at_us,
            remediation=remedy.kind,
            remedied=remedy.kind is RemediationKind.NONE,
            last_us=deviation.at_us,
            position=-1 if deviation.position is None else deviation.position,
            restriction=restriction,
            tool=deviation.tool if restricts else None,
            for_s=remedy.for_s,
            calls_per_minute=remedy.calls_per_minute,
            role=remedy.role,
            rehearsed=remedy.rehearsed,
        )
        body = {
            "matter": alert.matter,
            "of": alert.kind.value,
            "record": deviation.position,
            "rehearsed": alert.rehearsed,
            "remediation": alert.remediation.value,
            "severity": alert.severity.value,
        }

        def build(view: StateView) -> Change | None:
            if view.get(ALERT, alert.id) is not None:
                return None
            return self._change(
                "alert.opened", Actor(), alert, body, environment=environment.value if environment else None
            )

        await self._control.transact(build)

    def writes_of_counts(self, limit: int) -> tuple[Write, ...]:
        """Counts that are not written yet; no more of them once the writes are in force."""
        return tuple(self._write(self._alerts[one]) for one in sorted(self._counted)[:limit])

    async def renew(self, alert_id: str, *, at_us: int) -> None:
        """Have the automatic answer of an open alert carried out once more: it is about to end, and nothing is over.

        Raises:
            UnavailableError: it could not be made durable.
        """

        def build(_: StateView) -> Change | None:
            alert = self._found(alert_id)
            if not alert.remedied or alert.state is AlertState.RESOLVED:
                return None
            after = replace(alert, remedied=False, count=alert.count + 1, last_us=at_us)
            return self._change("alert.renewed", Actor(), after, {})

        await self._control.transact(build)

    async def over(self, alert_id: str) -> None:
        """Resolve an alert on what is not so any more; nothing if it is resolved. Its restriction is due to go.

        Raises:
            UnavailableError: it could not be made durable.
        """

        def build(_: StateView) -> Change | None:
            alert = self._found(alert_id)
            if alert.state is AlertState.RESOLVED:
                return None
            now_us = self._clock.now().wall_us
            answered = alert.remediation is not RemediationKind.RESTRICT
            after = replace(alert, state=AlertState.RESOLVED, closed_us=now_us, remedied=answered)
            return self._change("alert.resolved", Actor(), after, {})

        await self._control.transact(build)

    # -- what is done about it

    async def acknowledge(self, alert_id: str, operator: Operator, note: str = "") -> Alert:
        """Say that somebody looks after it.

        Raises:
            NotFoundError: no such alert.
            ConflictError: it is resolved.
            InvalidInputError: the note is too long.
            UnavailableError: it could not be made durable.
        """
        return await self._answer("alert.acknowledged", alert_id, operator, note, AlertState.ACKNOWLEDGED)

    async def resolve(
        self,
        alert_id: str,
        operator: Operator,
        note: str = "",
        *,
        disposition: AlertDisposition | None,
        still_due: Callable[[Alert], bool],
    ) -> Alert:
        """Say that it is over, and what it was. If the same is seen again later, another alert opens.

        Raises:
            ConflictError: it is resolved already, or its automatic answer is `still_due`.
            NotFoundError, InvalidInputError, UnavailableError: as `acknowledge`.
        """
        return await self._answer(
            "alert.resolved", alert_id, operator, note, AlertState.RESOLVED, still_due, disposition
        )

    async def mark_remedied(self, alert_id: str, *, actor: Actor) -> None:
        """Note that the automatic answer was carried out, or has nothing left to act on. Once is enough.

        Raises:
            NotFoundError: no such alert.
            UnavailableError: it could not be made durable.
        """

        def build(_: StateView) -> Change | None:
            alert = self._found(alert_id)
            if alert.remedied:
                return None
            return self._change("alert.remedied", actor, replace(alert, remedied=True), {})

        await self._control.transact(build)

    async def _answer(
        self,
        event: str,
        alert_id: str,
        operator: Operator,
        note: str,
        state: AlertState,
        still_due: Callable[[Alert], bool] = lambda _: False,
        disposition: AlertDisposition | None = None,
    ) -> Alert:
        if len(note) > _MAX_NOTE:
            raise InvalidInputError(Code.BODY_OVERSIZED, f"a note has at most {_MAX_NOTE} characters")

        def build(_: StateView) -> Change:
            alert = self._found(alert_id)
            if alert.state is AlertState.RESOLVED:
                raise ConflictError(Code.CONFLICT, f"alert `{alert_id}` is resolved")
            if still_due(alert):
                raise ConflictError(
                    Code.CONFLICT,
                    f"what answers alert `{alert_id}` by itself ({alert.remediation}) was not carried out yet",
                    hint="repeat in a moment",
                )
            now_us = self._clock.now().wall_us
            closed_us = now_us if state is AlertState.RESOLVED else None
            # what is resolved has nothing due any more: if it is still so, the next alert of it has
            remedied = alert.remedied or state is AlertState.RESOLVED
            after = replace(
                alert,
                state=state,
                by=operator.person,
                note=note,
                closed_us=closed_us,
                remedied=remedied,
                disposition=disposition,
            )
            actor = Actor(person=operator.person, credential=operator.credential, basis=operator.basis)
            body = {} if disposition is None else {"disposition": disposition.value, "of": alert.kind.value}
            return self._change(event, actor, after, body, note=note)

        await self._control.transact(build)
        return self._found(alert_id)

    # -- rows

    def _found(self, alert_id: str) -> Alert:
        found = self._alerts.get(alert_id)
        if found is None:
            raise NotFoundError(Code.NOT_FOUND, f"there is no alert `{alert_id[:80]}`")
        return found

    def _id_of(self, deviation: Deviation) -> str:
        earlier = len(self._of.get((deviation.agent, deviation.kind, deviation.matter), ()))
        while True:
            named = digest_value("alert", [deviation.agent, deviation.kind.value, deviation.matter, earlier])
            alert_id = f"alr_{named.removeprefix('sha256:')[:32]}"
            if (ALERT, alert_id) not in self._control.unproven:
                return alert_id
            earlier += 1  # somebody tampered with that row: what it told is told anew

    def _change(
        self,
        event: str,
        actor: Actor,
        alert: Alert,
        body: dict[str, Any],
        *,
        environment: str | None = None,
        note: str = "",
    ) -> Change:
        return Change(
            Facts(event, agent=alert.agent, environment=environment),
            (self._write(alert),),
            actor,
            {"alert": alert.id, **body},
            (Part("text", {"note": note}),) if note else (),
        )

    def _write(self, alert: Alert) -> Write:
        return Write(ALERT, alert.id, alert_doc(alert, salt=self._ids.new("salt")))

    def _follow(self, change: Change) -> None:
        for write in change.writes:
            if write.kind == ALERT and write.doc is not None:
                self._keep(alert_from(write.key, write.doc))

    def _keep(self, alert: Alert) -> None:
        before = self._alerts.get(alert.id)
        written = alert
        if before is not None:  # counted since the row was made
            alert = replace(
                alert,
                count=max(alert.count, before.count),
                last_us=max(alert.last_us, before.last_us),
                position=max(alert.position, before.position),
            )
        self._alerts[alert.id] = alert
        self._of.setdefault((alert.agent, alert.kind, alert.matter), set()).add(alert.id)
        self._of_agent.setdefault(alert.agent, set()).add(alert.id)
        (self._unremedied.discard if alert.remedied else self._unremedied.add)(alert.id)
        (self._counted.discard if alert == written else self._counted.add)(alert.id)
