"""Advice: whoever enforces elsewhere asks here, and gets the decision that a call would get (DESIGN §3.1).

Who asks is an agent, about itself alone, or a registered enforcement point, about what it was registered for. Each
question is counted against its asker, judged by the same `decide` as every call, and on record before the answer. A
search is judged candidate by candidate and is one record.

What an asker says of an agent beside the arguments is a claim, `context.declared`: facts come from the registry and
from the agent's own token. An enforcement point vouches for nobody, so for it an agent acts for no user and no task.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any, Final

from accredit.approvals.model import Hold
from accredit.approvals.service import Holds
from accredit.audit.ports import AuditLog
from accredit.enforcement.model import Advice, Call
from accredit.enforcement.path import Enforcer
from accredit.enforcement.records import external_entry, search_entry
from accredit.enforcement.snapshot import Snapshot
from accredit.identity.model import Principal
from accredit.identity.points import AskingPoint, EnforcementPoints, is_point_secret
from accredit.kernel.canonical import Digest
from accredit.kernel.clock import Clock, ClockWatch
from accredit.kernel.codes import Code
from accredit.kernel.errors import AttemptsLimitedError, ForbiddenError, UnauthenticatedError, UnavailableError
from accredit.kernel.ids import AgentId, CredentialId, DecisionId, HoldId, IdSource, ServerName, ToolId
from accredit.limits.model import LimitRefusal
from accredit.policy.model import CallRequest, Decision, ExternalName, ExternalRequest, Outcome
from accredit.policy.snapshot import PolicySnapshot
from accredit.registry.model import Agent, Tool

__all__ = ["AGENT", "ANY_TOOL_CALL", "ITEM", "TOOL", "Adviser", "Asker", "Question", "Search", "SearchPage"]

AGENT: Final = "Agent"
"""Type of a subject: an agent, by its id, `environment/name`, or name where the tool tells the environment."""
TOOL: Final = "Tool"
"""Type of a resource: a tool, by its id `server/tool`."""
ITEM: Final = "Item"
"""Type of a resource: a resource, template or prompt of a tool server, by its id; only an agent reads such."""
ANY_TOOL_CALL: Final = "tools/call"
"""The action of calling whatever tool is the resource; a tool's own id is its action too."""
_MOST_JUDGED: Final = 1_000
"""Candidates of one search request: what is left is for the next page."""
_ASKED: Final = "/access/v1"
"""Where a question that was refused was asked, for the record."""
_SHOWN: Final = 120
_AT_A_TIME: Final = 25
"""So many are judged before calls get their turn."""

Asker = Principal | AskingPoint


class Search(StrEnum):
    """What is looked for."""

    SUBJECT = "subject"
    RESOURCE = "resource"
    ACTION = "action"


@dataclass(frozen=True, slots=True)
class Question:
    """May this subject do this to that? In a search, what is looked for is left empty but for its type."""

    subject: ExternalName
    action: str
    resource: ExternalName
    arguments: Mapping[str, Any] = field(default_factory=dict)
    """Properties of the action: of a tool, the arguments of the call."""
    context: Mapping[str, Any] = field(default_factory=dict)
    approval: HoldId | None = None
    """The approval that the asker means to use up by this."""
    signature: str | None = None
    """What the function takes that the asker would run, as it says."""


@dataclass(frozen=True, slots=True)
class SearchPage:
    """Some of what was found, in the order of names."""

    found: tuple[str, ...]
    judged_up_to: str | None
    """The last candidate that was judged, if others are left."""
    decision_id: DecisionId


class Adviser:
    """Answers questions of agents and enforcement points. Used from one event loop."""

    def __init__(
        self,
        enforcer: Enforcer,
        points: EnforcementPoints,
        holds: Holds,
        *,
        audit: AuditLog,
        decide: Callable[[CallRequest | ExternalRequest, PolicySnapshot], Decision],
        attempt: Callable[[CredentialId | None, str], LimitRefusal | None],
        asked: Callable[[AskingPoint], LimitRefusal | None],
        snapshot: Callable[[], Snapshot],
        watch: ClockWatch,
        clock: Clock,
        ids: IdSource,
    ) -> None:
        self._enforcer = enforcer
        self._points = points
        self._holds = holds
        self._audit = audit
        self._decide = decide
        self._attempt = attempt
        self._asked = asked
        self._snapshot = snapshot
        self._watch = watch
        self._clock = clock
        self._ids = ids

    # -- who is asking

    def authenticate(self, authorization: str | None, *, path: str, source: str) -> Asker:
        """The agent or enforcement point behind an `Authorization` header.

        Raises:
            UnauthenticatedError: nobody was proven. The code is for the record; the caller is told one constant text.
        """
        scheme, _, secret = (authorization or "").partition(" ")
        secret = secret.strip()
        if scheme.lower() != "bearer" or not is_point_secret(secret):
            return self._enforcer.authenticate(authorization, path=path, source=source)
        try:
            return self._points.authenticate(secret)
        except UnauthenticatedError as error:
            self.turned_away(error.code, path=path, source=source, credential=error.credential, cause=error.cause)
            raise

    def turned_away(
        self, code: Code, *, path: str, source: str, credential: str | None = None, cause: str = ""
    ) -> None:
        """Note on record that somebody was refused before there was any question."""
        self._enforcer.turned_away(code, path=path, source=source, credential=credential, cause=cause)

    def still_valid(self, asker: Asker) -> bool:
        """Whether who was authenticated a moment ago still counts."""
        if isinstance(asker, Principal):
            return self._enforcer.still_valid(asker) is None
        return self._points.still_valid(asker)

    def count(self, asker: Asker, times: int, *, source: str) -> None:
        """Count so many questions that are about to be asked together: if they are too many, none of them is judged.

        Raises:
            AttemptsLimitedError: it asks too often.
            UnavailableError: it cannot be counted.
        """
        for _ in range(times):
            self._count(asker, source)

    def _count(self, asker: Asker, source: str) -> None:
        limited = self._attempt(asker.credential, source) if isinstance(asker, Principal) else self._asked(asker)
        if limited is not None and limited.code is Code.ATTEMPTS_LIMITED:
            raise AttemptsLimitedError(limited.detail, retry_after_s=limited.retry_after_s)
        if limited is not None:
            raise UnavailableError(limited.code, limited.detail)

    # -- one question

    async def evaluate(self, asker: Asker, question: Question, *, source: str, counted: bool = False) -> Advice:
        """Judge one question; the answer is on record. `counted` says that `count` has counted it.

        Raises:
            ForbiddenError: it is about somebody or something that the asker may not ask about.
            AttemptsLimitedError: it asks too often.
            UnavailableError: the answer could not be put on record.
        """
        if not counted:
            self._count(asker, source)
        with self._noted(asker, question, source):
            call = self._call(asker, question, source)
            if isinstance(call, Call):
                return await self._enforcer.advise(call, approval=question.approval)
            return await self._external(asker, question, call, source)

    @contextmanager
    def _noted(self, asker: Asker, question: Question, source: str) -> Iterator[None]:
        """That somebody asks about what is not theirs is on record: it may be a search for what there is."""
        try:
            yield
        except ForbiddenError as error:
            about = f"{_brief(question.subject)} {question.action[:_SHOWN]} {_brief(question.resource)}"
            cause = f"{error.message}: {about}"
            self.turned_away(error.code, path=_ASKED, source=source, credential=_credential(asker), cause=cause)
            raise

    def request_of(self, asker: Principal, question: Question, *, source: str) -> Digest | None:
        """What an approval of exactly this question would bind to; None if it is about no call there can be.

        Raises:
            ForbiddenError: it is about another agent.
            AttemptsLimitedError: it asks too often.
        """
        self._count(asker, source)
        with self._noted(asker, question, source):
            call = self._call(asker, question, source)
        return self._enforcer.request_of(call) if isinstance(call, Call) else None

    async def ask_approval(self, asker: Asker, question: Question, denied: DecisionId, *, source: str) -> Advice:
        """Judge one question, and where a person has to approve, ask one; an open request for the same is found again.

        `denied` is the advice that said so before, for the record.

        Raises:
            ForbiddenError: the asker is no agent, or asks about another.
            AttemptsLimitedError: it asks too often.
            UnavailableError: the answer could not be put on record.
        """
        self._count(asker, source)
        with self._noted(asker, question, source):
            call = self._call(asker, question, source)
            if not isinstance(asker, Principal) or not isinstance(call, Call):
                # what is approved is bound to user and task, for whom an enforcement point cannot vouch
                raise ForbiddenError(Code.NOT_AUTHORISED, "approvals are asked for by the agent itself")
        return await self._enforcer.advise(replace(call, denied=denied), ask=True)

    def approval(self, asker: Asker, hold: HoldId, *, source: str) -> Hold | None:
        """How what the asker's agent asked for stands; None if there is no such thing for it.

        Raises:
            AttemptsLimitedError: it asks too often.
        """
        self._count(asker, source)
        found = self._holds.get(hold)
        return found if found is not None and isinstance(asker, Principal) and found.agent == asker.agent else None

    def _call(self, asker: Asker, question: Question, source: str) -> Call | Code | None:
        """The call that a question is about; a code if it is about none that there is, None if it is no call at all."""
        subject, resource = question.subject, question.resource
        if isinstance(asker, Principal) and subject.type != AGENT:
            raise ForbiddenError(Code.NOT_AUTHORISED, "an agent may ask about itself alone")
        if subject.type != AGENT and resource.type != TOOL:
            return None
        if subject.type != AGENT or resource.type not in {TOOL, ITEM}:
            return Code.TYPE_UNKNOWN
        snapshot = self._snapshot()
        tool = _tool(snapshot, resource.id)
        agent = _agent(snapshot, subject.id, asker, tool)
        if isinstance(asker, Principal):
            if agent is None or agent.id != asker.agent:
                raise ForbiddenError(Code.NOT_AUTHORISED, "an agent may ask about itself alone")
        elif tool is None or tool.server not in asker.servers:
            raise ForbiddenError(Code.NOT_AUTHORISED, "this enforcement point is not registered for that tool server")
        if agent is None:
            return Code.AGENT_UNKNOWN
        if tool is None or (tool.item is None) is not (resource.type == TOOL):
            return Code.ACTION_UNKNOWN
        if question.action != tool.id and (tool.item is not None or question.action != ANY_TOOL_CALL):
            return Code.ACTION_UNKNOWN
        return _calling(asker, agent, tool, question, source)

    async def _external(self, asker: Asker, question: Question, known: Code | None, source: str) -> Advice:
        snapshot, now = self._snapshot(), self._clock.now()
        point = asker if isinstance(asker, AskingPoint) else None
        if point is not None and known is None and not {question.subject.type, question.resource.type} <= point.types:
            raise ForbiddenError(Code.NOT_AUTHORISED, "this enforcement point is not registered for these types")
        request = ExternalRequest(
            question.subject,
            question.action,
            question.resource,
            question.arguments,
            question.context,
            caller=point.name if point is not None else "",
            time_us=now.wall_us,
            time_trusted=self._watch.steady(now),
        )
        decision = self._judged(request, snapshot) if known is None else Decision(Outcome.DENY, known)
        decision_id = DecisionId(self._ids.new("dec"))
        await self._audit.append(
            external_entry(
                request,
                decision,
                decision_id=decision_id,
                key=point.key if point is not None else _credential(asker),
                source=source,
                control=snapshot.position,
            )
        )
        return Advice(decision_id, decision.outcome, decision.code)

    def _judged(self, request: ExternalRequest, snapshot: Snapshot) -> Decision:
        if not snapshot.policy_proven:
            return Decision(Outcome.DENY, Code.STATE_UNPROVEN)
        return self._decide(request, snapshot.policy)

    # -- searching

    async def search(
        self, asker: Asker, what: Search, question: Question, *, limit: int, after: str | None, source: str
    ) -> SearchPage:
        """What of the kind looked for would be allowed, at most `limit`, beyond `after` in the order of names.

        What the asker may not ask about is not found.

        Raises:
            AttemptsLimitedError: it asks too often.
            UnavailableError: the search could not be put on record.
        """
        self._count(asker, source)
        found: list[str] = []
        judged, latest, last = 0, after, None
        for name in self._candidates(asker, what, question):
            if after is not None and name <= after:
                continue
            if len(found) >= limit or judged >= _MOST_JUDGED:
                last = latest or ""
                break
            if await self._would(asker, _with(question, what, name), source):
                found.append(name)
            judged, latest = judged + 1, name
            if judged % _AT_A_TIME == 0:
                await asyncio.sleep(0)
        decision_id = DecisionId(self._ids.new("dec"))
        point = asker if isinstance(asker, AskingPoint) else None
        await self._audit.append(
            search_entry(
                {
                    "subject": _shown(question.subject),
                    "action": {"name": question.action, "properties": dict(question.arguments)},
                    "resource": _shown(question.resource),
                    "context": dict(question.context),
                    "after": after,
                    "source": source,
                },
                found,
                what=what.value,
                judged=judged,
                agent=asker.agent if isinstance(asker, Principal) else None,
                asked_by=point.name if point is not None else None,
                credential=point.key if point is not None else _credential(asker),
                decision_id=decision_id,
                release=self._snapshot().policy.release.digest,
                time_us=self._clock.now().wall_us,
            )
        )
        return SearchPage(tuple(found), last, decision_id)

    def _candidates(self, asker: Asker, what: Search, question: Question) -> Iterable[str]:
        """All that could be found, sorted."""
        subject, resource, snapshot = question.subject, question.resource, self._snapshot()
        if subject.type == AGENT and resource.type in {TOOL, ITEM}:
            return sorted(self._tool_candidates(asker, what, question, snapshot))
        model = snapshot.policy.release.external
        if not isinstance(asker, AskingPoint) or not {subject.type, resource.type} <= asker.types:
            return ()
        match what:
            case Search.SUBJECT:
                return model.named(subject.type)
            case Search.RESOURCE:
                return model.named(resource.type)
            case Search.ACTION:
                return model.actions

    def _tool_candidates(self, asker: Asker, what: Search, question: Question, snapshot: Snapshot) -> Iterable[str]:
        catalogue = snapshot.catalogue
        if what is Search.RESOURCE:
            agent = _agent(snapshot, question.subject.id, asker, None)
            return [grant.tool for grant in agent.version.grants] if agent is not None else ()
        tool = _tool(snapshot, question.resource.id)
        if tool is None:
            return ()
        if what is Search.ACTION:
            return (tool.id,)
        mine = [catalogue.agent(asker.agent)] if isinstance(asker, Principal) else catalogue.agents()
        return [
            agent.id
            for agent in mine
            if agent is not None and any(grant.tool == tool.id for grant in agent.version.grants)
        ]

    async def _would(self, asker: Asker, question: Question, source: str) -> bool:
        try:
            call = self._call(asker, question, source)
        except ForbiddenError:
            return False
        if isinstance(call, Call):
            return await self._enforcer.foresee(call) is Outcome.ALLOW
        if call is not None or not isinstance(asker, AskingPoint):
            return False
        now = self._clock.now()
        request = ExternalRequest(
            question.subject,
            question.action,
            question.resource,
            question.arguments,
            question.context,
            caller=asker.name,
            time_us=now.wall_us,
            time_trusted=self._watch.steady(now),
        )
        return self._judged(request, self._snapshot()).outcome is Outcome.ALLOW


def _credential(asker: Asker) -> str:
    return asker.credential if isinstance(asker, Principal) else asker.key


def _brief(name: ExternalName) -> str:
    return f"{name.type[:_SHOWN]}:{name.id[:_SHOWN]}"


def _shown(name: ExternalName) -> dict[str, Any]:
    return {"type": name.type, "id": name.id, "properties": dict(name.properties)}


def _with(question: Question, what: Search, name: str) -> Question:
    match what:
        case Search.SUBJECT:
            return replace(question, subject=replace(question.subject, id=name))
        case Search.RESOURCE:
            return replace(question, resource=replace(question.resource, id=name))
        case Search.ACTION:
            return replace(question, action=name)


def _tool(snapshot: Snapshot, tool_id: str) -> Tool | None:
    return snapshot.policy.tools.get(ToolId(tool_id))


def _agent(snapshot: Snapshot, named: str, asker: Asker, tool: Tool | None) -> Agent | None:
    """The agent of that id, `environment/name`, or name in the environment that asker or tool tell."""
    catalogue = snapshot.catalogue
    if (found := catalogue.agent(AgentId(named))) is not None:
        return found
    environment, slash, name = named.partition("/")
    if not slash:
        name, own = named, catalogue.agent(asker.agent) if isinstance(asker, Principal) else None
        server = snapshot.policy.servers.get(tool.server) if tool is not None else None
        environment = own.environment if own is not None else server.environment if server is not None else ""
    return catalogue.agent_named(environment, name)


def _calling(asker: Asker, agent: Agent, tool: Tool, question: Question, source: str) -> Call:
    claims = {
        "context": question.context,
        "resource": question.resource.properties,
        "subject": question.subject.properties,
    }
    principal = asker
    if isinstance(principal, AskingPoint):  # it vouches for nobody whom the agent could act for
        principal = Principal(agent.id, CredentialId(principal.key), epoch=0, expires_us=0, token_digest="")
    return Call(
        principal=principal,
        server=ServerName(tool.server),
        tool=tool.name,
        item=tool.item,
        arguments=question.arguments,
        protocol="authzen/1.0",
        source=source,
        declared={name: dict(value) for name, value in claims.items() if value},
        signature=question.signature,
        asked_by=asker.name if isinstance(asker, AskingPoint) else None,
    )
