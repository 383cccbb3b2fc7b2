"""What a candidate release changes before any call is looked at: texts, and exactly whose rules of which tool.

A pair of agent and tool is touched if the policies in scope of it, word for word, or which of them are only observed,
are not the same; so is a delegation, by the policies in scope of `@delegate` between its two agents. Whoever hands a
tool on, directly or by others, is named beside those whose rules change. Whatever is not named here decides every call,
and every hand-over, as before (property: tests/policy/test_difference.py).
"""

from __future__ import annotations

import difflib
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Final

from accredit.identity.access import MAX_ACTORS
from accredit.kernel.errors import InvalidInputError, UnavailableError
from accredit.kernel.ids import AgentId, ToolId
from accredit.policy.entities import DELEGATE
from accredit.policy.reach import Reach, Reaches
from accredit.policy.release import Release
from accredit.policy.snapshot import Inadmissible, PolicySnapshot, Slice
from accredit.registry.model import Agent

__all__ = ["MOST_ROWS", "FileChange", "ReleaseDiff", "SliceChange", "release_diff", "slice_diff"]

MOST_ROWS: Final = 1_000
"""Of each list that is shown; the counts are of all."""
_MOST_LINES: Final = 2_000


@dataclass(frozen=True, slots=True)
class FileChange:
    """One file that is not the same."""

    path: str
    change: str
    """`added`, `removed` or `changed`."""
    text: str
    """Unified diff."""


@dataclass(frozen=True, slots=True)
class ReleaseDiff:
    """What is different between two releases."""

    base: str
    candidate: str
    added: tuple[str, ...]
    """Ids of policies; one whose text changed is removed under its old id and added under its new."""
    removed: tuple[str, ...]
    observed: tuple[tuple[str, int | None, int | None], ...]
    """(policy, until when it was observed, until when it would be): None where it is enforced."""
    files: tuple[FileChange, ...]


def release_diff(base: Release, candidate: Release) -> ReleaseDiff:
    """Compare two releases as texts and as policies."""
    before = {policy.id: policy for policy in (*base.policies, *base.external.policies)}
    after = {policy.id: policy for policy in (*candidate.policies, *candidate.external.policies)}
    return ReleaseDiff(
        base=base.digest,
        candidate=candidate.digest,
        added=tuple(sorted(after.keys() - before.keys())),
        removed=tuple(sorted(before.keys() - after.keys())),
        observed=tuple(
            (name, before[name].observed_until_us, after[name].observed_until_us)
            for name in sorted(before.keys() & after.keys())
            if before[name].observed_until_us != after[name].observed_until_us
        ),
        files=tuple(_files(base.files, candidate.files)),
    )


def _files(before: Mapping[str, str], after: Mapping[str, str]) -> Iterable[FileChange]:
    for path in sorted(before.keys() | after.keys()):
        old, new = before.get(path), after.get(path)
        if old == new:
            continue
        lines = difflib.unified_diff(
            (old or "").splitlines(), (new or "").splitlines(), f"a/{path}", f"b/{path}", lineterm=""
        )
        text = "\n".join(line for line, _ in zip(lines, range(_MOST_LINES), strict=False))
        yield FileChange(path, "added" if old is None else "removed" if new is None else "changed", text)


@dataclass(frozen=True, slots=True)
class SliceChange:
    """One agent and tool whose rules change, or what one agent hands on to another."""

    agent: AgentId
    tool: ToolId
    """`@delegate`: handing work on to the callee, before any call."""
    added: tuple[str, ...]
    removed: tuple[str, ...]
    observed: tuple[str, ...]
    """Policies that change only between observed and enforced."""
    before: Reach
    after: Reach
    callee: AgentId | None = None
    """Set: these are the rules of handing the use of the tool on to that agent."""
    through: tuple[AgentId, ...] = ()
    """Who hands the use of this tool on to the agent, directly or by others: what is made of it changes as well."""
    onward: tuple[AgentId, ...] = ()
    """Whom the callee hands the use of this tool on to, directly or by others: what comes to them changes as well."""


def slice_diff(
    base: PolicySnapshot, candidate: PolicySnapshot, agents: Iterable[Agent], *, fleet: Iterable[Agent] | None = None
) -> tuple[SliceChange, ...]:
    """Everything of these agents whose rules are not the same under both, by agent, tool and callee.

    Their own tools come first, then what they hand on. Of other agents of the `fleet` (these alone, if there is none)
    that is named which these agents' work passes through. The snapshots must differ in their release alone.
    """
    asked = {agent.id: agent for agent in agents}
    known = asked if fleet is None else {agent.id: agent for agent in fleet} | asked
    chains = _Chains(known.values())
    comparison = _Comparison(base.beside(), candidate.beside(), chains)
    found = []
    near = asked.keys() | chains.connected(asked)
    for agent in sorted((known[each] for each in near if each in known), key=lambda one: one.id):
        tools = sorted({grant.tool for grant in agent.version.every_grant})
        changes = [comparison.of_a_call(agent, tool) for tool in tools]
        handed = [(known[callee], tool) for callee, tool in chains.below(agent) if callee in known]
        changes += [comparison.of_a_hop(agent, callee, tool) for callee, tool in handed]
        found += [one for one in changes if one is not None and not asked.keys().isdisjoint(_everybody(one))]
    return tuple(found)


def _everybody(change: SliceChange) -> frozenset[AgentId]:
    named = {change.agent, *change.through, *change.onward}
    return frozenset(named if change.callee is None else {*named, change.callee})


_Steps = defaultdict[tuple[AgentId, ToolId | None], list[AgentId]]


class _Chains:
    """Who hands on what to whom, as the manifests in force say."""

    def __init__(self, agents: Collection[Agent]) -> None:
        self._by: _Steps = defaultdict(list)
        self._to: _Steps = defaultdict(list)
        for agent in agents:
            for one in agent.version.delegates:
                if one.tool is not None:
                    self._by[one.callee, one.tool].append(agent.id)
                    self._to[agent.id, one.tool].append(one.callee)

    def above(self, agent: AgentId, tool: ToolId | None) -> tuple[AgentId, ...]:
        """Who can stand before an agent in a chain that uses a tool."""
        return _reached(self._by, agent, tool)

    def after(self, agent: AgentId, tool: ToolId | None) -> tuple[AgentId, ...]:
        """Who can stand behind it."""
        return _reached(self._to, agent, tool)

    def connected(self, agents: Collection[AgentId]) -> frozenset[AgentId]:
        """Everybody that one of these can stand in a chain with, and more."""
        next_to: defaultdict[AgentId, set[AgentId]] = defaultdict(set)
        for steps in (self._by, self._to):
            for (agent, _), others in steps.items():
                next_to[agent].update(others)
        found, reached = set(agents), set(agents)
        for _ in range(MAX_ACTORS - 1):
            reached = {other for one in reached for other in next_to.get(one, ())} - found
            found |= reached
        return frozenset(found)

    def below(self, agent: Agent) -> list[tuple[AgentId, ToolId | None]]:
        """To whom an agent hands on, first that it may at all (None), then which tools."""
        handed = {(one.callee, one.tool) for one in agent.version.delegates}
        return sorted(handed, key=lambda one: (one[0], one[1] or ""))


def _reached(steps: _Steps, agent: AgentId, tool: ToolId | None) -> tuple[AgentId, ...]:
    found: set[AgentId] = set()
    reached = {agent}
    for _ in range(MAX_ACTORS - 1 if tool is not None else 0):
        reached = {other for one in reached for other in steps.get((one, tool), ())} - found - {agent}
        found |= reached
    return tuple(sorted(found))


class _Comparison:
    """The two snapshots and what is remembered of them."""

    def __init__(self, before: PolicySnapshot, after: PolicySnapshot, chains: _Chains) -> None:
        self._before, self._after, self._chains = before, after, chains
        self._reaches = Reaches(before), Reaches(after)

    def of_a_call(self, agent: Agent, tool: ToolId) -> SliceChange | None:
        made = self._made(agent, tool, lambda snapshot: snapshot.slice_for(agent, tool))
        return None if made is None else replace(made, through=self._chains.above(agent.id, tool))

    def of_a_hop(self, agent: Agent, callee: Agent, tool: ToolId | None) -> SliceChange | None:
        made = self._made(
            agent,
            ToolId(DELEGATE) if tool is None else tool,
            lambda snapshot: (
                snapshot.handing_on(agent, callee) if tool is None else snapshot.hop_slice(agent, callee, tool)
            ),
        )
        if made is None:
            return None
        above, after = self._chains.above(agent.id, tool), self._chains.after(callee.id, tool)
        return replace(made, callee=callee.id, through=above, onward=after)

    def _made(
        self,
        agent: Agent,
        tool: ToolId,
        of: Callable[[PolicySnapshot], Slice | Inadmissible],
    ) -> SliceChange | None:
        old, new = _slice(of, self._before), _slice(of, self._after)
        if old is None or new is None or old.digest == new.digest:
            return None
        ids, others = _ids(old), _ids(new)
        return SliceChange(
            agent=agent.id,
            tool=tool,
            added=tuple(sorted(others.keys() - ids.keys())),
            removed=tuple(sorted(ids.keys() - others.keys())),
            observed=tuple(sorted(name for name in ids.keys() & others.keys() if ids[name] != others[name])),
            before=self._reaches[0].of(old),
            after=self._reaches[1].of(new),
        )


def _slice(of: Callable[[PolicySnapshot], Slice | Inadmissible], snapshot: PolicySnapshot) -> Slice | None:
    """None where no policy is asked at all: no release changes that."""
    try:
        part = of(snapshot)
    except (InvalidInputError, UnavailableError):
        return None
    return None if isinstance(part, Inadmissible) else part


def _ids(part: Slice) -> dict[str, int | None]:
    return {policy.id: policy.observed_until_us for policy in part.policies}
