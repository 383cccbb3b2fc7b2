"""What a candidate release changes before any call is looked at: texts, and exactly whose rules of which tool.

A pair of agent and tool is touched if the policies in scope of it, word for word, or which of them are only observed,
are not the same. Whatever is not named here decides every call as before (property: tests/policy/test_difference.py).
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from accredit.kernel.errors import InvalidInputError, UnavailableError
from accredit.kernel.ids import AgentId, ToolId
from accredit.policy.reach import Reach, Reaches
from accredit.policy.release import Release
from accredit.policy.snapshot import Inadmissible, PolicySnapshot, Slice
from accredit.registry.model import Agent

__all__ = ["FileChange", "ReleaseDiff", "SliceChange", "release_diff", "slice_diff"]

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
    """One agent and tool whose rules change."""

    agent: AgentId
    tool: ToolId
    added: tuple[str, ...]
    removed: tuple[str, ...]
    observed: tuple[str, ...]
    """Policies that change only between observed and enforced."""
    before: Reach
    after: Reach


def slice_diff(base: PolicySnapshot, candidate: PolicySnapshot, agents: Iterable[Agent]) -> tuple[SliceChange, ...]:
    """Every agent and granted tool whose rules are not the same under both, by agent and tool.

    The snapshots must differ in their release alone.
    """
    before, after = base.beside(), candidate.beside()
    reaches = Reaches(before), Reaches(after)
    found = []
    for agent in sorted(agents, key=lambda one: one.id):
        for tool in sorted({grant.tool for grant in agent.version.every_grant}):
            old, new = _slice(before, agent, tool), _slice(after, agent, tool)
            if old is None or new is None or old.digest == new.digest:
                continue
            ids, others = _ids(old), _ids(new)
            found.append(
                SliceChange(
                    agent=agent.id,
                    tool=tool,
                    added=tuple(sorted(others.keys() - ids.keys())),
                    removed=tuple(sorted(ids.keys() - others.keys())),
                    observed=tuple(sorted(name for name in ids.keys() & others.keys() if ids[name] != others[name])),
                    before=reaches[0].of(old),
                    after=reaches[1].of(new),
                )
            )
    return tuple(found)


def _slice(snapshot: PolicySnapshot, agent: Agent, tool: ToolId) -> Slice | None:
    """None where no policy is asked at all: no release changes that."""
    try:
        part = snapshot.slice_for(agent, tool)
    except (InvalidInputError, UnavailableError):
        return None
    return None if isinstance(part, Inadmissible) else part


def _ids(part: Slice) -> dict[str, int | None]:
    return {policy.id: policy.observed_until_us for policy in part.policies}
