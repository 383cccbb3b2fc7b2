"""Work that one agent hands on to another: how it came to whoever calls, and whether it may be handed on at all.

Handing on is decided and recorded when the token for it is asked for (`Action::"@delegate"` on the other agent), so
that what is refused then never leaves the agent. It is decided again, for the tool and arguments at hand, at every
call that is made of it: a delegation that was taken out of a manifest is worth nothing from that moment.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from accredit.audit.model import Entry, Facts, Part, Usage
from accredit.audit.ports import AuditLog
from accredit.enforcement.pseudonyms import Pseudonyms
from accredit.enforcement.sessions import SessionKey, SessionLedger
from accredit.enforcement.snapshot import Snapshot
from accredit.identity.access import MAX_ACTORS
from accredit.identity.model import Principal
from accredit.kernel.clock import Clock, ClockWatch, Instant
from accredit.kernel.codes import Code
from accredit.kernel.errors import ForbiddenError
from accredit.kernel.ids import AgentId, IdSource, ToolId
from accredit.policy.context import now_facts
from accredit.policy.decide import judge_hop
from accredit.policy.measured import INSTANCE_TYPE, nothing_measured
from accredit.policy.model import CallRequest, Decision, Hop, Outcome
from accredit.policy.recorded import judgement_fact
from accredit.registry.model import Agent

__all__ = ["HandingOn", "hops_of", "served"]

_MAX_NAME = 128


def hops_of(
    principal: Principal, agent: Agent, snapshot: Snapshot, *, now: Instant, time_trusted: bool
) -> tuple[Hop, ...] | Code:
    """How the work came to an agent, the last hop first; or why one of those who handed it on does not count now."""
    hops: list[Hop] = []
    for one in principal.delegators:
        if (code := snapshot.unproven_for(one.agent, None, "")) is not None:
            return code
        caller = snapshot.catalogue.agent(one.agent)
        if caller is None:
            return Code.DELEGATOR_ENDED
        if caller.version.expires_us is not None:
            if now.wall_us >= caller.version.expires_us:
                return Code.DELEGATOR_ENDED
            if not time_trusted:
                return Code.CLOCK_UNCONFIRMED
        restrictions = snapshot.restrictions_on(caller.id, now_us=now.wall_us, time_trusted=time_trusted)
        hops.append(Hop(caller, hops[-1].caller if hops else agent, restrictions))
    return tuple(hops)


def served(principal: Principal, snapshot: Snapshot) -> dict[str, Any]:
    """What a policy may read of who acts, for whom and in which task: all of it verified, none of it said in a call.

    Roles that a directory does not give that user are not among theirs, whatever the token says.
    """
    facts: dict[str, Any] = {"actors": list(principal.actors)}
    if principal.delegators:
        facts["hops"] = len(principal.delegators)
    if principal.user is not None:
        facts["user"] = {
            **principal.user.claims,
            "id": principal.user.subject,
            "roles": sorted(principal.user.roles - snapshot.withdrawn(principal)),
        }
    if principal.task is not None:
        facts["task"] = {**principal.task.claims, "id": principal.task.id}
    return facts


class HandingOn:
    """Implements the identity room's `DelegationGate`."""

    def __init__(
        self,
        audit: AuditLog,
        *,
        snapshot: Callable[[], Snapshot],
        sessions: SessionLedger,
        pseudonyms: Pseudonyms,
        watch: ClockWatch,
        clock: Clock,
        ids: IdSource,
    ) -> None:
        self._audit = audit
        self._snapshot = snapshot
        self._sessions = sessions
        self._pseudonyms = pseudonyms
        self._watch = watch
        self._clock = clock
        self._ids = ids

    async def hand_on(self, principal: Principal, named: str, *, source: str) -> AgentId:
        """The agent that is named, by name or id, if the caller may hand on to it; on record before the answer.

        What a policy holds passes here: a person is asked about each call that is made of it, which says for what.

        Raises:
            ForbiddenError: it may not, with the reason's own code.
            UnavailableError: the decision could not be put on record, or no more sessions are kept.
        """
        now, snapshot = self._clock.now(), self._snapshot()
        caller = snapshot.catalogue.agent(principal.agent)
        callee = _named(snapshot, caller, named)
        context = _context(principal, caller, snapshot, now)
        decided = self._decided(principal, caller, callee, snapshot, context, now)
        await self._record(principal, caller, callee, named, snapshot, decided, context, now, source)
        _, decision = decided
        if decision.outcome is Outcome.DENY or callee is None:
            about = f": {decision.detail}" if decision.detail else ""
            raise ForbiddenError(decision.code, f"{decision.code.meaning}{about}")
        return callee.id

    def _decided(
        self,
        principal: Principal,
        caller: Agent | None,
        callee: Agent | None,
        snapshot: Snapshot,
        context: Mapping[str, Any],
        now: Instant,
    ) -> tuple[CallRequest | None, Decision]:
        """The decision, and what policies were asked; None: it was refused before any was."""
        steady = self._watch.steady(now)

        def refused(code: Code) -> tuple[None, Decision]:
            return None, Decision(Outcome.DENY, code, release=snapshot.policy.release.digest)

        if (code := snapshot.unproven_for(principal.agent, None, "")) is not None:
            return refused(code)
        if caller is None:
            return refused(Code.AGENT_UNKNOWN)
        if snapshot.user_gone(principal):
            return refused(Code.USER_GONE)
        if callee is None:
            return refused(Code.DELEGATION_NOT_GRANTED)
        if callee.id == caller.id or callee.id in principal.actors:
            return refused(Code.DELEGATION_CYCLE)
        if len(principal.actors or (caller.id,)) >= MAX_ACTORS:
            return refused(Code.DELEGATION_DEPTH)
        earlier = hops_of(principal, caller, snapshot, now=now, time_trusted=steady)
        if isinstance(earlier, Code):
            return refused(earlier)
        if caller.version.expires_us is not None and (now.wall_us >= caller.version.expires_us or not steady):
            return refused(Code.AGENT_NOT_ACTIVE if steady else Code.CLOCK_UNCONFIRMED)
        request = CallRequest(caller, ToolId(""), context, time_trusted=steady, time_us=now.wall_us)
        return request, judge_hop(Hop(caller, callee), request, snapshot.policy, handing=True)

    async def _record(
        self,
        principal: Principal,
        caller: Agent | None,
        callee: Agent | None,
        named: str,
        snapshot: Snapshot,
        decided: tuple[CallRequest | None, Decision],
        context: Mapping[str, Any],
        now: Instant,
        source: str,
    ) -> None:
        request, decision = decided
        user = self._pseudonyms.of("user", principal.user.key) if principal.user is not None else (None, None)
        task = self._pseudonyms.of("task", principal.task.key) if principal.task is not None else (None, None)
        fresh = tuple(mapping for _, mapping in (user, task) if mapping is not None)
        passed = decision.outcome is not Outcome.DENY
        session = self._sessions.handed_on(SessionKey.of(principal), now, passed=passed) if caller is not None else None
        entry = Entry(
            facts=Facts(
                "delegation",
                agent=principal.agent,
                version=caller.version.digest if caller is not None else None,
                environment=caller.environment.value if caller is not None else None,
                decision=decision.outcome.value,
                action="enforced",
            ),
            time_us=now.wall_us,
            body={
                "actors": list(principal.actors),
                "callee": callee.id if callee is not None else None,
                "code": decision.code.value,
                "control": snapshot.position,
                "credential": principal.credential,
                "decision_id": self._ids.new("dec"),
                "session": session,
                "snapshot": snapshot.digest,
                "task": task[0],
                "user": user[0],
                **judgement_fact(request, decision),
            },
            parts=(Part("context", context), Part("request", {"named": named[:_MAX_NAME], "source": source})),
            usage=Usage(),
            refused=not passed,
            pseudonyms=fresh,
        )
        await self._audit.append(entry)
        self._pseudonyms.became_durable(fresh)


def _named(snapshot: Snapshot, caller: Agent | None, named: str) -> Agent | None:
    """The agent of that name in the caller's environment, or of that id."""
    if caller is None:
        return None
    return snapshot.catalogue.agent_named(caller.environment, named) or snapshot.catalogue.agent(AgentId(named))


def _context(principal: Principal, caller: Agent | None, snapshot: Snapshot, now: Instant) -> dict[str, Any]:
    """What there is to read before any call: nothing was asked yet, and nothing measured."""
    return {
        **served(principal, snapshot),
        "input": {},
        "origin": {},
        "source": {},
        "session": nothing_measured(snapshot.policy.session),
        "instance": nothing_measured(INSTANCE_TYPE),
        "now": now_facts(now.wall_us, caller.version.zone if caller is not None else "UTC"),
    }
