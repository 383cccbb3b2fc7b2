"""A fleet, its people and what waits for them, in memory, behind the ports of the console."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import orjson

from accredit.approvals.breakglass import BreakGlass, GlassReview
from accredit.approvals.chat import ChatKind
from accredit.approvals.duties import Barred, Eligible, duty
from accredit.approvals.model import (
    ApprovalRequest,
    ApprovalState,
    Hold,
    HoldGrant,
    HoldState,
    HoldVerdict,
    Obligation,
    Parties,
    RoleNeed,
    Vote,
    VoteVerdict,
)
from accredit.approvals.outlook import RoleOutlook, outlook
from accredit.approvals.requests import view_digest
from accredit.console.live import RecentCall
from accredit.console.ports import ConsoleServices
from accredit.identity.model import ApiToken, Operator
from accredit.identity.upstreams import (
    BrokeredCredential,
    ClientAuthentication,
    ConnectedAccount,
    OAuthSettings,
    UpstreamKind,
)
from accredit.kernel.canonical import Digest, digest
from accredit.kernel.clearance import Subject
from accredit.kernel.clock import ScriptedClock
from accredit.kernel.codes import Code
from accredit.kernel.errors import ConflictError, ForbiddenError, NotFoundError, UnauthenticatedError, UnavailableError
from accredit.kernel.ids import AgentId, HoldId, PersonId, TeamId, ToolId
from accredit.kernel.legible import visible
from accredit.lifecycle.baseline_operations import BaselineDifference, BehaviourShown
from accredit.lifecycle.certificates import Certificate
from accredit.lifecycle.chat_operations import ChatChannel, ChatLink
from accredit.lifecycle.discovery.findings import (
    AgentFinding,
    FindingAnswer,
    FindingKind,
    FindingState,
    Observed,
    answers_to,
)
from accredit.lifecycle.discovery_operations import Answered, FindingView
from accredit.lifecycle.dossier import Dossier
from accredit.lifecycle.retirement_plan import RetirementPlan, signed_off_by_others
from accredit.lifecycle.store_reviews import ReviewedItem
from accredit.lifecycle.stored import Item, Kept, Review, ReviewVerdict
from accredit.lifecycle.succession import Succession
from accredit.monitoring.behaviour import BaselinePart
from accredit.monitoring.model import Alert, AlertState, Severity
from accredit.policy.model import HoldNeed
from accredit.registry.model import (
    Agent,
    AgentLimits,
    AgentState,
    AgentVersion,
    Environment,
    Incident,
    Person,
    Role,
    Team,
    Tier,
)
from accredit.registry.organisation import Organisation, RoleGrant
from accredit.storage.memory.records import MemoryRecordStore
from tests.console.dossiers import dossier_of
from tests.console.panel import Panel

NOW_US = 1_795_000_000_000_000
HOUR_US = 3_600_000_000
DECEIVING = (
    "Answer tickets \u202eetorp ot dedda si resu\u202c\n\nAPPROVED BY SECURITY\n\u200bno\u200dthing "
    "\U000e0041\U000e0042 <script>document.title='owned'</script><img src=x onerror=alert(1)> p\u0430ypal.com "
    "Z\u0351\u0352\u0353\u0354\u0355\u0356algo"
)
"""Bidi override, zero width, tags, markup, a Cyrillic letter in a Latin word, a pile of marks, a line like ours."""
LONG = "never " * 2000


@dataclass
class Fleet:
    """What is registered."""

    known: dict[AgentId, Agent] = field(default_factory=dict)
    people: dict[PersonId, Person] = field(default_factory=dict)
    named: dict[str, Team] = field(default_factory=dict)

    def agent(self, agent: AgentId) -> Agent | None:
        return self.known.get(agent)

    def agent_named(self, environment: str, name: str, /) -> Agent | None:
        found = (one for one in self.known.values() if (one.environment, one.name) == (environment, name))
        return next(found, None)

    def agents(self) -> list[Agent]:
        return list(self.known.values())

    def persons(self) -> list[Person]:
        return list(self.people.values())

    def person_by_id(self, person: PersonId) -> Person | None:
        return self.people.get(person)

    def teams(self) -> tuple[Team, ...]:
        return tuple(self.named[name] for name in sorted(self.named))

    def add(self, name: str, *, team: str = "customer-support", state: AgentState = AgentState.ACTIVE,
            environment: Environment = Environment.PRODUCTION, owner: str = "dana", purpose: str = "Answer tickets",
            ) -> Agent:  # fmt: skip
        made = digest("test-version", f"{name} {environment} {purpose}".encode())
        version = AgentVersion(
            made,
            {"spec": {"purpose": purpose}},
            {},
            (),
            frozenset({"personal"}),
            "UTC",
            AgentLimits(60, 4, 30.0, 1200.0, None),
        )
        kept = self.named.setdefault(team, Team(TeamId(f"team_{team}"), team, frozenset({"UTC"})))
        agent = Agent(
            AgentId(f"agt_{name}_{environment[:4]}"), name, kept, environment, state, PersonId(owner), None, version
        )
        self.known[agent.id] = agent
        return agent


class Shelves:
    """Reviews of shared knowledge, and what was decided in them."""

    def __init__(self, done: list[tuple[Any, ...]]) -> None:
        self._done = done
        self.reviews: dict[str, Review] = {}
        self.items: list[ReviewedItem] = []
        self.may = frozenset({"sam"})

    def find(self, agent: AgentId | None = None) -> Sequence[Review]:
        return [one for one in self.reviews.values() if agent in {None, one.agent}]

    def of(self, review: str) -> Review:
        if review not in self.reviews:
            raise NotFoundError(Code.NOT_FOUND, "there is no such review of a store")
        return self.reviews[review]

    def _require(self, who: Operator) -> None:
        if who.person not in self.may:
            raise ForbiddenError(Code.NOT_AUTHORISED, "you may not review stores")

    async def review_items(
        self, who: Operator, review: str, after: str | None = None
    ) -> tuple[Sequence[ReviewedItem], str | None]:
        self._require(who)
        return self.items, None if after else "further on"

    async def decide(
        self, who: Operator, review: str, item: str, digest: Digest, verdict: ReviewVerdict, to: AgentId | None = None
    ) -> Kept:
        self._require(who)
        self._done.append(("decide", who.person, review, item, digest, verdict, to))
        return Kept(digest, verdict, to, who.person, NOW_US)

    async def decide_clean(self, who: Operator, review: str, verdict: ReviewVerdict) -> Review:
        self._require(who)
        self._done.append(("decide_clean", who.person, review, verdict))
        return self.reviews[review]

    def put(self, agent: AgentId, *texts: str) -> Review:
        """A review with an item for each text; those with an `@` were found to hold an address."""
        made = Review("srv_1", "shelf", "support", agent, "knowledge", "sam", NOW_US, 0, None, None, None, None)
        self.reviews[made.id] = made
        self.items = [
            ReviewedItem(
                Item(f"it-{at}", text, {"agent_id": "x"}), (("email", 1),) if "@" in text else (), True, None, False
            )
            for at, text in enumerate(texts)
        ]
        return made


class Behaviours:
    """How agents are watched, and what is in proposals."""

    def __init__(self) -> None:
        self.shown: dict[AgentId, BehaviourShown] = {}
        self.differs: BaselineDifference | None = None

    def show(self, agent: AgentId) -> BehaviourShown:
        if agent not in self.shown:
            raise NotFoundError(Code.NOT_FOUND, "it has no baseline")
        return self.shown[agent]

    def compare(self, agent: AgentId, before: BaselinePart, after: BaselinePart) -> BaselineDifference:
        assert agent in self.shown
        assert {before, after} <= {"accepted", "proposal"}
        assert self.differs is not None
        return self.differs


class Desk:
    """The services, with everything done noted."""

    def __init__(self) -> None:
        self.clock = ScriptedClock(NOW_US)
        self.fleet = Fleet()
        self.incidents: list[Incident] = []
        self.links: dict[str, PersonId] = {}
        self.sessions: dict[str, PersonId] = {}
        self.touched: list[str] = []
        self.turned: list[Code] = []
        self.asked: dict[str, ApprovalRequest] = {}
        self.views: dict[str, str] = {}
        self.held: dict[HoldId, Hold] = {}
        self.done: list[tuple[Any, ...]] = []
        self.tiers: dict[AgentId, Tier | None] = {}
        self.kept: dict[AgentId, Tier | None] = {}
        self.unproven: set[AgentId] = set()
        self.judging_s = 0.0
        """How long it takes to compute one tier."""
        self.told: list[Alert] = []
        self.found: list[FindingView] = []
        self.successions: list[Succession] = []
        self.broken: list[BreakGlass] = []
        self.accounts: set[str] = set()
        self.called: list[RecentCall] = []
        self.dossier_words = "Read it all"
        self.records = MemoryRecordStore("str_1")
        self.basis = "roles"
        self.shelves = Shelves(self.done)
        self.panel = Panel(self.done, NOW_US)
        self.behaviour = Behaviours()
        self._grants: list[RoleGrant] = []
        self._made = itertools.count(1)
        for name in ("dana", "lee", "sam", "kim", "ada"):
            self.fleet.people[PersonId(name)] = Person(PersonId(name), f"{name}@example.com")
        for name, role in (
            ("sam", Role.SECURITY),
            ("kim", Role.TEAM_LEAD),
            ("ada", Role.ADMIN),
            ("lee", Role.COMPLIANCE),
        ):
            self.grant(name, role)

    # -- making things

    def grant(self, person: str, role: Role) -> None:
        self._grants.append(RoleGrant(f"rg{next(self._made)}", role, person, None, frozenset(), 0))

    def signed_in(self, person: str) -> str:
        secret = f"session-{person}-{next(self._made)}"
        self.sessions[secret] = PersonId(person)
        return secret

    def link(self, person: str) -> str:
        secret = f"accl_{person}_{next(self._made)}"
        self.links[secret] = PersonId(person)
        return secret

    def request(self, agent: Agent, view: Mapping[str, Any], *, tier: Tier = Tier.MEDIUM) -> ApprovalRequest:
        made = f"apr_{next(self._made)}"
        self.views[made] = visible(orjson.dumps(view, option=orjson.OPT_INDENT_2 | orjson.OPT_SORT_KEYS).decode())
        self.asked[made] = ApprovalRequest(
            made,
            Subject("agent-version", agent.version.digest),
            agent.id,
            agent.id,
            agent.team.id,
            tier,
            (
                RoleNeed(Role.TEAM_LEAD, ("autonomy", "data", "tools")),
                RoleNeed(Role.SECURITY, ("data", "models", "tools"), validation=True, comment=True),
            ),
            Parties(agent.owner, frozenset({agent.owner}), frozenset({agent.owner})),
            ApprovalState.OPEN,
            NOW_US - HOUR_US,
            NOW_US + 14 * 24 * HOUR_US,
            "n",
        )
        return self.asked[made]

    def want_assessment(self, request: str) -> None:
        found = self.asked[request]
        needs = tuple(replace(need, assessment=True) for need in found.needs)
        self.asked[request] = replace(found, needs=needs)

    def hold(self, agent: Agent, arguments: Mapping[str, Any], *, role: str = "security") -> Hold:
        made = HoldId(f"hld_{next(self._made)}")
        view = {
            "agent": {"id": agent.id, "name": agent.name},
            "arguments": dict(arguments),
            "tool": {"id": "payments/refund", "effect": "irreversible", "data": ["financial"]},
            "user": {"issuer": "https://id.example.com", "roles": ["customer-support"], "subject": "kim@example.com"},
        }
        text = visible(orjson.dumps(view, option=orjson.OPT_INDENT_2 | orjson.OPT_SORT_KEYS).decode())
        self.held[made] = Hold(
            made,
            agent.id,
            agent.version.digest,
            agent.environment,
            ToolId("payments/refund"),
            Digest("sha256:" + "0" * 64),
            (HoldNeed("org/refunds-0123456789ab", role),),
            HoldState.OPEN,
            NOW_US - 60_000_000,
            NOW_US + 840_000_000,
            {},
            text,
            view_digest(text),
        )
        return self.held[made]

    @property
    def organisation(self) -> Organisation:
        return Organisation(self.fleet.people, {}, tuple(self._grants))

    # -- the ports

    async def open_session(self, link: str, *, source: str) -> str:
        person = self.links.pop(link, None)
        if person is None:
            raise UnauthenticatedError(Code.LINK_INVALID, "the link is unknown, expired or was used")
        return self.signed_in(person)

    def authenticate_session(self, secret: str, *, touch: bool = True) -> Operator:
        person = self.sessions.get(secret)
        if person is None:
            raise UnauthenticatedError(Code.API_TOKEN_UNKNOWN, "the credential was not accepted")
        if touch:
            self.touched.append(secret)
        return Operator(person, f"ses_{secret}", frozenset({"admin", "read"}), self.basis)

    async def close_session(self, operator: Operator) -> None:
        self.sessions.pop(operator.credential.removeprefix("ses_"), None)

    def tokens(self, operator: Operator) -> Sequence[ApiToken]:
        return [
            ApiToken(f"ses_{secret}", person, "console", frozenset({"admin", "read"}), NOW_US, NOW_US + HOUR_US)
            for secret, person in self.sessions.items()
            if person == operator.person
        ]

    async def revoke_token(self, operator: Operator, token_id: str) -> None:
        if token_id.removeprefix("ses_") not in self.sessions:
            raise NotFoundError(Code.NOT_FOUND, "you have no such token")
        self.sessions.pop(token_id.removeprefix("ses_"))

    async def sign_in_link(self, who: Operator, person: PersonId) -> str:
        self.done.append(("sign_in_link", who.person, person))
        return self.link(person)

    async def invite(self, who: Operator, email: str) -> str:
        self.done.append(("invite", who.person, email))
        return self.link("lee")

    async def propose_role(self, who: Operator, role: Role, **given: str | None) -> ApprovalRequest:
        self.done.append(("propose_role", who.person, role, given))
        return self.request(next(iter(self.fleet.known.values())), {"role": role.value})

    def turned_away(
        self, code: Code, *, path: str, source: str, credential: str | None = None, cause: str = ""
    ) -> None:
        self.turned.append(code)

    def get(self, request: str) -> ApprovalRequest | None:
        return self.asked.get(request)

    def find(self, *, agent: AgentId | None = None, state: ApprovalState | None = None) -> Sequence[ApprovalRequest]:
        return [
            one
            for one in self.asked.values()
            if (agent is None or one.agent == agent) and (state is None or one.state is state)
        ]

    def view(self, request: str) -> tuple[str, Digest]:
        return self.views[request], view_digest(self.views[request])

    def outlook(self, request: str) -> Sequence[RoleOutlook]:
        return outlook(self.asked[request], self.organisation, now_us=NOW_US)

    def standing(self, request: str, who: Operator) -> Mapping[Role, Eligible | Barred]:
        found = self.asked[request]
        return {
            need.role: duty(
                self.organisation,
                found.parties,
                who.person,
                need.role,
                found.team,
                opened_us=found.opened_us,
                now_us=NOW_US,
                others=found.votes,
            )
            for need in found.missing
        }

    # -- the operations

    async def vote(
        self,
        who: Operator,
        request: str,
        role: Role,
        verdict: VoteVerdict,
        view_digest: Digest,
        comment: str,
        obligations: Sequence[Obligation] = (),
    ) -> ApprovalRequest:
        found = self.asked[request]
        if isinstance(self.standing(request, who)[role], Barred):
            raise ForbiddenError(Code.NOT_AUTHORISED, f"you may not vote as {role}")
        if view_digest != self.view(request)[1]:
            raise ConflictError(Code.CONFLICT, "what you were shown has changed since", hint="read it again")
        if role is Role.SECURITY and not comment:
            raise ConflictError(Code.CONFLICT, "an approval as security needs a comment", hint="write one")
        cast = Vote(role, who.person, who.credential, verdict, comment, view_digest, view_digest, NOW_US)
        after = replace(found, votes=(*found.votes, cast), obligations=(*found.obligations, *obligations))
        state = ApprovalState.REJECTED if verdict is VoteVerdict.REJECT else after.state
        self.asked[request] = replace(after, state=state if after.missing else ApprovalState.APPROVED)
        self.done.append(("vote", who.person, request, role, verdict, comment))
        return self.asked[request]

    async def withdraw(self, who: Operator, request: str) -> ApprovalRequest:
        self.asked[request] = replace(self.asked[request], state=ApprovalState.WITHDRAWN)
        self.done.append(("withdraw", who.person, request))
        return self.asked[request]

    async def answer_hold(
        self,
        who: Operator,
        hold: HoldId,
        verdict: HoldVerdict,
        *,
        view_digest: Digest,
        reason: str = "",
        role: str | None = None,
    ) -> Hold:
        found = self.held[hold]
        need = found.missing[0]
        grant = HoldGrant(
            "grt_1", need.policy, need.role, who.person, who.credential, "roles", view_digest, reason, NOW_US
        )
        self.held[hold] = replace(found, state=HoldState.GRANTED, grants=(grant,))
        self.done.append(("answer_hold", who.person, hold, verdict, reason))
        return self.held[hold]

    def __getattr__(self, name: str) -> Any:
        if name not in {
            "submit", "activate", "suspend", "resume", "quarantine", "lift", "retire", "assess",
            "acknowledge", "resolve",
        }:  # fmt: skip
            raise AttributeError(name)

        async def noted(who: Operator, *given: Any, **named: Any) -> None:
            self.done.append((name, who.person, *given))

        return noted

    def services(self, public_url: str) -> ConsoleServices:
        holds = _Holds(self)
        return ConsoleServices(
            public_url=public_url,
            clock=self.clock,
            sessions=self,
            operations=self,
            catalogue=lambda: self.fleet,
            organisation=lambda: self.organisation,
            tiers=_Tiers(self),
            dossiers=_Dossiers(self),
            requests=self,
            holds=holds,
            alerts=self,
            accounts=self,
            calls=_Calls(self),
            records=self.records,
            turned_away=self.turned_away,
            findings=_Findings(self),
            store_reviews=self.shelves,
            store_operations=self.shelves,
            successions=lambda: self.successions,
            retirements=_Retirements(self),
            certificates=_Retirements(self),
            incidents=lambda: self.incidents,
            incident_operations=_Incidents(self),
            glasses=_Glasses(self),
            chats=_Chats(self),
            reviews=self.panel,
            review_operations=self.panel,
            behaviour=self.behaviour,
        )

    # -- accounts

    def offered(self) -> Sequence[BrokeredCredential]:
        oauth = OAuthSettings(
            "https://auth.example/token",
            "gateway",
            ClientAuthentication.NONE,
            "crm.read",
            issuer="https://auth.example",
            authorization_endpoint="https://auth.example/authorize",
        )
        return [
            BrokeredCredential(
                "crm-user", "Authorization", "https://crm.example:443", 1, UpstreamKind.OAUTH_USER, "", oauth
            )
        ]

    def connected(self, person: PersonId) -> Sequence[ConnectedAccount]:
        return [ConnectedAccount("crm-user", self.clock.now().wall_us)] if "crm-user" in self.accounts else []

    def connect_account(self, who: Operator, name: str) -> str:
        if name != "crm-user":
            raise NotFoundError(Code.NOT_FOUND, f"there is no credential `{name}` to connect")
        return "https://auth.example/authorize?state=s"

    async def connected_account(self, who: Operator, name: str, answer: Mapping[str, str]) -> ConnectedAccount:
        if answer.get("state") != "s":
            raise ForbiddenError(Code.NOT_AUTHORISED, "it was not asked for here")
        self.accounts.add(name)
        return ConnectedAccount(name, self.clock.now().wall_us)

    async def disconnect_account(self, who: Operator, name: str) -> bool:
        self.accounts.discard(name)
        return True

    def alerts(
        self, *, agent: AgentId | None = None, state: AlertState | None = None, limit: int | None = None
    ) -> Sequence[Alert]:
        return [one for one in self.told if state in {None, one.state}][:limit]


class _Holds:
    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    def get(self, hold: HoldId) -> Hold | None:
        return self._desk.held.get(hold)

    def find(self, *, agent: AgentId | None = None, state: HoldState | None = None) -> Sequence[Hold]:
        return [
            one
            for one in self._desk.held.values()
            if (agent is None or one.agent == agent) and (state is None or one.state is state)
        ]


class _Incidents:
    """Notes what is done about incidents."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    async def open(
        self, who: Operator, agents: Sequence[AgentId], severity: int, what: str, *, linked: Sequence[str] = ()
    ) -> Incident:
        del linked
        made = Incident("inc_new", agents[0], severity, NOW_US, what=what, opened_by=who.person)
        self._desk.incidents.append(made)
        return made

    async def freeze(self, who: Operator, incident: str) -> Incident:
        self._desk.done.append(("freeze", who.person, incident))
        return self._desk.incidents[0]

    async def close(self, who: Operator, incident: str, disposition: str) -> Incident:
        found = self._desk.incidents[0]
        if found.severity == 1 and found.opened_by == who.person:
            raise ForbiddenError(Code.SEPARATION_OF_DUTIES, "another person closes it")
        self._desk.done.append(("close", who.person, incident, disposition))
        return found


class _Retirements:
    """Plans as the dossiers tell them, and no certificate."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    def plan(self, agent_id: AgentId, /) -> RetirementPlan:
        agent = self._desk.fleet.agent(agent_id)
        assert agent is not None
        steps = _Dossiers(self._desk).of(agent_id).plan
        decided = {"agent": {"id": agent_id, "name": agent.name}, "grants": ["crm/read"]}
        return RetirementPlan(
            agent_id, agent.tier, decided, {"holds": []}, steps, signed_off_by_others(agent, agent.tier)
        )

    async def stores(self, agent_id: AgentId, /) -> Sequence[Mapping[str, Any]]:
        del agent_id
        return [
            {"items": 4711, "store": "memory shelf/one", "why": ""},
            {"items": None, "store": "memory down/one", "why": "the shelf is down"},
        ]

    def newest(self, agent: AgentId) -> Certificate | None:
        del agent
        return None


class _Tiers:
    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    def tier_of(self, agent: Agent) -> Tier | None:
        self._desk.clock.advance(self._desk.judging_s)
        if agent.id in self._desk.unproven:
            raise UnavailableError(Code.STATE_UNPROVEN, "a stored agent is not what the audit log proves")
        return self._desk.tiers.get(agent.id, Tier.MEDIUM)

    def kept_tier(self, agent: Agent) -> tuple[Tier | None] | None:
        return (self._desk.kept[agent.id],) if agent.id in self._desk.kept else None


class _Dossiers:
    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    def of(self, agent_id: AgentId) -> Dossier:
        agent = self._desk.fleet.known[agent_id]
        return dossier_of(agent, NOW_US, tier=self._desk.tiers.get(agent_id, Tier.HIGH), words=self._desk.dossier_words)


class _Calls:
    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    def of(self, agent: AgentId, limit: int) -> Sequence[RecentCall]:
        return [one for one in self._desk.called if one.agent == agent][:limit]


class _Chats:
    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    def channels(self) -> Sequence[ChatChannel]:
        return [ChatChannel("slack", ChatKind.SLACK, "slack-key", PersonId("ada"))]

    def links(self, who: Operator) -> Sequence[ChatLink]:
        return [ChatLink("chl_1", "slack", who.person, NOW_US)]

    async def link_code(self, who: Operator, channel: str) -> str:
        self._desk.done.append(("link_code", who.person, channel))
        return "accq_once"

    async def unlink(self, who: Operator, link: str) -> None:
        self._desk.done.append(("unlink", who.person, link))


class _Glasses:
    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    def all(self) -> Sequence[BreakGlass]:
        return self._desk.broken

    def reason(self, id_: str) -> str:
        return f"why {id_}"

    async def confirm(self, who: Operator, id_: str, seen: str) -> BreakGlass:
        self._desk.done.append(("confirm", who.person, id_, seen))
        return self._desk.broken[0]

    async def end(self, who: Operator, id_: str) -> BreakGlass:
        self._desk.done.append(("end", who.person, id_))
        return self._desk.broken[0]


class _Findings:
    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    def open_findings(self, kind: FindingKind | None = None) -> list[AgentFinding]:
        return [one.finding for one in self._desk.found if kind in {None, one.finding.seen.kind}]

    def views(self, findings: Sequence[AgentFinding]) -> list[FindingView]:
        return [one for one in self._desk.found if one.finding in findings]

    async def answer(self, who: Operator, finding_id: str, answer: FindingAnswer, reason: str) -> Answered:
        (found,) = (one.finding for one in self._desk.found if one.finding.id == finding_id)
        if answer not in answers_to(found):
            raise ConflictError(Code.CONFLICT, "it cannot be answered so")
        self._desk.done.append(("answer", who.person, finding_id, answer, reason))
        return Answered(found, "# draft\nkind: Agent\n" if answer is FindingAnswer.REGISTER else "")


def glasses(agent: AgentId, *, words: str = "org/holds.cedar#0") -> list[BreakGlass]:
    """One of each kind, with something in every field."""
    who, other = PersonId("sam"), PersonId("ada")
    made = BreakGlass(
        "bgl_waits", agent, (ToolId("crm/read"),), (words,), who, NOW_US, NOW_US + HOUR_US, "apr_1", second=other,
        minutes=60,
    )  # fmt: skip
    return [
        replace(made, id="bgl_asked", second=None, until_us=NOW_US, request="", review=GlassReview.ASKED),
        made,
        replace(made, id="bgl_overdue", until_us=NOW_US, review=GlassReview.OVERDUE),
        replace(made, id="bgl_upheld", until_us=NOW_US, review=GlassReview.UPHELD),
    ]


def finding_about(agent: Agent | None, kind: FindingKind, *, words: str = "crew") -> FindingView:
    """A finding, with something in every field."""
    evidence = {"command": words, "path": "a/.cursor/mcp.json", "urls": ["https://example.com/mcp"]}
    seen = Observed(kind, f"sub_{kind}", Severity.CRITICAL, words, agent.id if agent else None, "repo", evidence)
    made = AgentFinding(f"fnd_{kind.value}", seen, FindingState.OPEN, NOW_US, NOW_US + HOUR_US)
    return FindingView(
        made, agent, agent.owner if agent else None, Role.SECURITY, (), 5_000_000, ("personal",), answers_to(made)
    )
