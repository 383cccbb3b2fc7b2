"""The path of one call: gather, validate, decide, reserve, record, re-check, forward, settle (DESIGN §3).

    1 attempts        5 gather            9 consume the grants
    2 look up         6 decide           10 record the decision, durably
    3 validate        7 hold             11 re-check, as the body is written
    4 definition      8 reserve          12 settle and record the outcome

The numbers stand where the steps are done. INVARIANT: nothing returns `Admitted` before step 10 is durable, and what
steps 5 and 8 took is given back by whichever later step refuses. A consumed grant stays consumed: a person can be
asked again, but cannot be made to have said yes twice.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain
from typing import Any, Final, assert_never

from accredit.approvals.model import HeldCall, Hold, HoldRefusal, HoldState
from accredit.approvals.requests import request_digest
from accredit.audit.floods import RefusalFlood, UnauthenticatedFlood
from accredit.audit.model import Entry
from accredit.audit.ports import Change
from accredit.enforcement.answering import answers_as, told_as_approved
from accredit.enforcement.delegation import hops_of, served
from accredit.enforcement.model import Admitted, Advice, AskedCall, Call, CallEnd, CallResult, Refused, WeighedCall
from accredit.enforcement.naming import meant_by
from accredit.enforcement.networks import network_of
from accredit.enforcement.passed import PassedCalls
from accredit.enforcement.ports import CallMeasures, CallTracer, Controls
from accredit.enforcement.pseudonyms import Pseudonyms
from accredit.enforcement.reasons import MOST_ASKED, FollowedAnswer, JoinedBy, Listener, PastAnswer, Reasons, WantedCall
from accredit.enforcement.records import (
    Passage,
    advice_entry,
    decision_entry,
    outcome_entry,
    unauthenticated_entry,
)
from accredit.enforcement.sessions import SessionKey, SessionLedger, SessionTurn
from accredit.enforcement.snapshot import Snapshot
from accredit.enforcement.tracing import FinishedCall
from accredit.enforcement.wishes import Wishes
from accredit.identity.enrolment import is_agent_secret
from accredit.identity.model import Principal, Revocation
from accredit.kernel.canonical import Digest
from accredit.kernel.clock import Clock, ClockWatch, Instant
from accredit.kernel.codes import Code
from accredit.kernel.detector import Detector, Sightings
from accredit.kernel.errors import (
    AccreditError,
    ConflictError,
    InvalidInputError,
    NotFoundError,
    UnauthenticatedError,
    UnavailableError,
)
from accredit.kernel.ids import AgentId, DecisionId, HoldId, IdSource, ServerName, ToolId
from accredit.kernel.sealing import Sealer
from accredit.kernel.signatures import signature
from accredit.kernel.strictjson import parse_strict
from accredit.limits.model import LimitRefusal, Share, Spend
from accredit.policy.context import now_facts
from accredit.policy.model import CallRequest, Decision, Hop, Outcome
from accredit.policy.origins import origins, texts
from accredit.policy.ports import VetoAnswer
from accredit.policy.restrictions import daily_cap, forbidden_code, forbidding, throttle
from accredit.policy.snapshot import Slice
from accredit.registry import rows
from accredit.registry.directories import DIRECTORY_KINDS, Entitlements
from accredit.registry.items import ItemKind
from accredit.registry.lifecycle import runs
from accredit.registry.model import Agent, Environment, Restriction, Tier, Tool, ToolGrant, ToolServer

__all__ = ["Enforcer"]

_MOST_LOOKED_AT: Final = 32_768
"""Characters of one result that are searched for secrets and personal data: it is done between calls."""
_MOST_ASKED: Final = 2**20
"""Bytes of the arguments of one call that a model asks for."""
_MOST_PLACES: Final = 10_000
_PLACE_DIGITS: Final = len("hmac-sha256:") + 16
"""Of the fingerprint of a network: enough to tell those of one installation apart."""
_MOST_SIGNATURES: Final = 4_096
_UNSEEN: Final = Sightings({}, whole=False)
"""What is known of a result that could not be looked at."""
_log = logging.getLogger("accredit.enforcement")
_OVER = {
    None: Code.HOLD_UNKNOWN,
    HoldState.DENIED: Code.HOLD_DENIED,
    HoldState.EXPIRED: Code.HOLD_EXPIRED,
    HoldState.USED: Code.GRANT_USED,
}


@dataclass(slots=True)
class _Open:
    """An admitted call that has not been settled."""

    admitted: Admitted
    passage: Passage
    turn: SessionTurn
    cancelled: bool = False
    seen: Sightings | None = None
    """What there is in its result, once that was looked at."""
    wanted: list[WantedCall] = field(default_factory=list)
    """Of a request to a model: the calls that its answer asks for."""


class Enforcer:
    """The one path every call takes. Used from one event loop."""

    def __init__(
        self,
        controls: Controls,
        *,
        snapshot: Callable[[], Snapshot],
        sessions: SessionLedger,
        pseudonyms: Pseudonyms,
        watch: ClockWatch,
        clock: Clock,
        ids: IdSource,
        sealer: Sealer,
        measures: Sequence[CallMeasures] = (),
        tracer: CallTracer | None = None,
    ) -> None:
        self._controls = controls
        self._measures = measures
        self._tracer = tracer
        self._snapshot = snapshot
        self._sessions = sessions
        self._pseudonyms = pseudonyms
        self._refusals = RefusalFlood()
        self._strangers = UnauthenticatedFlood()
        self._watch = watch
        self._clock = clock
        self._ids = ids
        self._sealer = sealer.derive("fingerprints")
        self._detector = Detector(most_text=_MOST_LOOKED_AT)
        self._reasons = Reasons(self._fingerprint)
        self._wishes = Wishes()
        self._places: dict[str, str] = {}
        self._open: dict[DecisionId, _Open] = {}
        self._unawaited: set[asyncio.Future[Any]] = set()
        self._signatures: dict[Digest, tuple[Digest | None]] = {}
        self.passed = PassedCalls()
        self.cancelled = 0
        """How many calls in flight revocations have cancelled."""

    # -- who is calling

    def authenticate(
        self, authorization: str | None, *, path: str, source: str, api_key: str | None = None
    ) -> Principal:
        """The verified agent behind an `Authorization` header.

        `api_key` is for protocols whose clients send their key in a header of its own (`x-api-key`): an opaque key and
        nothing else, and where both headers are sent, the same one.

        Raises:
            UnauthenticatedError: nobody was proven. The code is for the record; the caller is told one constant text.
        """
        scheme, _, token = (authorization or "").partition(" ")
        # what is no bearer token at all is an empty one: the verifier says so
        token = token.strip() if scheme.lower() == "bearer" else ""
        try:
            if api_key is not None:
                token = _one_key(token if authorization is not None else api_key, api_key)
            return self._controls.verifier.verify(token, path=path)
        except UnauthenticatedError as error:
            # not counted as an attempt: a signed token cannot be guessed, and whoever shares the address (all do behind
            # one proxy) would be kept from signing in and from new tokens by anybody's junk
            self.turned_away(error.code, path=path, source=source, credential=error.credential, cause=error.cause)
            raise

    def turned_away(
        self, code: Code, *, path: str, source: str, credential: str | None = None, cause: str = ""
    ) -> None:
        """Note that somebody was refused before any call: at a door of the gateway, the token endpoint or the API.

        The first of a source and reason in a minute is a record, the others are counted; so is the first of each
        `credential` that was proven. `cause` is kept sealed.
        """
        now = self._clock.now()
        if self._strangers.admit(now, source, code, credential=credential):
            self._append(
                unauthenticated_entry(
                    code, time_us=now.wall_us, source=source, path=path, credential=credential, cause=cause
                )
            )

    def still_valid(self, principal: Principal) -> Code | None:
        """Whether what was authenticated a moment ago still stands; None if so."""
        return self._controls.verifier.still_valid(principal)

    # -- what there is to call

    def server(self, name: ServerName) -> ToolServer:
        """The tool server of that name.

        Raises:
            NotFoundError: `server_unknown`.
            UnavailableError: `state_unproven`: the log contradicts what is stored of it.
        """
        snapshot = self._snapshot()
        found = snapshot.catalogue.server(name)
        if found is None and ("server", name) in snapshot.unproven:
            raise UnavailableError(Code.STATE_UNPROVEN, f"what is stored of tool server `{name[:63]}` is not proven")
        if found is None:
            raise NotFoundError(Code.SERVER_UNKNOWN, f"no tool server is called `{name[:63]}`")
        return found

    def servers(self, principal: Principal) -> Mapping[ServerName, ToolServer]:
        """Every tool server of the agent's environment, by name."""
        catalogue = self._snapshot().catalogue
        agent = catalogue.agent(principal.agent)
        if agent is None:
            return {}
        return {one.name: one for one in catalogue.servers() if one.environment is agent.environment}

    def visible(self, principal: Principal, server: ServerName, item: ItemKind | None = None) -> tuple[Tool, ...]:
        """The tools, or items of a kind, to list for this agent (DESIGN §3.16), with their pinned definitions.

        Raises:
            NotFoundError: no such server.
        """
        snapshot, offered = self._snapshot(), self.server(server)
        agent = snapshot.catalogue.agent(principal.agent)
        if agent is None:
            return ()
        now = self._clock.now()
        steady = self._watch.steady(now)
        restrictions = snapshot.restrictions_on(agent.id, now_us=now.wall_us, time_trusted=steady)
        restrictions = (*restrictions, *snapshot.lost_for(principal, agent.id))
        return tuple(
            _as_answered(agent, tool)
            for tool in offered.tools.values()
            if tool.item is item
            and self._controls.listed(agent, tool.id, snapshot.policy)
            and not (restrictions and forbidding(restrictions, tool))
            and _handed_on(principal, tool, snapshot)
            and not any(
                forbidding(snapshot.restrictions_on(one.agent, now_us=now.wall_us, time_trusted=steady), tool)
                for one in principal.delegators
            )
        )

    def granted(self, principal: Principal, tool: Tool) -> bool:
        """Whether the agent's version grants a tool at all: of any other nothing is told, not even its arguments."""
        snapshot = self._snapshot()
        agent = snapshot.catalogue.agent(principal.agent)
        return agent is not None and _grant_of(agent, tool) is not None and _handed_on(principal, tool, snapshot)

    # -- the call

    async def admit(self, call: Call) -> Admitted | Refused:
        """Decide, reserve and record one call; `Admitted` means the record is durable."""
        now, snapshot = self._clock.now(), self._snapshot()
        passage = self._passage(call, snapshot, now)
        if self._tracer is not None and call.sampled:
            passage.span = self._tracer.began(call.span)
        try:
            answer = await self._pass(passage, snapshot, now)
        except AccreditError as error:
            # where a person connects an account depends on the installation; no other hint of an error is for the agent
            detail = error.hint if error.code is Code.UPSTREAM_NOT_CONNECTED else ""
            answer = await self._refuse(passage, error.code, detail=detail)
        except Exception:  # noqa: BLE001 - a boundary: a control that fails in any way has not said yes
            _log.exception("deciding on call %s failed", passage.decision_id)
            answer = await self._refuse(passage, Code.INTERNAL)
        took_us = self._clock.now().boot_us - now.boot_us
        code = answer.code if isinstance(answer, Refused) else Code.ALLOWED
        outcome = {Code.ALLOWED: Outcome.ALLOW, Code.HELD: Outcome.HOLD}.get(code, Outcome.DENY)
        for one in self._measures:
            one.decided(call.protocol, outcome, code, took_us)
        passage.decided_us = took_us
        if isinstance(answer, Refused):
            self._trace(passage, outcome, code, took_us)
        return answer

    def _trace(
        self, passage: Passage, outcome: Outcome, code: Code, duration_us: int, ended: CallResult | None = None
    ) -> None:
        if self._tracer is None or passage.span is None:
            return
        self._tracer.finished(
            FinishedCall(
                passage.span,
                passage.decision_id,
                passage.call.protocol,
                passage.agent,
                passage.tool,
                outcome,
                code,
                passage.decision.policies if passage.decision is not None else (),
                passage.time_us,
                passage.decided_us,
                duration_us,
                ended.end if ended is not None else None,
                ended.tokens if ended is not None else None,
            )
        )

    def _passage(self, call: Call, snapshot: Snapshot, now: Instant) -> Passage:
        return Passage(
            call=call,
            decision_id=DecisionId(self._ids.new("dec")),
            time_us=now.wall_us,
            boot_us=now.boot_us,
            control=snapshot.position,
            snapshot=snapshot.digest,
            run=self._fingerprint("run", call.run_label) if call.run_label is not None else None,
            place=self._place(call.source),
        )

    async def _pass(self, passage: Passage, snapshot: Snapshot, now: Instant) -> Admitted | Refused:
        """Take the steps in order. Whatever a control raises ends the call as refused, with all that was taken back."""
        call = passage.call
        # 1 attempts
        if limited := self._controls.spend.attempt(call.principal.credential, call.source):
            return await self._refuse_limited(passage, limited)
        # 2 look up
        self._name_the_served(passage)
        found = self._look_up(passage, snapshot, now)
        if isinstance(found, Code):
            return await self._refuse(passage, found)
        agent, server, tool = found
        if (grant := _grant_of(agent, tool)) is not None:
            passage.mask = grant.mask
            # of a tool that is not granted nothing is told: neither what its schema is nor how its server does
            if call.objection is not None:
                return await self._refuse(passage, call.objection)
            # 3 validate
            fault = self._controls.validate(tool, call.arguments)
            if fault is not None:
                return await self._refuse(passage, fault.code, detail=f"`{fault.path}`: expected {fault.expected}")
            # 4 definition
            changed = await self._controls.definitions.refusal(server.name, tool)
            if changed is not None:
                return await self._refuse(passage, changed)
        # 5 gather
        turn = self._turn(passage, snapshot, tool, now, made=True)
        try:
            answer = await self._judge(passage, snapshot, agent, server, tool, turn, now)
        except BaseException:
            self._sessions.give_back(turn)
            raise
        if isinstance(answer, Refused):
            self._sessions.give_back(turn, denied=answer.code is not Code.HELD)
        else:
            self._open[passage.decision_id] = _Open(answer, passage, turn)
            self.passed.note(call.principal.agent, tool.id, passage.decision_id, call.span)
        return answer

    def _turn(
        self, passage: Passage, snapshot: Snapshot, tool: Tool, now: Instant, *, made: bool = False
    ) -> SessionTurn:
        """Its place in its session; `made`: it is a call, and not the question what one would come to."""
        call = passage.call
        turn = self._sessions.begin(
            SessionKey.of(call.principal),
            credential=call.principal.credential,
            tool=tool.id,
            now=now,
            data=tool.shown(passage.mask),
            cost_nanos=price.nanos if (price := call.cost or tool.price) is not None else 0,
            counters=snapshot.policy.release.config.counters,
            arguments=call.arguments,
            # a request to a model, or the reading of an item, is no act that could be one of a circle
            repeated=made and tool.rates is None and tool.item is None,
        )
        passage.session = str(turn.session["id"])
        passage.repetition = turn.repetition
        return turn

    def _name_the_served(self, passage: Passage) -> None:
        principal, fresh = passage.call.principal, []
        if principal.user is not None:
            passage.user, mapping = self._pseudonyms.of("user", principal.user.key)
            fresh.append(mapping)
        if principal.task is not None:
            passage.task, mapping = self._pseudonyms.of("task", principal.task.key)
            fresh.append(mapping)
        passage.pseudonyms = tuple(mapping for mapping in fresh if mapping is not None)

    def _look_up(self, passage: Passage, snapshot: Snapshot, now: Instant) -> tuple[Agent, ToolServer, Tool] | Code:
        call = passage.call
        if (code := snapshot.unproven_for(call.principal.agent, call.server, call.tool)) is not None:
            return code
        agent = snapshot.catalogue.agent(call.principal.agent)
        if agent is None:
            return Code.AGENT_UNKNOWN
        passage.agent = agent
        if snapshot.user_gone(call.principal):
            return Code.USER_GONE
        hops = hops_of(call.principal, agent, snapshot, now=now, time_trusted=self._watch.steady(now))
        if isinstance(hops, Code):
            return hops
        passage.hops = hops
        if agent.version.expires_us is not None:
            if passage.time_us >= agent.version.expires_us:
                return Code.AGENT_NOT_ACTIVE
            if not self._watch.steady(now):  # a clock set back brings nothing to life again
                return Code.CLOCK_UNCONFIRMED
        if call.server is None:
            passage.unknown_tool = self._fingerprint("tool", call.tool)
            return Code.TOOL_NOT_GRANTED
        server = snapshot.catalogue.server(call.server)
        if server is None:
            return Code.SERVER_UNKNOWN
        tool = _meant(server, call)
        if tool is None:
            passage.unknown_tool = self._fingerprint("tool", call.tool)
            return Code.TOOL_NOT_GRANTED
        passage.tool = tool
        if call.system_texts:
            approved = agent.version.manifest["spec"]["prompt"]["digest"]
            passage.prompt_approved = told_as_approved(call.system_texts, approved)
        passage.reason = self._reason(passage, tool, now)
        return agent, server, tool

    def _reason(self, passage: Passage, tool: Tool, now: Instant) -> FollowedAnswer | None:
        call = passage.call
        if call.reason is not None:
            return FollowedAnswer(call.reason, JoinedBy.ANSWER)
        if tool.item is not None or (tool.rates is not None and not call.results):
            return None
        listener = self._listener(passage, self._sessions.current(SessionKey.of(call.principal), now))
        if tool.rates is not None:
            return self._reasons.of_results(listener, call.results, passage.boot_us)
        return self._reasons.of(
            listener, tool.server, tool.name, tool.id, call.arguments, passage.boot_us, call=call.named_call
        )

    def _listener(self, passage: Passage, session: str | None) -> Listener:
        principal = passage.call.principal
        return Listener(principal.agent, principal.credential, session, passage.user, passage.task)

    async def _judge(
        self,
        passage: Passage,
        snapshot: Snapshot,
        agent: Agent,
        server: ToolServer,
        tool: Tool,
        turn: SessionTurn,
        now: Instant,
    ) -> Admitted | Refused:
        call, holds = passage.call, self._controls.holds
        # what is only completed, or told of, is not read yet: nobody is asked about it, and no approval is used up;
        # nor for what was done already
        asks = call.completes is None and not call.watches and call.resumes is None
        held, request = None, None
        if asks and (holds.any_granted(agent.id) or call.hold is not None):
            held = _held(call, agent, tool, passage.hops, snapshot)
            request = request_digest(held)
        known = {one.id: snapshot.restrictions.get(one.id) for one in (agent, *(hop.caller for hop in passage.hops))}
        # 6 decide
        broken = self._broken(passage, snapshot, agent, tool, now)
        granted = holds.grants_for(request) if request else frozenset[str]()
        decision = await self._decide(passage, snapshot, agent, tool, turn, now, granted | broken)
        match decision.outcome:
            case Outcome.DENY:
                # a task that is closed, or not known to be open, is absent: that is then what was the matter
                lapsed = call.principal.task_out if _wants_task(decision) else None
                # a tool that exists and is not granted reads like one that does not exist
                detail = "" if decision.code is Code.TOOL_NOT_GRANTED else decision.detail
                if passage.absent and decision.code is not Code.TOOL_NOT_GRANTED:
                    missing = ", ".join(f"`{name}` ({code})" for name, code in passage.absent)
                    detail = "; ".join(filter(None, (detail, f"without the facts of {missing}")))
                if passage.withdrawn and _wants_role(decision):
                    roles = ", ".join(f"`{one}`" for one in sorted(passage.withdrawn))
                    detail = "; ".join(filter(None, (detail, f"the directory does not give the user {roles}")))
                return await self._refuse(passage, lapsed or decision.code, detail=detail)
            case Outcome.HOLD:
                if not asks:
                    return await self._refuse(
                        passage, Code.HELD, detail="what is no call or read of its own waits for nobody"
                    )
                # 7 hold
                held = held or _held(call, agent, tool, passage.hops, snapshot)
                return await self._hold(passage, decision, held, request)
            case Outcome.ALLOW:
                if turn.elapsed_us >= agent.version.limits.run_timeout_s * 1_000_000:
                    return await self._refuse(passage, Code.RUN_TIMEOUT)
            case _:
                assert_never(decision.outcome)
        # 8 reserve
        restrictions = passage.request.restrictions if passage.request is not None else ()
        slowed = throttle(restrictions, tool) if restrictions else None
        limits = agent.version.limits
        cap = daily_cap(restrictions, limits.cost_per_day) if restrictions else limits.cost_per_day
        reserved = self._controls.spend.reserve(
            Spend.of(
                agent.id,
                tool,
                limits,
                price=call.cost or tool.price,
                throttle=slowed,
                cap=cap,
                shares=tuple(_share(hop, tool) for hop in passage.hops),
            ),
            now=now,
        )
        if isinstance(reserved, LimitRefusal):
            return await self._refuse_limited(passage, reserved)
        passage.reservation = reserved
        written = False
        try:
            headers = await self._controls.broker.headers(server, call.principal)
            if used := frozenset(decision.lifted) - broken:
                assert request is not None  # noqa: S101 - else nothing was granted
                # 9 consume the grants: last before the record, which carries the reservation
                passage.grants = await self._use_grants(request, used, call)
            # 10 record the decision, durably
            written = True
            await self._record(passage, Outcome.ALLOW, Code.ALLOWED)
        except BaseException as error:
            self._controls.spend.release(reserved)
            if isinstance(error, Exception):
                passage.reservation = None  # what the record of the refusal is to say
            elif written:
                # the caller went away while the record was being written: it may be durable, so it gets its end
                end = CallResult(CallEnd.CANCELLED, Code.CANCELLED, sent=False)
                self._append(
                    outcome_entry(passage, end, time_us=now.wall_us, boot_us=self._clock.now().boot_us, cost_nanos=0)
                )
            raise
        if tool.rates is not None and snapshot.policy.reads_origin:
            self._wishes.told(
                call.principal.credential,
                SessionKey.of(call.principal),
                str(call.arguments.get("user_text", "")),
                passage.boot_us,
            )
        return Admitted(
            decision_id=passage.decision_id,
            call=call,
            tool=tool,
            server=server,
            headers=headers,
            call_timeout_s=agent.version.limits.call_timeout_s,
            run_timeout_s=agent.version.limits.run_timeout_s,
            recheck=lambda: self._recheck(passage, agent, server, tool, known, snapshot.entitlements),
            elicitation=server.elicitation,
            masked=tool.carrying(passage.mask) if passage.mask else passage.mask,
            tool_calls=decision.tool_calls,
            traceparent=passage.span.traceparent if passage.span is not None else None,
        )

    async def _decide(
        self,
        passage: Passage,
        snapshot: Snapshot,
        agent: Agent,
        tool: Tool,
        turn: SessionTurn,
        now: Instant,
        lifted: frozenset[str],
    ) -> Decision:
        """Put together all that a decision may depend on, and make it; both stay in the passage."""
        passage.context = _context(passage.call, agent, turn, snapshot, now)
        passage.withdrawn = snapshot.withdrawn(passage.call.principal)
        if self._controls.facts is not None and passage.call.principal.registrations:
            provided = await self._controls.facts.of(passage.call.principal, snapshot.policy.reads_served)
            passage.absent = provided.absent
            for name, facts in (("user", provided.user), ("task", provided.task)):
                if facts and name in passage.context:
                    # a claim of that name is what it was: no provider has the name of one
                    passage.context[name] = {**facts, **passage.context[name]}
        if snapshot.policy.reads_origin:
            passage.context["origin"], passage.context["source"] = self._origins(passage, tool, turn)
        steady = self._watch.steady(now)
        passage.request = CallRequest(
            agent=agent,
            tool=tool.id,
            context=passage.context,
            lifted=lifted,
            time_trusted=steady,
            restrictions=(
                *snapshot.restrictions_on(agent.id, now_us=now.wall_us, time_trusted=steady),
                *(one for one in snapshot.lost_for(passage.call.principal, agent.id) if one.tool == tool.id),
            ),
            time_us=passage.time_us,
            hops=passage.hops,
        )
        decision = self._controls.decide(passage.request, snapshot.policy)
        if decision.outcome is not Outcome.DENY and self._controls.outside is not None:
            # asked of what would pass alone: what our own policies refuse costs no way out and back
            passage.request = replace(passage.request, outside=await self._asked_outside(passage.request, snapshot))
            decision = self._controls.decide(passage.request, snapshot.policy)
        passage.decision = decision
        return decision

    # -- advice: the same judgement, without a call

    async def advise(self, call: Call, *, approval: HoldId | None = None, ask: bool = False) -> Advice:
        """What a call would come to: on record before the answer, with nothing reserved, counted or forwarded.

        Whether the tool is at its server as pinned, and whether limits have room, only a call finds out. With
        `approval` the caller means to enforce the answer itself: an approval for exactly this call is used up by it.
        With `ask`, a hold is opened where a person has to approve.

        Raises:
            UnavailableError: the answer could not be put on record.
        """
        advice, _ = await self._advised_on_record(call, approval, ask=ask)
        return advice

    async def weigh(self, admitted: Admitted, asked: AskedCall) -> WeighedCall:
        """What a call that a model's answer asks for would come to, before the agent is told of it; on record.

        A name that can mean several tools must be allowed for each of those that the agent was granted. Where a person
        has to approve, one is asked; what was approved before counts, and is used up by the call itself.

        Raises:
            UnavailableError: what it came to could not be put on record.
        """
        principal = admitted.call.principal
        places = {(server.name, tool.name): tool for server in self.servers(principal).values()
                  for tool in server.tools.values() if tool.rates is None}  # fmt: skip
        meant = meant_by(asked.name, places)
        meant = [one for one in meant if self.granted(principal, places[one])] or meant[:1]
        try:
            arguments = parse_strict(asked.arguments.encode("utf-8", "surrogatepass") or b"{}", max_bytes=_MOST_ASKED)
        except InvalidInputError:
            arguments = None
        weighed = WeighedCall()
        for server, tool in meant:
            call = Call(
                principal=principal,
                server=server,
                tool=tool,
                arguments=arguments if isinstance(arguments, dict) else {},
                protocol="llm/answer",
                source=admitted.call.source,
                reason=admitted.decision_id,
                objection=None if isinstance(arguments, dict) else Code.ARGUMENTS_INVALID,
            )
            advice, passage = await self._advised_on_record(call, None, ask=True, foretold=True)
            weighed = replace(weighed, decisions=(*weighed.decisions, advice.decision_id))
            if weighed.code is Code.ALLOWED and not advice.allowed:
                weighed = replace(
                    weighed,
                    code=advice.code,
                    policies=passage.decision.policies if passage.decision is not None else (),
                    hold=advice.hold.id if advice.hold is not None else None,
                )
        return weighed

    async def _advised_on_record(
        self, call: Call, approval: HoldId | None, *, ask: bool, foretold: bool = False
    ) -> tuple[Advice, Passage]:
        now, snapshot = self._clock.now(), self._snapshot()
        passage = self._passage(call, snapshot, now)
        advice = Advice(passage.decision_id, Outcome.DENY, Code.INTERNAL)
        try:
            advice = await self._advised(passage, snapshot, now, approval, ask=ask, foretold=foretold)
        except AccreditError as error:
            advice = replace(advice, code=error.code)
        except Exception:  # noqa: BLE001 - a boundary: a control that fails in any way has not said yes
            _log.exception("advising on call %s failed", passage.decision_id)
        if advice.allowed and passage.decision is not None and passage.decision.tool_calls is not None:
            # whoever asks cannot show that it does with the model's answer what this is allowed for
            advice = replace(advice, outcome=Outcome.DENY, code=Code.FORBIDDEN_BY_POLICY)
        await self._controls.audit.append(advice_entry(passage, advice.outcome.value, advice.code))
        self._pseudonyms.became_durable(passage.pseudonyms)
        return advice, passage

    def request_of(self, call: Call) -> Digest | None:
        """What an approval of exactly this call would bind to; None if agent or tool are not there.

        Raises:
            InvalidInputError: the arguments have no JSON form.
        """
        catalogue = self._snapshot().catalogue
        agent = catalogue.agent(call.principal.agent)
        server = catalogue.server(call.server) if call.server is not None else None
        tool = _meant(server, call) if server is not None else None
        if agent is None or tool is None:
            return None
        chain = tuple(catalogue.agent(one.agent) for one in call.principal.delegators)
        known = tuple(one for one in chain if one is not None)
        if len(known) < len(chain):
            return None
        return request_digest(HeldCall(agent, call.principal, tool, call.arguments, answers=call.answers, chain=known))

    async def foresee(self, call: Call) -> Outcome:
        """What a call would come to, for a search among many: it leaves no record, and arguments may be missing."""
        now, snapshot = self._clock.now(), self._snapshot()
        passage = self._passage(call, snapshot, now)
        try:
            found = self._look_up(passage, snapshot, now)
            if isinstance(found, Code):
                return Outcome.DENY
            agent, _, tool = found
            turn = self._turn(passage, snapshot, tool, now)
            try:
                return (await self._decide(passage, snapshot, agent, tool, turn, now, frozenset())).outcome
            finally:
                self._sessions.give_back(turn)
        except AccreditError:
            return Outcome.DENY

    async def _advised(
        self,
        passage: Passage,
        snapshot: Snapshot,
        now: Instant,
        approval: HoldId | None,
        *,
        ask: bool,
        foretold: bool = False,
    ) -> Advice:
        """Steps 2, 3, 5 and 6 of a call; and 7 or 9 if the caller asks for that.

        `foretold`: the call itself is still to come, so what was approved for it counts and is left for it.
        """
        call, holds = passage.call, self._controls.holds
        self._name_the_served(passage)
        found = self._look_up(passage, snapshot, now)
        if isinstance(found, Code):
            return Advice(passage.decision_id, Outcome.DENY, found)
        agent, _, tool = found
        if (grant := _grant_of(agent, tool)) is not None:
            passage.mask = grant.mask
            if call.objection is not None:
                return Advice(passage.decision_id, Outcome.DENY, call.objection)
            pinned = self._signature(tool) if call.signature is not None else None
            passage.differs = pinned is not None and call.signature != pinned
            if passage.differs and agent.tier is not Tier.LOW:  # of the lowest tier it is a finding
                return Advice(passage.decision_id, Outcome.DENY, Code.DEFINITION_CHANGED)
            if (fault := self._controls.validate(tool, call.arguments)) is not None:
                return Advice(passage.decision_id, Outcome.DENY, fault.code)
        held = _held(call, agent, tool, passage.hops, snapshot)
        request = request_digest(held)
        standing = holds.state(approval, agent.id, request) if approval is not None else None
        counts = standing is HoldState.GRANTED or (foretold and holds.any_granted(agent.id))
        broken = self._broken(passage, snapshot, agent, tool, now)
        lifted = broken | (holds.grants_for(request) if counts else frozenset[str]())
        turn = self._turn(passage, snapshot, tool, now)
        try:
            decision = await self._decide(passage, snapshot, agent, tool, turn, now, lifted)
        finally:
            self._sessions.give_back(turn)
        advice = Advice(passage.decision_id, decision.outcome, decision.code, request=request, standing=standing)
        if decision.outcome is Outcome.ALLOW and (used := frozenset(decision.lifted) - broken):
            if foretold:
                return advice
            passage.grants = await self._use_grants(request, used, call)
        elif decision.outcome is Outcome.HOLD and ask:
            hold = await holds.open(held, decision.needs)
            if isinstance(hold, HoldRefusal):
                return replace(advice, outcome=Outcome.DENY, code=hold.code)
            passage.hold = hold.id
            return replace(advice, hold=hold)
        elif decision.outcome is Outcome.DENY and call.principal.task_out and _wants_task(decision):
            return replace(advice, code=call.principal.task_out)
        return advice

    def _signature(self, tool: Tool) -> Digest | None:
        """What a tool takes, by its pinned definition."""
        known = self._signatures.get(tool.definition_digest)
        if known is None:
            if len(self._signatures) >= _MOST_SIGNATURES:
                self._signatures.clear()
            known = self._signatures[tool.definition_digest] = (signature(tool.definition.get("inputSchema")),)
        return known[0]

    def _origins(self, passage: Passage, tool: Tool, turn: SessionTurn) -> tuple[dict[str, str], dict[str, list[str]]]:
        call = passage.call
        principal, results = call.principal, self._sessions.results(turn)
        # a request to a model is what the user is said to have asked for: it is no source of itself
        wishes = (
            self._wishes.of(principal.credential, SessionKey.of(principal), passage.boot_us)
            if tool.rates is None
            else ()
        )
        schema = tool.definition.get("inputSchema")
        claims = [principal.user.subject, principal.user.claims] if principal.user is not None else []
        claims += [principal.task.id, principal.task.claims] if principal.task is not None else []
        return origins(
            call.arguments,
            schema if isinstance(schema, Mapping) else {},
            verified=texts(claims),
            declared=chain(texts(call.declared), wishes),
            results=results.sources if results is not None else lambda _: frozenset(),
        )

    async def _asked_outside(self, request: CallRequest, snapshot: Snapshot) -> VetoAnswer:
        outside, part = self._controls.outside, snapshot.policy.slice_for(request.agent, request.tool)
        if outside is None or not isinstance(part, Slice):
            return VetoAnswer(fault="not asked")
        try:
            document = snapshot.policy.described(part, request.context)
        except TypeError:
            return VetoAnswer(fault="the call is no JSON")
        return await outside.ask(document)

    def _broken(self, passage: Passage, snapshot: Snapshot, agent: Agent, tool: Tool, now: Instant) -> frozenset[str]:
        """Whose holds do not wait by break-glass: it is one agent's, so nothing of work that was handed on."""
        if passage.hops:
            return frozenset()
        return snapshot.lifted_on(agent.id, tool.id, now_us=now.wall_us, time_trusted=self._watch.steady(now))

    async def _use_grants(self, request: Digest, lifted: frozenset[str], call: Call) -> tuple[str, ...]:
        used = await self._controls.holds.consume(request, sorted(lifted), credential=call.principal.credential)
        if isinstance(used, HoldRefusal):
            raise ConflictError(used.code, used.detail)
        return used

    def _recheck(
        self,
        passage: Passage,
        agent: Agent,
        server: ToolServer,
        tool: Tool,
        known: Mapping[AgentId, tuple[Restriction, ...] | None],
        entitlements: Entitlements,
    ) -> None:
        """11: the gateway runs this as the first statement of writing the request's body."""
        if (code := self._controls.verifier.still_valid(passage.call.principal)) is not None:
            raise UnauthenticatedError(code, "the credential is not valid any more")
        snapshot = self._snapshot()
        place = snapshot.catalogue.server(server.name)
        for one in (agent, *(hop.caller for hop in passage.hops)):
            current = snapshot.catalogue.agent(one.id)
            if current is None or current.state is not one.state:
                halted = Code.AGENT_NOT_ACTIVE if one is agent else Code.DELEGATOR_ENDED
                raise UnavailableError(halted, "the agent's state changed meanwhile")
            if current.version.digest != one.version.digest:
                raise UnavailableError(Code.SNAPSHOT_STALE, "the agent has a new version since the call was decided")
            restricted, before = snapshot.restrictions.get(one.id), known[one.id]
            if restricted is not None and restricted is not before and not set(restricted) <= set(before or ()):
                raise UnavailableError(Code.SNAPSHOT_STALE, "the agent was restricted since the call was decided")
        if snapshot.entitlements is not entitlements:
            principal = passage.call.principal
            if (lost := _lost_now(snapshot, principal, tool)) is not None:
                raise UnavailableError(lost, "a directory took a right away since the call was decided")
            chain = (agent, *(hop.caller for hop in passage.hops))
            behind = {one.tool for each in chain for one in snapshot.entitlements.lost_by(each)}
            if tool.id in behind or snapshot.withdrawn(principal) != passage.withdrawn:
                raise UnavailableError(Code.SNAPSHOT_STALE, "a directory took a right away since the call was decided")
        offered = place.tools.get(tool.name) if place else None
        if place is None or offered is None or offered.definition_digest != tool.definition_digest:
            raise UnavailableError(Code.DEFINITION_CHANGED, "the tool changed meanwhile")
        if offered is not tool and _registered(offered) != _registered(tool):
            raise UnavailableError(Code.SNAPSHOT_STALE, "what is registered of the tool changed meanwhile")
        if place.place != server.place:
            raise UnavailableError(Code.SNAPSHOT_STALE, "the tool server moved since the call was decided")

    async def _hold(self, passage: Passage, decision: Decision, held: HeldCall, request: Digest | None) -> Refused:
        holds, named = self._controls.holds, passage.call.hold
        if named is not None and request is not None:
            standing = holds.state(named, held.agent.id, request)
            if standing not in {HoldState.OPEN, HoldState.GRANTED}:
                # denied, expired, used, or another call's: to ask again, the call is repeated without naming it
                return await self._refuse(passage, _OVER[standing])
        hold = await holds.open(held, decision.needs)
        if isinstance(hold, HoldRefusal):
            return await self._refuse(passage, hold.code, detail=hold.detail)
        passage.hold = hold.id
        return await self._refuse(passage, Code.HELD, hold=hold)

    # -- the end

    def inspect(self, admitted: Admitted, result: Mapping[str, Any]) -> None:
        """Look at a result as the agent would be told it, before it is. Once for each admitted call.

        What of it is neither a class that the tool is registered with nor one that the agent was approved for is on
        record with the outcome; in production, an agent of the highest tier is not told at all, nor of what could not
        be looked at.

        Raises:
            UnavailableError: `result_undeclared`.
        """
        opened = self._open[admitted.decision_id]
        opened.seen = self._seen(result)
        if not self.withholds(admitted):
            return
        if opened.seen is _UNSEEN:
            raise UnavailableError(
                Code.RESULT_UNDECLARED,
                "whether the result holds data this agent was not approved for could not be seen",
                hint="ask the operator: looking at results fails, and the server's log says since when",
            )
        if undeclared := _undeclared(opened):
            raise UnavailableError(
                Code.RESULT_UNDECLARED,
                f"the result holds {', '.join(undeclared)} data, which this agent was not approved for",
                hint=Code.RESULT_UNDECLARED.remedy,
            )

    def withholds(self, admitted: Admitted) -> bool:
        """Whether the agent may be told nothing of a result before all of it was looked at (`inspect`)."""
        agent = self._open[admitted.decision_id].passage.agent
        if agent is None or agent.environment is not Environment.PRODUCTION:
            return False
        return agent.tier not in {Tier.LOW, Tier.MEDIUM}

    def asked(self, admitted: Admitted, calls: Sequence[AskedCall]) -> None:
        """A model's answer, which the agent is about to be told, asks for these calls: they will have it as reason."""
        opened = self._open[admitted.decision_id]
        agent = opened.passage.agent
        wanted = self._reasons.wanted(
            admitted.call.principal.agent, calls, lambda: self._tools_of(agent) if agent is not None else ()
        )
        opened.wanted = [*opened.wanted, *wanted][-MOST_ASKED:]
        listener = self._listener(opened.passage, opened.passage.session)
        self._reasons.told(listener, admitted.decision_id, wanted, self._clock.now().boot_us)

    def recall(self, past: Iterable[PastAnswer], now: Instant) -> None:
        """Take over what models asked for before this process, oldest first."""
        for one in past:
            self._reasons.told(one.listener, one.decision, one.wanted, now.boot_us - (now.wall_us - one.time_us))

    def _tools_of(self, agent: Agent) -> Iterator[tuple[ServerName, str, ToolId]]:
        """The tools that the agent's version grants, which are what a model can ask it for with success."""
        catalogue = self._snapshot().catalogue
        for grant in agent.version.grants:
            tool = catalogue.tool(grant.tool)
            if tool is not None and tool.rates is None and tool.item is None:
                yield tool.server, tool.name, tool.id

    def settle(self, admitted: Admitted, result: CallResult) -> None:
        """12 settle: take back what the call held and record how it ended. Exactly once for each admitted call."""
        opened = self._open.pop(admitted.decision_id)
        passage, now, cost = opened.passage, self._clock.now(), 0
        reservation = passage.reservation
        if reservation is not None and result.sent:
            cost = reservation.cost_nanos if result.cost_nanos is None else result.cost_nanos
            self._controls.spend.settle(reservation, cost)
        elif reservation is not None:
            self._controls.spend.release(reservation)
        if opened.seen is None and result.result is not None:
            opened.seen = self._seen(result.result)
        seen = opened.seen
        if result.sent:
            if seen is not None and seen.counts:
                self._sessions.touch(opened.turn, seen.data_classes)
            if result.result is not None and self._snapshot().policy.reads_origin:
                self._sessions.remember(opened.turn, result.result)
            self._sessions.commit(opened.turn, now, ended_well=result.end is CallEnd.OK)
        else:
            self._sessions.give_back(opened.turn)
        for one in self._measures:
            one.ended(passage.call.protocol, result.end, now.boot_us - passage.boot_us, cost, result.tokens)
            for kind, count in (seen.counts if seen is not None else {}).items():
                one.detected(kind, count)
        self._trace(passage, Outcome.ALLOW, result.code or Code.ALLOWED, now.boot_us - passage.boot_us, result)
        self._append(
            outcome_entry(
                passage,
                result,
                time_us=now.wall_us,
                boot_us=now.boot_us,
                cost_nanos=cost,
                seen=seen,
                undeclared=_undeclared(opened),
                wanted=opened.wanted,
                other_model=self._other_model(admitted.tool, result),
            )
        )

    def _other_model(self, tool: Tool, result: CallResult) -> str | None:
        """Of a request to a model: which one answered, if its provider says that it was another."""
        answered = result.result.get("model") if tool.rates is not None and result.result is not None else None
        if not isinstance(answered, str) or not answered or answers_as(tool.name, answered):
            return None
        return self._fingerprint("model", answered)

    def _seen(self, result: Mapping[str, Any]) -> Sightings:
        """What there is in a result as the agent was told it: without what its grant masks."""
        try:
            return self._detector.count(result)
        except Exception:  # noqa: BLE001 - a boundary: the call has happened, and its outcome must be recorded
            _log.error(
                "looking for secrets and personal data in a result failed"
            )  # without the trace: it could quote it
            return _UNSEEN

    def revoked(self, revocation: Revocation) -> None:
        """Cancel what is in flight under something that was just revoked, each call once."""
        for opened in list(self._open.values()):
            if revocation.ends(opened.admitted.call.principal):
                self._stop(opened, Code.CREDENTIAL_REVOKED)

    def follow(self, change: Change) -> None:
        """Cancel what is in flight of agents that may not run any more, or have lost the tool they are calling.

        To be told of each change after the snapshot has it.
        """
        if not self._open:
            return
        touched = {write.key for write in change.writes if write.kind == rows.AGENT}
        touched |= {write.doc["agent"] for write in change.writes if write.kind == rows.RESTRICTION and write.doc}
        directories = any(write.kind in DIRECTORY_KINDS for write in change.writes)
        if not touched and not directories:
            return
        snapshot = self._snapshot()
        for opened in list(self._open.values()):
            principal = opened.admitted.call.principal
            if directories and (lost := _lost_now(snapshot, principal, opened.admitted.tool)) is not None:
                self._stop(opened, lost)
            elif directories and snapshot.withdrawn(principal) - opened.passage.withdrawn:
                self._stop(opened, Code.USER_ROLE_REQUIRED)
            for agent in (principal.agent, *(one.agent for one in principal.delegators)):
                if (agent in touched or directories) and (
                    code := self._halted(snapshot, agent, opened.admitted.tool)
                ) is not None:
                    self._stop(opened, code)

    def _halted(self, snapshot: Snapshot, agent: AgentId, tool: Tool) -> Code | None:
        found = snapshot.catalogue.agent(agent)
        if found is None or not runs(found.environment, found.state):
            return Code.AGENT_NOT_ACTIVE
        now = self._clock.now()
        restrictions = snapshot.restrictions_on(agent, now_us=now.wall_us, time_trusted=self._watch.steady(now))
        forbidden = forbidding(restrictions, tool)
        return forbidden_code(forbidden) if forbidden else None

    def _stop(self, opened: _Open, code: Code) -> None:
        if opened.cancelled:
            return
        opened.cancelled = True
        self.cancelled += 1
        if opened.admitted.cancel is not None:  # else it is not on its way yet, and the re-check will stop it
            opened.admitted.cancel(code)

    def tick(self, *, closing: bool = False) -> None:
        """Record what floods were counted in minutes that are over. To be called every few seconds."""
        now = self._clock.now()
        for entry in [*self._refusals.due(now, closing=closing), *self._strangers.due(now, closing=closing)]:
            self._append(entry)

    @property
    def in_flight(self) -> int:
        """How many admitted calls are not settled."""
        return len(self._open)

    async def drained(self) -> None:
        """Wait until every record that nobody awaited is durable."""
        while self._unawaited:
            await asyncio.wait(set(self._unawaited))

    # -- records

    async def _record(self, passage: Passage, outcome: Outcome, code: Code) -> None:
        entry, began_us = decision_entry(passage, outcome.value, code), self._clock.now().boot_us
        await self._controls.audit.append(entry)
        self._pseudonyms.became_durable(passage.pseudonyms)
        for one in self._measures:
            one.recorded(self._clock.now().boot_us - began_us)

    def _append(self, entry: Entry) -> None:
        """Write a record that nobody waits for. It cannot hold up a call; that it failed is logged."""
        try:
            pending = asyncio.ensure_future(self._controls.audit.append(entry))
        except AccreditError as error:
            _log.error("a %s record was not written: %s", entry.facts.kind, error.code)
            return
        self._unawaited.add(pending)
        pending.add_done_callback(self._appended)

    def _appended(self, pending: asyncio.Future[Any]) -> None:
        self._unawaited.discard(pending)
        if not pending.cancelled() and (error := pending.exception()) is not None:
            _log.error("a record was not written: %s", error)

    async def _refuse(
        self,
        passage: Passage,
        code: Code,
        *,
        detail: str = "",
        retry_after_s: float | None = None,
        hold: Hold | None = None,
    ) -> Refused:
        outcome = Outcome.HOLD if hold is not None else Outcome.DENY
        tool, decision = passage.tool, passage.decision
        if self._refusals.admit(self._clock.now(), passage.call.principal.agent, tool.id if tool else None, code):
            try:
                await self._record(passage, outcome, code)
            except AccreditError as error:  # it stays refused, and says so for the reason it had
                _log.error("a refusal was not recorded: %s", error.code)
        return Refused(
            code=code,
            message=code.meaning,
            hint=code.remedy,
            decision_id=passage.decision_id,
            policies=decision.policies if decision else (),
            unmet=decision.unmet if decision else (),
            detail=detail,
            retry_after_s=retry_after_s,
            hold=hold.id if hold else None,
            roles=tuple(sorted({need.role for need in decision.needs})) if decision and hold else (),
            expires_us=hold.expires_us if hold else None,
        )

    async def _refuse_limited(self, passage: Passage, limited: LimitRefusal) -> Refused:
        return await self._refuse(
            passage, limited.code, detail=limited.detail, retry_after_s=limited.retry_after_s or None
        )

    def _place(self, source: str) -> str:
        """Keyed fingerprint of the network a call comes from."""
        network = network_of(source)
        found = self._places.get(network)
        if found is None:
            if len(self._places) >= _MOST_PLACES:
                self._places.clear()
            found = self._places[network] = self._fingerprint("place", network)[:_PLACE_DIGITS]
        return found

    def _fingerprint(self, what: str, text: str) -> str:
        return self._sealer.fingerprint(f"{what}\0{text}".encode("utf-8", "surrogatepass"))


def _one_key(token: str, api_key: str) -> str:
    """The opaque key that two headers agree on: two readers of one request must not see two callers."""
    if token != api_key:
        raise UnauthenticatedError(Code.HEADER_MISMATCH, "the caller did not prove who it is", cause="two keys")
    if not is_agent_secret(api_key):
        raise UnauthenticatedError(Code.TOKEN_MALFORMED, "the caller did not prove who it is", cause="no opaque key")
    return api_key


def _meant(server: ToolServer, call: Call) -> Tool | None:
    """What the call names: an item is read and a tool is called, and neither by the name of the other."""
    tool = server.tools.get(call.tool)
    return tool if tool is not None and tool.item is call.item else None


def _grant_of(agent: Agent, tool: Tool) -> ToolGrant | None:
    grant = agent.version.grant(tool.id)
    return grant if grant is not None and grant.model is (tool.rates is not None) else None


def _handed_on(principal: Principal, tool: Tool, snapshot: Snapshot) -> bool:
    """Whether everybody who handed the work on delegates that tool, whatever the call; true if nobody handed it on."""
    callee = principal.agent
    for one in principal.delegators:
        caller = snapshot.catalogue.agent(one.agent)
        if caller is None or caller.version.delegation(callee, tool.id) is None:
            return False
        callee = caller.id
    return True


def _share(hop: Hop, tool: Tool) -> Share:
    """What a call uses up of somebody who handed its work on."""
    caller, slowed = hop.caller, throttle(hop.restrictions, tool) if hop.restrictions else None
    own = caller.version.limits.cost_per_day
    cap = daily_cap(hop.restrictions, own) if hop.restrictions else own
    return Share(caller.id, caller.name, caller.version.limits, slowed, cap)


def _as_answered(agent: Agent, tool: Tool) -> Tool:
    """The tool as it answers this agent: without the schema of its results where a mask makes them another."""
    grant = _grant_of(agent, tool)
    if grant is None or not tool.carrying(grant.mask):
        return tool
    return replace(tool, definition={key: value for key, value in tool.definition.items() if key != "outputSchema"})


def _undeclared(opened: _Open) -> tuple[str, ...]:
    """The data classes in a result that neither its tool is registered with nor the agent was approved for."""
    agent, tool = opened.passage.agent, opened.admitted.tool
    if opened.seen is None or agent is None:
        return ()
    return tuple(sorted(opened.seen.data_classes - tool.shown(opened.passage.mask) - agent.version.data))


def _held(call: Call, agent: Agent, tool: Tool, hops: tuple[Hop, ...], snapshot: Snapshot) -> HeldCall:
    chain = tuple(hop.caller for hop in hops)
    barred = snapshot.barred_for(call.principal, agent, *chain)
    return HeldCall(agent, call.principal, tool, call.arguments, barred=barred, answers=call.answers, chain=chain)


def _lost_now(snapshot: Snapshot, principal: Principal, tool: Tool) -> Code | None:
    """What keeps a call from going on for whom it is made for."""
    if snapshot.user_gone(principal):
        return Code.USER_GONE
    return (
        Code.RIGHT_LOST if any(one.tool == tool.id for one in snapshot.lost_for(principal, principal.agent)) else None
    )


def _wants_task(decision: Decision) -> bool:
    """Whether it is the task that was missing: for the agent's own right, or for what was handed on to it."""
    return decision.code is Code.TASK_MISMATCH or (
        decision.code is Code.DELEGATION_UNMET and any(": sameAs: " in label for label in decision.unmet)
    )


def _wants_role(decision: Decision) -> bool:
    """Whether it is a role of the user's that was missing."""
    return decision.code is Code.USER_ROLE_REQUIRED or any("userRole" in label for label in decision.unmet)


def _registered(tool: Tool) -> tuple[object, ...]:
    return tool.effect, tool.scope, tool.data, tool.fields, tool.price, tool.allow_undeclared


def _context(call: Call, agent: Agent, turn: SessionTurn, snapshot: Snapshot, now: Instant) -> dict[str, Any]:
    """Everything a policy may read, each under the name of who vouches for it (DESIGN §3.6)."""
    context: dict[str, Any] = {
        "input": call.arguments,
        "now": now_facts(now.wall_us, agent.version.zone),
        "session": turn.session,
        "instance": turn.instance,
        **served(call.principal, snapshot),
    }
    if call.declared or call.answers:
        context["declared"] = {**call.declared, "answers": call.answers} if call.answers else call.declared
    return context
