"""Recorded calls judged again: by what was in force then, to prove it, or by a candidate, to see what it would change.

Enforcement and replay share `decide`. A question is put to it once: calls whose slice reads equal facts are one, and a
call whose slice is the same under the candidate needs no second answer. Tallies of parts of the log add up to the tally
of the whole in any order.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final, Protocol

from accredit.kernel.codes import Code
from accredit.kernel.errors import InvalidInputError, UnavailableError
from accredit.policy.context import reserved_key
from accredit.policy.decide import decide
from accredit.policy.model import CallRequest, Decision, Outcome
from accredit.policy.recorded import Judgement
from accredit.policy.release import Release
from accredit.policy.snapshot import Inadmissible, PolicySnapshot, Slice
from accredit.registry.model import Agent

__all__ = [
    "CallChange",
    "Divergence",
    "PastJudgement",
    "Replayed",
    "Reproduced",
    "RunSeen",
    "Unrepeatable",
    "replay",
    "reproduce",
]

_REMEMBERED: Final = 200_000
_EXAMPLES: Final = 20
FAILING: Final = frozenset(
    str(code)
    for code in (
        Code.POLICY_ERROR,
        Code.UNENCODABLE_INPUT,
        Code.NO_DECISION,
        Code.ENGINE_FAILED,
        Code.ENTITY_INCOMPLETE,
    )
)
"""Denials that are no policy's word but a failure to judge."""


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
    header: Mapping[str, Any]
    body: Mapping[str, Any]
    judgement: Judgement | None
    why: Unrepeatable | None
    """Why it cannot be judged again as it was; None if it can, or was not judged at all."""

    @property
    def policy(self) -> PolicySnapshot | None:
        """Release and catalogue it was judged by."""
        ...

    @property
    def agent(self) -> Agent | None:
        """The agent as it was."""
        ...

    def request(self) -> CallRequest:
        """The very request; raises InvalidInputError if it does not open."""
        ...


# -- asking once


class _Asked:
    """`decide`, remembering the answers to questions that are the same as far as policies can see."""

    def __init__(self) -> None:
        self._answers: dict[Any, Decision] = {}
        self.distinct = 0

    def decision(self, request: CallRequest, policy: PolicySnapshot) -> Decision:
        key = self._question(request, policy)
        known = self._answers.get(key) if key is not None else None
        if known is not None:
            return known
        self.distinct += 1
        made = decide(request, policy)
        if key is not None:
            if len(self._answers) >= _REMEMBERED:
                self._answers.clear()
            self._answers[key] = made
        return made

    @staticmethod
    def _question(request: CallRequest, policy: PolicySnapshot) -> Any:
        """Everything the answer depends on; None if that is not known beforehand."""
        try:
            part = policy.slice_for(request.agent, request.tool)
            if isinstance(part, Inadmissible) or reserved_key(request.context) is not None:
                return None
            # INVARIANT: what is sent is all that any policy of the slice, observed ones included, reads; the grant's
            # conditions taken apart read no more than the grant
            sent = policy.compiled(part).projection.of(request.context)
        except (InvalidInputError, UnavailableError):
            return None
        watched = part.observed(request.time_us) if part.observes else None
        principal = part.entity_digests["principal"]
        return (
            policy.release.digest, part.digest, principal, sent, request.lifted, request.time_trusted, watched,
            request.restrictions,
        )  # fmt: skip


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


def reproduce(calls: Iterable[PastJudgement], tick: Callable[[int], None] = lambda _: None) -> Reproduced:
    """Judge recorded calls again, each by the release and state it was judged by.

    `tick` is told the place in the log now and then.
    """
    found, asked = Reproduced(), _Asked()
    for call in calls:
        if found.decisions % 1024 == 0:
            tick(call.seq)
        found.decisions += 1
        judgement, policy = call.judgement, call.policy
        if judgement is None and call.why is None:
            continue
        found.judged += 1
        if judgement is None or policy is None or call.why is not None:
            found.unrepeatable[call.why or Unrepeatable.STATE] += 1
            continue
        try:
            request = call.request()
        except InvalidInputError:
            found.unrepeatable[Unrepeatable.UNOPENED] += 1
            continue
        found.again += 1
        decision = asked.decision(request, policy)
        again = Judgement.of(request, decision)
        what = _differing(judgement, again, call.body)
        if not what:
            found.same += 1
        elif len(found.differences) < _EXAMPLES:
            found.differences.append(
                Divergence(call.body["decision_id"], call.seq, judgement.outcome, again.outcome, what)
            )
    found.distinct = asked.distinct
    return found


def _differing(before: Judgement, after: Judgement, body: Mapping[str, Any]) -> tuple[str, ...]:
    if before == after:
        return ()
    found = [
        name for name in ("outcome", "code", "observed", "stated") if getattr(before, name) != getattr(after, name)
    ]
    if before.release != after.release:
        found.append(f"release (the engine then: {body['engines']['cedar']})")
    return tuple(found)


# -- trying a candidate


@dataclass(frozen=True, slots=True)
class CallChange:
    """One kind of change: how calls of an agent to a tool come out otherwise."""

    agent: str
    tool: str
    before: str
    after: str
    code: str
    """Of the new outcome."""
    policies: tuple[str, ...]
    """That determine the new outcome; where nothing does, that determined the old one."""

    @property
    def failing(self) -> bool:
        """Whether nobody would have decided so: it could not be judged."""
        return self.code in FAILING


@dataclass(slots=True)
class RunSeen:
    """One session of an agent."""

    agent: str
    tools: set[str] = field(default_factory=set)
    completed: bool = True
    """Every call of it went through."""
    breaks: int | None = None
    """The first call that would not go through any more."""
    example: str = ""
    """The decision of that call."""

    def add(self, other: RunSeen) -> None:
        self.tools |= other.tools
        self.completed = self.completed and other.completed
        if other.breaks is not None and (self.breaks is None or other.breaks < self.breaks):
            self.breaks, self.example = other.breaks, other.example


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
    calls: Iterable[PastJudgement],
    candidate: Release,
    *,
    agents: frozenset[str] | None = None,
    tick: Callable[[int], None] = lambda _: None,
) -> Replayed:
    """Judge recorded calls (of these agents, or of all) by a candidate release, all else being as it was then.

    Agents, grants, tools and restrictions are those of the record: what comes out otherwise, does by the release.
    """
    found, asked, trial = Replayed(), _Asked(), _Trials(candidate)
    for call in calls:
        if found.decisions % 1024 == 0:
            tick(call.seq)
        found.decisions += 1
        judgement = call.judgement
        if agents is not None and call.header["agent"] not in agents:
            continue
        if judgement is None and call.why is None:
            continue
        found.judged += 1
        run = _run_of(call, found)
        if judgement is None or call.policy is None or call.why is Unrepeatable.STATE:
            found.unrepeatable[call.why or Unrepeatable.STATE] += 1
            continue
        after = _judged_by(call, trial, asked, found)
        if after is not None:
            _tallied(call, judgement, after, run, found)
    found.distinct = asked.distinct
    return found


class _Trials:
    """The snapshots of the past under the candidate, and what its slices need that older records have not."""

    def __init__(self, candidate: Release) -> None:
        self._candidate = candidate
        self._snapshots: dict[int, tuple[PolicySnapshot, PolicySnapshot]] = {}
        self._measured: dict[Any, tuple[tuple[str, ...], ...]] = {}

    def under(self, policy: PolicySnapshot) -> PolicySnapshot:
        known = self._snapshots.get(id(policy))
        if known is None:
            if len(self._snapshots) > 8:  # the past goes by once
                self._snapshots.clear()
            known = self._snapshots[id(policy)] = (policy, policy.with_release(self._candidate))
        return known[1]

    def measured(self, part: Slice) -> tuple[tuple[str, ...], ...]:
        """What its policies read of facts that we measure: paths below origin, session and instance."""
        paths = self._measured.get(part.key)
        if paths is None:
            reads = {read.path for policy in part.policies if not policy.permits for read in policy.reads}
            paths = tuple(sorted(path for path in reads if path and path[0] in {"origin", "session", "instance"}))
            self._measured[part.key] = paths
        return paths


_SAME: Final = object()


def _judged_by(call: PastJudgement, trial: _Trials, asked: _Asked, found: Replayed) -> Any:
    """The candidate's decision, `_SAME` if it cannot differ, None if it cannot be known."""
    before = call.policy
    assert before is not None  # noqa: S101 - the caller looked
    after = trial.under(before)
    agent = call.agent
    try:
        part = after.slice_for(agent, call.header["tool"]) if agent is not None else None
        if isinstance(part, Inadmissible):
            found.untouched += 1
            return _SAME  # no release changes what no policy is asked about
        if part is not None and part.digest == call.body["slice"]:
            found.untouched += 1
            return _SAME
    except (InvalidInputError, UnavailableError):
        pass  # `decide` says it in its own way
    if call.why is not None:
        found.unrepeatable[call.why] += 1
        return None
    try:
        request = call.request()
    except InvalidInputError:
        found.unrepeatable[Unrepeatable.UNOPENED] += 1
        return None
    found.again += 1
    if isinstance(part, Slice):
        for path in trial.measured(part):
            below: Any = request.context
            for step in path:
                below = below.get(step) if isinstance(below, Mapping) else None
            if below is None:
                found.missing[".".join(("context", *path))] += 1
    return asked.decision(request, after)


def _run_of(call: PastJudgement, found: Replayed) -> RunSeen | None:
    session = call.body["session"]
    if session is None:
        return None
    run = found.runs.get(session)
    if run is None:
        run = found.runs[session] = RunSeen(call.header["agent"])
    run.tools.add(call.header["tool"])
    run.completed = run.completed and call.header["decision"] == Outcome.ALLOW
    return run


def _tallied(call: PastJudgement, before: Judgement, after: Any, run: RunSeen | None, found: Replayed) -> None:
    pair = call.header["agent"], call.header["tool"]
    outcome = before.outcome if after is _SAME else after.outcome.value
    if before.outcome == Outcome.ALLOW:
        found.used[pair] += 1
    if outcome != Outcome.DENY:
        found.usable[pair] += 1
    if after is _SAME or (outcome == before.outcome and not _fails_newly(before, after)):
        return
    change = CallChange(
        *pair, before.outcome, outcome, after.code.value, after.policies or tuple(call.body["policies"])
    )
    found.changes[change] += 1
    first = (call.seq, call.body["decision_id"])
    found.examples[change] = min(first, found.examples.get(change, first))
    if run is not None and before.outcome == Outcome.ALLOW and (run.breaks is None or call.seq < run.breaks):
        run.breaks, run.example = call.seq, call.body["decision_id"]


def _fails_newly(before: Judgement, after: Decision) -> bool:
    return after.code.value in FAILING and before.code not in FAILING
