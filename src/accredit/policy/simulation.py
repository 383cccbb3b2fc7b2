"""What a candidate release would do to the fleet: one value, made of the static difference and the replay of history.

Equal inputs make equal reports, down to the order of every list, so that a report can be named by its digest. People
who read it are told what changes for whom, what would break, what could not be judged, and what nobody would use.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Final

from accredit.kernel.canonical import Digest, digest_value
from accredit.policy.difference import MOST_ROWS, ReleaseDiff, SliceChange
from accredit.policy.model import Outcome
from accredit.policy.replay import CallChange, Replayed
from accredit.registry.model import Agent

__all__ = ["SCHEMA", "AgentImpact", "BrokenWorkflow", "CallImpact", "SimulationReport", "simulation_report"]

SCHEMA: Final = "accredit/simulation/v1"


@dataclass(frozen=True, slots=True)
class CallImpact:
    """Recorded calls that would come out otherwise, all in the same way."""

    kind: str
    """`denied`, `allowed`, `held` or `failing`."""
    agent: str
    """Empty for questions about other applications' types; then `tool` is the operation with both types."""
    tool: str
    """Of work handed on: `@delegate` and the id of the other agent."""
    asked_by: str
    """Who only asked: an enforcement point, or the agent itself. Empty: these were calls."""
    before: str
    after: str
    code: str
    policies: tuple[str, ...]
    calls: int
    example: str
    """The decision of the first of them."""


@dataclass(frozen=True, slots=True)
class BrokenWorkflow:
    """Runs of one kind that went through and would not any more.

    What a run was for is not recorded in clear: runs of one agent that used the same tools are one kind of task.
    """

    agent: str
    tools: tuple[str, ...]
    runs: int
    of: int
    """So many of this kind went through."""
    example: str
    """The decision that would stop the first of them."""


@dataclass(frozen=True, slots=True)
class AgentImpact:
    """One agent that the candidate touches."""

    agent: str
    name: str
    owner: str
    backup_owner: str | None
    tools: int
    """Granted tools whose rules change."""
    chains: int
    """Changed rules of tools that it hands on, is handed, or that whom it hands on to use."""
    calls: int
    """Recorded calls that would come out otherwise."""
    breaking: int
    """Runs that would break."""


@dataclass(frozen=True, slots=True)
class SimulationReport:
    """Everything a simulation has to say."""

    schema: str
    base: Digest
    candidate: Digest
    since_us: int
    until_seq: int
    agents_asked: tuple[str, ...] | None
    """None: all."""
    added: tuple[str, ...]
    removed: tuple[str, ...]
    observed: tuple[tuple[str, int | None, int | None], ...]
    slices: tuple[SliceChange, ...]
    slices_total: int
    calls: int
    """Decisions of policies in the window."""
    replayed: int
    """Of these, judged by the candidate,"""
    untouched: int
    """and those whose rules are the same."""
    unrepeatable: Mapping[str, int]
    missing: Mapping[str, int]
    denied: int
    allowed: int
    held: int
    failing: int
    impacts: tuple[CallImpact, ...]
    workflows: tuple[BrokenWorkflow, ...]
    breaking: int
    """Runs that would break."""
    unused: tuple[tuple[str, str], ...]
    """(agent, tool): granted, with calls in the window, and none that would still go through."""
    agents: tuple[AgentImpact, ...]
    denies_everything: bool
    """Calls went through before, and none of those judged would."""

    @property
    def breaks(self) -> bool:
        """Whether anything that went through would not."""
        return bool(self.breaking or any(one.before == Outcome.ALLOW for one in self.impacts))

    def document(self) -> dict[str, Any]:
        """All of it as canonical JSON data."""
        found: dict[str, Any] = _plain(asdict(self))
        return {**found, "breaks": self.breaks}

    @property
    def digest(self) -> Digest:
        """Of the document."""
        return digest_value("policy-simulation", self.document())


def simulation_report(
    diff: ReleaseDiff,
    slices: Iterable[SliceChange],
    found: Replayed,
    fleet: Mapping[str, Agent],
    *,
    since_us: int,
    until_seq: int,
    agents: Iterable[str] | None = None,
) -> SimulationReport:
    """The report on what was found. `fleet` has the agents of now, by id."""
    touched = tuple(slices)
    impacts = _impacts(found)
    workflows = _workflows(found)
    kinds: Counter[str] = Counter()
    for one in impacts:
        kinds[one.kind] += one.calls
    went_through = sum(found.used.values())
    return SimulationReport(
        schema=SCHEMA,
        base=Digest(diff.base),
        candidate=Digest(diff.candidate),
        since_us=since_us,
        until_seq=until_seq,
        agents_asked=None if agents is None else tuple(sorted(agents)),
        added=diff.added,
        removed=diff.removed,
        observed=diff.observed,
        slices=touched[:MOST_ROWS],
        slices_total=len(touched),
        calls=found.judged,
        replayed=found.again,
        untouched=found.untouched,
        unrepeatable=_sorted(found.unrepeatable),
        missing=_sorted(found.missing),
        denied=kinds["denied"],
        allowed=kinds["allowed"],
        held=kinds["held"],
        failing=kinds["failing"],
        impacts=impacts[:MOST_ROWS],
        workflows=workflows[:MOST_ROWS],
        breaking=sum(one.runs for one in workflows),
        unused=tuple(sorted(pair for pair in found.used if not found.usable[pair]))[:MOST_ROWS],
        agents=_agents(touched, impacts, workflows, fleet)[:MOST_ROWS],
        denies_everything=went_through > 0 and not sum(found.usable.values()),
    )


def _kind(change: CallChange) -> str:
    if change.failing:
        return "failing"
    return {"deny": "denied", "allow": "allowed", "hold": "held"}[change.after]


def _impacts(found: Replayed) -> tuple[CallImpact, ...]:
    rows = [
        CallImpact(
            kind=_kind(change),
            agent=change.agent,
            tool=change.tool,
            asked_by=change.asked_by,
            before=change.before,
            after=change.after,
            code=change.code,
            policies=change.policies,
            calls=count,
            example=found.examples[change][1],
        )
        for change, count in found.changes.items()
    ]
    return tuple(
        sorted(
            rows, key=lambda one: (-one.calls, one.agent, one.tool, one.asked_by, one.kind, one.policies, one.example)
        )
    )


def _workflows(found: Replayed) -> tuple[BrokenWorkflow, ...]:
    total: Counter[tuple[str, tuple[str, ...]]] = Counter()
    broken: defaultdict[tuple[str, tuple[str, ...]], list[tuple[int, str]]] = defaultdict(list)
    for run in found.runs.values():
        if not run.completed:
            continue
        kind = run.agent, tuple(sorted(run.tools))
        total[kind] += 1
        if run.breaks is not None:
            broken[kind].append((run.breaks, run.example))
    rows = [
        BrokenWorkflow(agent, tools, len(ends), total[agent, tools], min(ends)[1])
        for (agent, tools), ends in broken.items()
    ]
    return tuple(sorted(rows, key=lambda one: (-one.runs, one.agent, one.tools)))


def _agents(
    slices: Iterable[SliceChange],
    impacts: Iterable[CallImpact],
    workflows: Iterable[BrokenWorkflow],
    fleet: Mapping[str, Agent],
) -> tuple[AgentImpact, ...]:
    changed = list(slices)
    tools: Counter[str] = Counter(one.agent for one in changed if one.callee is None)
    chains: Counter[str] = Counter()
    for change in changed:
        chains.update(change.through)
        if change.callee is not None:
            chains.update((change.agent, change.callee, *change.onward))
    calls: Counter[str] = Counter()
    breaking: Counter[str] = Counter()
    for impact in impacts:
        if impact.agent:
            calls[impact.agent] += impact.calls
    for workflow in workflows:
        breaking[workflow.agent] += workflow.runs
    rows = []
    for name in tools.keys() | chains.keys() | calls.keys():
        agent = fleet.get(name)
        rows.append(
            AgentImpact(
                agent=name,
                name=f"{agent.environment}/{agent.name}" if agent else "",
                owner=agent.owner if agent else "",
                backup_owner=agent.backup_owner if agent else None,
                tools=tools[name],
                chains=chains[name],
                calls=calls[name],
                breaking=breaking[name],
            )
        )
    return tuple(sorted(rows, key=lambda one: (-one.breaking, -one.calls, -one.tools, -one.chains, one.agent)))


def _sorted(counts: Mapping[str, int]) -> dict[str, int]:
    return {str(name): counts[name] for name in sorted(counts)}


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _plain(one) for key, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(one) for one in value]
    return str(value) if isinstance(value, str) else value
