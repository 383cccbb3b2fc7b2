"""Recorded calls judged again: by what was in force then, to prove it, or by a candidate, to see what it would change.

Enforcement and replay share `decide`. A question is put to it once: calls whose slice reads equal facts are one, and a
call whose slice is the same under the candidate needs no second answer. Nor does one that none of the policies in which
the two slices differ speaks of: the others are met as they were. What was only asked is judged again as well,
questions of other applications included, but is no use of a permission and part of no run. Tallies of parts of the log
add up to the tally of the whole in any order.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Hashable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from functools import lru_cache
from typing import Any, Final, Protocol

import orjson
from msgspec import UNSET

from accredit.kernel.canonical import Digest, digest
from accredit.kernel.codes import Code
from accredit.kernel.errors import InvalidInputError, UnavailableError
from accredit.kernel.ids import ToolId
from accredit.policy.context import LooksAt
from accredit.policy.decide import decide, judge_hop
from accredit.policy.entities import DELEGATE
from accredit.policy.model import CallRequest, Decision, ExternalRequest, Hop, Outcome
from accredit.policy.ports import EngineOutcome
from accredit.policy.recorded import Judgement, RecordedBody, RecordedHead, answer_fact, differing
from accredit.policy.release import Release
from accredit.policy.snapshot import Compiled, Inadmissible, PolicySnapshot, Slice
from accredit.registry.model import Agent, AgentVersion

__all__ = [
    "CallChange",
    "Divergence",
    "PastHandover",
    "PastJudgement",
    "PastQuestion",
    "Replayed",
    "Reproduced",
    "RunSeen",
    "Unrepeatable",
    "replay",
    "reproduce",
]

_PAIRS: Final = 20_000
_REMEMBERED: Final = 200_000
_EXAMPLES: Final = 20
_LONGEST: Final = 300
FAILING: Final[frozenset[str]] = frozenset(
    code.value
    for code in (
        Code.POLICY_ERROR,
        Code.UNENCODABLE_INPUT,
        Code.NO_DECISION,
        Code.ENGINE_FAILED,
        Code.ENTITY_INCOMPLETE,
    )
)
"""Denials that are no policy's word but a failure to judge."""
_UNSURE: Final = FAILING | {Code.CLOCK_UNCONFIRMED.value, Code.RESERVED_KEY.value}
"""What was decided before all policies in scope were asked, or in spite of them."""


class Unrepeatable(StrEnum):
    """Why a recorded decision cannot be made again as it was."""

    CUT = "cut"
    """Its facts were not kept whole: a refused call keeps at most 4 KB."""
    ERASED = "erased"
    OLDER = "older-schema"
    """An older version of this product recorded it, and did not keep all it takes."""
    STATE = "state-unknown"
    """The control state it was made in is not what the log still tells."""
    UNOPENED = "not-opened"
    """Its facts do not open: wrong key, or changed bytes."""


class PastJudgement(Protocol):
    """One recorded decision, as whoever reads the log hands it in."""

    seq: int
    header: RecordedHead
    stated: RecordedBody
    agent: Agent | None
    """The agent as it was; None if state does not tell."""

    @property
    def judgement(self) -> Judgement | None:
        """None: no policy was asked, or (see `why`) the record does not say."""
        ...

    @property
    def body(self) -> Mapping[str, Any]:
        """All that the record's body states."""
        ...

    @property
    def why(self) -> Unrepeatable | None:
        """Why it cannot be judged again as it was; None if it can, or was not judged at all."""
        ...

    @property
    def policy(self) -> PolicySnapshot | None:
        """Release and catalogue it was judged by."""
        ...

    def facts(self, looks_at: LooksAt | None = None, *, clean: bool = False) -> Mapping[str, Any] | None:
        """The context that was judged; or, if that is enough, no more of it than is looked at.

        None: in what would be left out, a reserved key may stand; unless it is known to be `clean`, for it was judged
        by policies. Raises InvalidInputError if it does not open.
        """
        ...

    def texts(self, looks_at: LooksAt) -> Hashable:
        """What is looked at of that context as it was recorded: equal texts are equal facts.

        Raises as `facts`, and if they were not kept whole.
        """
        ...

    def request(self, facts: Mapping[str, Any] | None = None) -> CallRequest:
        """The very request; `facts` if its context was read before. Raises as `facts`."""
        ...


@dataclass(frozen=True, slots=True)
class PastQuestion:
    """One recorded question about other applications' types, as whoever reads the log hands it in."""

    seq: int
    header: RecordedHead
    body: Mapping[str, Any]
    """All that the record's body states."""
    policy: PolicySnapshot | None
    """What it was judged by."""
    why: Unrepeatable | None
    """Why it cannot be judged again as it was; None if it can, or was not judged at all."""
    opened: Callable[[], ExternalRequest]
    """The very request. Raises InvalidInputError if it does not open."""

    @property
    def judged(self) -> bool:
        """Whether policies were asked at all."""
        return self.body["release"] is not None


@dataclass(frozen=True, slots=True)
class PastHandover:
    """One recorded decision on handing work on, as whoever reads the log hands it in."""

    seq: int
    header: RecordedHead
    stated: RecordedBody
    body: Mapping[str, Any]
    """All that the record's body states."""
    hop: Hop | None
    """Both agents as they were; None if state does not tell."""
    policy: PolicySnapshot | None
    """What it was judged by."""
    why: Unrepeatable | None
    """Why it cannot be judged again as it was; None if it can, or was not judged at all."""
    opened: Callable[[], CallRequest]
    """The very request. Raises InvalidInputError if it does not open."""

    @property
    def judgement(self) -> Judgement | None:
        """None: no policy was asked, or (see `why`) the record does not say."""
        return self.stated.judged if isinstance(self.stated.judged, Judgement) else None

    @property
    def judged(self) -> bool:
        """Whether policies were asked at all."""
        return self.judgement is not None

    @property
    def operation(self) -> str:
        """What it is called where a call would name its tool."""
        return f"{DELEGATE} {self.body['callee']}"


# -- asking once


@dataclass(slots=True)
class _Use:
    """How many calls of one agent to one tool went through, and would."""

    used: int = 0
    usable: int = 0


class _Pair:
    """Calls of one agent to one tool under one snapshot."""

    __slots__ = (
        "agent",
        "alone",
        "answers",
        "changed",
        "looks_at",
        "measured",
        "part",
        "policy",
        "projection",
        "refused",
        "use",
    )

    def __init__(self, agent: Agent, tool: str, policy: PolicySnapshot, measured: _Measured, use: _Use) -> None:
        self.agent, self.policy, self.use = agent, policy, use
        self.answers: dict[Any, Decision] = {}
        self.part: Slice | None = None
        self.refused = False
        """Whether no policy is asked at all, whatever the call."""
        self.measured: tuple[tuple[str, ...], ...] = ()
        self.changed: _Changed | None = None
        """What is not as it was when the calls were judged; None: not looked at yet."""
        self.alone = policy.vetoes
        """Whether every call is a question of its own: a second engine, or the tool's mapping, may read all of it."""
        try:
            part = policy.slice_for(agent, ToolId(tool))
            if isinstance(part, Inadmissible):
                self.refused = True
                return
            self.projection = policy.compiled(part).projection
            self.alone = self.alone or part.mapping is not None
        except (InvalidInputError, UnavailableError):
            return  # `decide` says it in its own way
        self.part, self.looks_at = part, self.projection.looks_at
        self.measured = measured.of(part)

    def asked(self, request: CallRequest) -> CallRequest:
        """The request as this agent's: of another version, if it is judged by one."""
        return request if request.agent is self.agent else replace(request, agent=self.agent)


class _Changed:
    """The policies in which a slice differs from what calls were judged by."""

    __slots__ = ("answers", "before", "compiled", "looks_at", "same")

    def __init__(self, before: Slice | None, part: Slice, base: PolicySnapshot, policy: PolicySnapshot) -> None:
        self.before = before.digest if before is not None else None
        self.same: Any = None
        """Where this is equal, so are the answers to equal facts."""
        self.answers: dict[Hashable, bool] = {}
        """Whether none of them is met, by the facts they look at; shared by all that are the same."""
        self.compiled: Compiled | None = None
        self.looks_at: LooksAt | None = None
        if before is None or base.vetoes:  # a second engine had its say in what came out
            return
        old, new = ({(one.id, one.observed_until_us): one for one in each.policies} for each in (before, part))
        found = [each[key] for each in (old, new) for key in each if key not in (new if each is old else old)]
        try:
            self.compiled = policy.alone(part, found)
        except UnavailableError:
            return  # every call is judged whole
        self.looks_at = self.compiled.projection.looks_at
        # being in scope they ask no more of the three entities than their conditions do
        entities = part.entity_digests.values() if any(one.asks_entities for one in found) else ()
        bodies = sorted(one.body for one in found)
        self.same = (policy.release.digest, part.tool.definition_digest, *bodies, *entities)


class _Measured:
    """Which facts that we measure the policies of a slice read: older records may not have them."""

    def __init__(self) -> None:
        self._known: dict[Digest, tuple[tuple[str, ...], ...]] = {}

    def of(self, part: Slice) -> tuple[tuple[str, ...], ...]:
        """Paths below origin, session and instance."""
        paths = self._known.get(part.digest)
        if paths is None:
            reads = {read.path for policy in part.policies if not policy.permits for read in policy.reads}
            paths = tuple(
                sorted(path for path in reads if path and path[0] in {"origin", "source", "session", "instance"})
            )
            self._known[part.digest] = paths
        return paths


class _Asked:
    """`decide`, remembering the answers to questions that are the same as far as policies can see."""

    def __init__(self) -> None:
        self._pairs: dict[tuple[int, str, str], _Pair] = {}
        self._answers: dict[Any, dict[Any, Decision]] = {}
        self._questions: dict[tuple[Digest, Digest], Decision] = {}
        self._unmoved: dict[Any, dict[Hashable, bool]] = {}
        self._measured = _Measured()
        self._remembered = 0
        self.distinct = 0
        self.uses: defaultdict[tuple[str, str], _Use] = defaultdict(_Use)
        """By agent and tool."""

    def pair(self, agent: Agent, tool: str | None, policy: PolicySnapshot) -> _Pair:
        """What calls of an agent to a tool have in common."""
        tool = tool or ""
        key = (id(policy), agent.id, tool)  # a pair holds its snapshot, so that no other gets the id meanwhile
        known = self._pairs.get(key)
        if known is None or known.agent is not agent:
            if len(self._pairs) >= _PAIRS:
                self._pairs.clear()
            known = self._pairs[key] = _Pair(agent, tool, policy, self._measured, self.uses[agent.id, tool])
            if (part := known.part) is not None:
                # the slice names its policies, but neither what the tool does nor how its arguments are typed
                same = (policy.release.digest, part.digest, part.tool.definition_digest, *part.entity_digests.values())
                known.answers = self._answers.setdefault(same, {})
        return known

    def decision(self, call: PastJudgement, pair: _Pair) -> tuple[Decision, Mapping[str, Any]]:
        """The decision on a call, and as much of its context as it takes.

        Raises:
            InvalidInputError: its facts do not open.
        """
        # what hops and restrictions read besides, and of whom, no pair knows
        alone = pair.alone or pair.part is None or bool(call.stated.hops or call.stated.restrictions)
        facts = None if alone else call.facts(pair.looks_at)
        if facts is None:
            self.distinct += 1
            request = pair.asked(call.request())
            return decide(request, pair.policy), request.context
        key = self._question(call, pair, facts)
        known = pair.answers.get(key) if key is not None else None
        if known is not None:
            return known, facts
        if key is None:
            self.distinct += 1
            return decide(pair.asked(call.request(facts)), pair.policy), facts
        self._asking()
        made = pair.answers[key] = decide(pair.asked(call.request(facts)), pair.policy)
        return made, facts

    def unmoved(self, call: PastJudgement, pair: _Pair, before: PolicySnapshot) -> bool:
        """Whether none of the policies that changed is met by a call, nor fails on it, so that it comes out as it did.

        False says nothing.
        """
        part, judgement = pair.part, call.judgement
        if part is None or judgement is None or pair.alone or pair.measured or not judgement.steady:
            return False
        if call.stated.hops:
            return False
        if judgement.code in _UNSURE:
            return False
        changed = pair.changed
        if changed is None:
            changed = pair.changed = _Changed(_slice_of(before, part), part, before, pair.policy)
            changed.answers = self._unmoved.setdefault(changed.same, changed.answers)
        compiled, looks_at = changed.compiled, changed.looks_at
        if compiled is None or looks_at is None or changed.before != call.stated.slice:
            return False
        try:
            texts = call.texts(looks_at)
            known = changed.answers.get(texts)
            if known is None:
                facts = call.facts(looks_at, clean=True)
                if facts is None:
                    return False
                sent = compiled.projection.of(facts)
                self._asking()
                verdict = pair.policy.engine.evaluate(
                    compiled.handle, part.principal, part.action, part.resource, sent, part.entities
                )
                known = verdict.outcome is EngineOutcome.DENY and not verdict.reasons and not verdict.errors
                changed.answers[texts] = known
        except InvalidInputError:  # whoever judges the whole call says so
            return False
        return known

    def _asking(self) -> None:
        """Count a question, and forget what was answered before that becomes too much."""
        self.distinct += 1
        if self._remembered >= _REMEMBERED:
            self._remembered = 0
            for answers in self._answers.values():
                answers.clear()
            for unmoved in self._unmoved.values():
                unmoved.clear()
        self._remembered += 1

    def handing(self, past: PastHandover, hop: Hop, policy: PolicySnapshot) -> Decision:
        """The decision on handing work on.

        Raises:
            InvalidInputError: its facts do not open.
        """
        request = past.opened()
        self.distinct += 1
        return judge_hop(hop, request, policy, handing=True)

    def answer(self, question: PastQuestion, policy: PolicySnapshot) -> tuple[Decision, ExternalRequest]:
        """The answer to a question about other applications' types.

        Raises:
            InvalidInputError: its facts do not open.
        """
        request = question.opened()
        time_us = request.time_us if policy.external.clocked else 0
        asked = orjson.dumps(replace(request, time_us=time_us), option=orjson.OPT_SORT_KEYS)
        key = policy.release.digest, digest("question", asked)  # which may be long, and are many
        known = self._questions.get(key)
        if known is None:
            self.distinct += 1
            if len(self._questions) >= _PAIRS:
                self._questions.clear()
            known = self._questions[key] = decide(request, policy)
        return known, request

    @staticmethod
    def _question(call: PastJudgement, pair: _Pair, facts: Mapping[str, Any]) -> Any:
        """Everything the answer depends on beside the slice; None if that is not known beforehand."""
        try:
            # INVARIANT: what is sent is all that any policy of the slice, observed ones included, reads; the grant's
            # conditions taken apart read no more than the grant
            sent = pair.projection.of(facts)
        except InvalidInputError:
            return None  # `decide` says which value it is
        part, judgement = pair.part, call.judgement
        assert part is not None  # noqa: S101 - else there is no projection
        assert judgement is not None  # noqa: S101 - else nothing is judged again
        plain = judgement.steady and not part.observes and judgement.outside is None
        if plain and not judgement.granted:
            return sent
        request = call.request(facts)
        watched = part.observed(request.time_us) if part.observes else None
        return sent, request.lifted, request.time_trusted, watched, request.outside


# -- proving the past


@dataclass(frozen=True, slots=True)
class Divergence:
    """A decision that did not come out again as it was recorded."""

    decision: str
    seq: int
    recorded: str
    again: str
    what: tuple[str, ...]


@dataclass(slots=True)
class Reproduced:
    """What came of judging the past again by what was in force then."""

    decisions: int = 0
    """Recorded, those without a judgement included."""
    judged: int = 0
    """Of these, judged by policies: the others were refused before any was asked."""
    again: int = 0
    """Judged again, and"""
    same: int = 0
    """came out exactly so."""
    unrepeatable: Counter[str] = field(default_factory=Counter)
    """Judged then and not again, by reason."""
    differences: list[Divergence] = field(default_factory=list)
    """The first twenty."""
    distinct: int = 0
    """Questions that had to be put to the engine."""

    @property
    def exact(self) -> bool:
        """Whether everything that can be judged again came out as it was."""
        return self.same == self.again

    def add(self, other: Reproduced) -> None:
        """Take in the tally of another part of the log."""
        self.decisions += other.decisions
        self.judged += other.judged
        self.again += other.again
        self.same += other.same
        self.distinct += other.distinct
        self.unrepeatable.update(other.unrepeatable)
        self.differences = sorted([*self.differences, *other.differences], key=lambda one: one.seq)[:_EXAMPLES]


def reproduce(
    calls: Iterable[PastJudgement | PastQuestion | PastHandover], tick: Callable[[int], None] = lambda _: None
) -> Reproduced:
    """Judge recorded calls again, each by the release and state it was judged by.

    `tick` is told the place in the log now and then.
    """
    found, asked = Reproduced(), _Asked()
    for call in calls:
        if found.decisions % 1024 == 0:
            tick(call.seq)
        found.decisions += 1
        if isinstance(call, PastQuestion):
            _answered_again(call, asked, found)
            continue
        if isinstance(call, PastHandover):
            _handed_again(call, asked, found)
            continue
        judgement, policy = call.judgement, call.policy
        if judgement is None and call.why is None:
            continue
        found.judged += 1
        why = call.why
        if judgement is None or policy is None or call.agent is None or why is not None:
            found.unrepeatable[why or Unrepeatable.STATE] += 1
            continue
        try:
            made, _ = asked.decision(call, asked.pair(call.agent, call.header.tool, policy))
        except InvalidInputError:
            found.unrepeatable[Unrepeatable.UNOPENED] += 1
            continue
        found.again += 1
        what = differing(call.body, judgement, made)
        if not what:
            found.same += 1
        elif len(found.differences) < _EXAMPLES:
            found.differences.append(
                Divergence(call.stated.decision_id, call.seq, judgement.outcome, made.outcome.value, what)
            )
    found.distinct = asked.distinct
    return found


def _handed_again(past: PastHandover, asked: _Asked, found: Reproduced) -> None:
    judgement, policy, hop = past.judgement, past.policy, past.hop
    if judgement is None and past.why is None:
        return
    found.judged += 1
    if judgement is None or policy is None or hop is None or past.why is not None:
        found.unrepeatable[past.why or Unrepeatable.STATE] += 1
        return
    try:
        made = asked.handing(past, hop, policy)
    except InvalidInputError:
        found.unrepeatable[Unrepeatable.UNOPENED] += 1
        return
    found.again += 1
    what = differing(past.body, judgement, made)
    if not what:
        found.same += 1
    elif len(found.differences) < _EXAMPLES:
        found.differences.append(
            Divergence(past.stated.decision_id, past.seq, judgement.outcome, made.outcome.value, what)
        )


def _answered_again(question: PastQuestion, asked: _Asked, found: Reproduced) -> None:
    body, policy = question.body, question.policy
    if not question.judged:
        return
    found.judged += 1
    if question.why is not None or policy is None:
        found.unrepeatable[question.why or Unrepeatable.STATE] += 1
        return
    try:
        made, _ = asked.answer(question, policy)
    except InvalidInputError:
        found.unrepeatable[Unrepeatable.UNOPENED] += 1
        return
    found.again += 1
    recorded, again = question.header.decision or "", made.outcome.value
    what = tuple(sorted(name for name, value in answer_fact(made).items() if body[name] != value))
    if not what and recorded == again:
        found.same += 1
    elif len(found.differences) < _EXAMPLES:
        found.differences.append(Divergence(body["decision_id"], question.seq, recorded, again, what or ("outcome",)))


# -- trying a candidate


@dataclass(frozen=True, slots=True)
class CallChange:
    """One kind of change: how calls of an agent to a tool come out otherwise."""

    agent: str
    """Empty for questions about types of other applications; then"""
    tool: str
    """is the operation with the types of subject and resource. Of work handed on: `@delegate` and the other agent."""
    before: str
    after: str
    code: str
    """Of the new outcome."""
    policies: tuple[str, ...]
    """That determine the new outcome; where nothing does, that determined the old one."""
    asked_by: str = ""
    """Who only asked: an enforcement point, or the agent itself. Empty: these were calls."""

    @property
    def failing(self) -> bool:
        """Whether nobody would have decided so: it could not be judged."""
        return self.code in FAILING


@dataclass(slots=True)
class RunSeen:
    """One session of an agent."""

    agent: str
    tools: frozenset[str] = frozenset()
    """One object for all runs with equal ones: there are many runs, and few kinds of them."""
    completed: bool = True
    """Every call of it went through."""
    breaks: int | None = None
    """The first call that would not go through any more."""
    example: str = ""
    """The decision of that call."""

    def __reduce__(self) -> tuple[type[RunSeen], tuple[Any, ...]]:
        # a worker hands back hundreds of thousands: a third of the time that the general way takes
        return RunSeen, (self.agent, self.tools, self.completed, self.breaks, self.example)

    def add(self, other: RunSeen) -> None:
        """Take in what another part of the log shows of it."""
        self.tools = _together(self.tools, other.tools)
        self.completed = self.completed and other.completed
        if other.breaks is not None and (self.breaks is None or other.breaks < self.breaks):
            self.breaks, self.example = other.breaks, other.example


@lru_cache(maxsize=65_536)
def _together(some: frozenset[str], others: frozenset[str]) -> frozenset[str]:
    return _shared(some | others)


@lru_cache(maxsize=65_536)
def _shared(tools: frozenset[str]) -> frozenset[str]:
    return tools


@dataclass(slots=True)
class Replayed:
    """What a candidate release would have made of recorded calls."""

    decisions: int = 0
    judged: int = 0
    """Of the recorded decisions, by policies."""
    untouched: int = 0
    """Whose rules are the same under the candidate: nothing can change."""
    again: int = 0
    """Judged by the candidate."""
    distinct: int = 0
    """Questions that had to be put to the engine."""
    unrepeatable: Counter[str] = field(default_factory=Counter)
    missing: Counter[str] = field(default_factory=Counter)
    """Facts that the candidate reads and the record of a call has not: how many calls."""
    changes: Counter[CallChange] = field(default_factory=Counter)
    examples: dict[CallChange, tuple[int, str]] = field(default_factory=dict)
    """The first call of each kind of change: (seq, decision)."""
    runs: dict[str, RunSeen] = field(default_factory=dict)
    """By session."""
    used: Counter[tuple[str, str]] = field(default_factory=Counter)
    """Calls of (agent, tool) that went through, and"""
    usable: Counter[tuple[str, str]] = field(default_factory=Counter)
    """those that would, or would after a person's approval."""

    def changed(self, change: CallChange, seq: int, decision: str) -> None:
        """Count one that comes out otherwise."""
        self.changes[change] += 1
        self.examples[change] = min((seq, decision), self.examples.get(change, (seq, decision)))

    def add(self, other: Replayed) -> None:
        """Take in the tally of another part of the log."""
        for name in ("decisions", "judged", "untouched", "again", "distinct"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        for name in ("unrepeatable", "missing", "changes", "used", "usable"):
            getattr(self, name).update(getattr(other, name))
        for change, first in other.examples.items():
            self.examples[change] = min(first, self.examples.get(change, first))
        for session, run in other.runs.items():
            known = self.runs.get(session)
            if known is None:
                self.runs[session] = run
            else:
                known.add(run)


def replay(
    calls: Iterable[PastJudgement | PastQuestion | PastHandover],
    candidate: Release,
    *,
    agents: frozenset[str] | None = None,
    versions: Mapping[str, AgentVersion] | None = None,
    tick: Callable[[int], None] = lambda _: None,
) -> Replayed:
    """Judge recorded calls (of these agents, or of all) by a candidate release, all else being as it was then.

    Agents, grants, tools and restrictions are those of the record: what comes out otherwise, does by the release.
    Handing work on counts as use of `@delegate` and is part of the run it happened in; a hold lets it pass.
    An agent of which `versions` names one, by its id, is judged by that instead of the version it had.
    """
    found, asked, trial = Replayed(), _Asked(), _Trials(candidate)
    standing = _Versions(versions or {})
    for call in calls:
        if found.decisions % 1024 == 0:
            tick(call.seq)
        found.decisions += 1
        if isinstance(call, PastQuestion):
            if agents is None:
                _answered_by(call, asked, trial, found)
            continue
        header = call.header
        if agents is not None and header.agent not in agents:
            continue
        if isinstance(call, PastHandover):
            _handed_by(call, asked, trial, found)
            continue
        judgement, agent, policy = call.judgement, call.agent, call.policy
        if judgement is None and call.why is None:
            continue
        found.judged += 1
        made = call.stated.asked_by is UNSET
        run = _run_of(call, header.tool or "", found, passed=header.decision == Outcome.ALLOW) if made else None
        if judgement is None or agent is None or policy is None:
            found.unrepeatable[call.why or Unrepeatable.STATE] += 1
            continue
        other = standing.of(agent)
        pair = asked.pair(other or agent, header.tool, trial.under(policy))
        before = after = judgement.outcome
        # no release changes what no policy is asked about
        same = pair.part is not None and pair.part.digest == call.stated.slice and not call.stated.hops
        if other is None and (pair.refused or same):
            found.untouched += 1
        elif other is None and asked.unmoved(call, pair, policy):
            found.again += 1
        else:
            again = _judged_by(call, pair, asked, found)
            if again is None:
                continue
            after = again.outcome.value
            if after != before or (again.code.value in FAILING and judgement.code not in FAILING):
                _changed(call, header.tool or "", before, after, again, run, found)
        if made:
            pair.use.used += before == Outcome.ALLOW
            pair.use.usable += after != Outcome.DENY
    found.distinct = asked.distinct
    for whose, use in asked.uses.items():
        found.used.update({whose: use.used} if use.used else ())
        found.usable.update({whose: use.usable} if use.usable else ())
    return found


def _slice_of(policy: PolicySnapshot, part: Slice) -> Slice | None:
    """What the same calls were judged by under another release."""
    try:
        found = policy.slice_for(part.agent, part.tool.id)
    except (InvalidInputError, UnavailableError):
        return None
    return None if isinstance(found, Inadmissible) else found


class _Versions:
    """Agents of the past with another version."""

    def __init__(self, versions: Mapping[str, AgentVersion]) -> None:
        self._versions = versions
        self._known: dict[str, tuple[Agent, Agent]] = {}

    def of(self, agent: Agent) -> Agent | None:
        """The agent with the version it is to be judged by; None: as it was."""
        version = self._versions.get(agent.id)
        if version is None:
            return None
        known = self._known.get(agent.id)
        if known is None or known[0] is not agent:
            known = self._known[agent.id] = (agent, replace(agent, version=version))
        return known[1]


class _Trials:
    """The snapshots of the past under the candidate."""

    def __init__(self, candidate: Release) -> None:
        self._candidate = candidate
        self._snapshots: dict[int, tuple[PolicySnapshot, PolicySnapshot, bool]] = {}

    def under(self, policy: PolicySnapshot) -> PolicySnapshot:
        return self._known(policy)[1]

    def answers_alike(self, policy: PolicySnapshot) -> bool:
        """Whether both say the same of other applications' types."""
        return self._known(policy)[2]

    def _known(self, policy: PolicySnapshot) -> tuple[PolicySnapshot, PolicySnapshot, bool]:
        known = self._snapshots.get(id(policy))
        if known is None:
            if len(self._snapshots) > 8:  # the past goes by once
                self._snapshots.clear()
            under = policy.with_release(self._candidate)
            alike = policy.release.external == self._candidate.external
            known = self._snapshots[id(policy)] = (policy, under, alike)
        return known


def _answered_by(question: PastQuestion, asked: _Asked, trial: _Trials, found: Replayed) -> None:
    """What the candidate would answer."""
    body, policy, before = question.body, question.policy, question.header.decision or ""
    if not question.judged:
        return
    found.judged += 1
    if policy is None or question.why is Unrepeatable.STATE:
        found.unrepeatable[question.why or Unrepeatable.STATE] += 1
        return
    if trial.answers_alike(policy):
        found.untouched += 1
        return
    if question.why is not None:
        found.unrepeatable[question.why] += 1
        return
    try:
        after, request = asked.answer(question, trial.under(policy))
    except InvalidInputError:
        found.unrepeatable[Unrepeatable.UNOPENED] += 1
        return
    found.again += 1
    if after.outcome == before and (after.code.value not in FAILING or body["code"] in FAILING):
        return
    found.changed(
        CallChange(
            agent="",
            tool=f"ext/{request.action} {request.subject.type} {request.resource.type}"[:_LONGEST],
            before=before,
            after=after.outcome.value,
            code=after.code.value,
            policies=after.policies or tuple(body["policies"]),
            asked_by=body["asked_by"],
        ),
        question.seq,
        body["decision_id"],
    )


def _judged_by(call: PastJudgement, pair: _Pair, asked: _Asked, found: Replayed) -> Decision | None:
    """The candidate's decision, None if it cannot be known."""
    if call.why is not None:
        found.unrepeatable[call.why] += 1
        return None
    try:
        made, facts = asked.decision(call, pair)
    except InvalidInputError:
        found.unrepeatable[Unrepeatable.UNOPENED] += 1
        return None
    for path in pair.measured:
        below: Any = facts
        for step in path:
            below = below.get(step) if isinstance(below, Mapping) else None
        if below is None:
            found.missing[".".join(("context", *path))] += 1
    found.again += 1
    return made


def _handed_by(past: PastHandover, asked: _Asked, trial: _Trials, found: Replayed) -> None:
    """Whether the candidate would let work be handed on. What it holds passes: the calls made of it are held."""
    header, judgement, hop, policy, tool = past.header, past.judgement, past.hop, past.policy, past.operation
    run = _run_of(past, tool, found, passed=header.decision != Outcome.DENY)
    if judgement is None and past.why is None:
        return
    found.judged += 1
    if judgement is None or hop is None or policy is None:
        found.unrepeatable[past.why or Unrepeatable.STATE] += 1
        return
    before = after = Outcome.DENY if judgement.outcome == Outcome.DENY else Outcome.ALLOW
    if _same_handing(past, hop, trial.under(policy)):
        found.untouched += 1
    elif past.why is not None:
        found.unrepeatable[past.why] += 1
        return
    else:
        try:
            again = asked.handing(past, hop, trial.under(policy))
        except InvalidInputError:
            found.unrepeatable[Unrepeatable.UNOPENED] += 1
            return
        found.again += 1
        after = Outcome.DENY if again.outcome is Outcome.DENY else Outcome.ALLOW
        if after is not before or (again.code.value in FAILING and judgement.code not in FAILING):
            _changed(past, tool, before, after, again, run, found)
    use = asked.uses[header.agent or "", tool]
    use.used += before is Outcome.ALLOW
    use.usable += after is Outcome.ALLOW


def _same_handing(past: PastHandover, hop: Hop, policy: PolicySnapshot) -> bool:
    """Whether the policies asked of a hand-over are those it was judged by; or none is, which no release changes."""
    try:
        part = policy.handing_on(hop.caller, hop.callee)
    except (InvalidInputError, UnavailableError):
        return False
    return isinstance(part, Inadmissible) or part.digest == past.stated.slice


def _run_of(call: PastJudgement | PastHandover, tool: str, found: Replayed, *, passed: bool) -> RunSeen | None:
    session, header = call.stated.session, call.header
    if session is None:
        return None
    run = found.runs.get(session)
    if run is None:
        run = found.runs[session] = RunSeen(header.agent or "")
    if tool not in run.tools:
        run.tools = _together(run.tools, frozenset((tool,)))
    run.completed = run.completed and passed
    return run


def _changed(
    call: PastJudgement | PastHandover,
    tool: str,
    before: str,
    after: str,
    again: Decision,
    run: RunSeen | None,
    found: Replayed,
) -> None:
    header, stated = call.header, call.stated
    change = CallChange(
        header.agent or "",
        tool,
        str(before),
        str(after),
        again.code.value,
        again.policies or stated.policies,
        "" if stated.asked_by is UNSET else stated.asked_by or header.agent or "",
    )
    found.changed(change, call.seq, stated.decision_id)
    if run is not None and before == Outcome.ALLOW and (run.breaks is None or call.seq < run.breaks):
        run.breaks, run.example = call.seq, stated.decision_id
