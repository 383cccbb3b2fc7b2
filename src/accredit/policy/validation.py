"""The access validation: what a version could do under the release in force, and what it asks for beyond need.

Every granted tool is judged as a whole and once per data class, by the slices decisions are made from: a forbid on one
class shows up at that class. What is found in excess blocks the votes that judge it (DESIGN §6), so each finding names
the thing and what to do about it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

from accredit.kernel.canonical import Digest, digest_value
from accredit.kernel.codes import Code
from accredit.kernel.ids import AgentId, ToolId
from accredit.policy.enforced import MOST_TOOLS, Access, AccessOutcome, access, as_it_would_run
from accredit.policy.snapshot import PolicySnapshot
from accredit.policy.sources import Layer
from accredit.registry.catalogue import Catalogue
from accredit.registry.model import Agent, AgentState, AgentVersion, Tier, Tool, ToolGrant

__all__ = ["AccessReport", "AccessRow", "CeilingHit", "Excess", "ExcessKind", "access_report"]

_MOST_DELEGATES = 200


class ExcessKind(StrEnum):
    """What is asked for and should not be."""

    DATA_UNUSED = "data-unused"
    DATA_UNDECLARED = "data-undeclared"
    GRANT_FORBIDDEN = "grant-forbidden"
    DELEGATE_TOOL = "delegate-tool"
    DELEGATE_DATA = "delegate-data"
    DELEGATE_UNKNOWN = "delegate-unknown"
    TOO_MANY = "too-many"
    """More than anybody could judge."""


@dataclass(frozen=True, slots=True)
class AccessRow:
    """One granted tool as a whole, or one data class that it carries."""

    tool: ToolId
    data_class: str | None
    """None: the whole tool."""
    outcome: AccessOutcome
    policies: tuple[str, ...]
    conditions: tuple[str, ...]
    code: Code | None
    effect: str | None
    """None: the tool is not registered."""
    definition: Digest | None
    slice: Digest | None

    def document(self) -> dict[str, Any]:
        return {
            "code": self.code,
            "conditions": list(self.conditions),
            "data_class": self.data_class,
            "definition": self.definition,
            "effect": self.effect,
            "outcome": self.outcome,
            "policies": list(self.policies),
            "slice": self.slice,
            "tool": self.tool,
        }


@dataclass(frozen=True, slots=True)
class Excess:
    """One thing too much."""

    code: ExcessKind
    what: str
    why: str

    def __str__(self) -> str:
        return f"`{self.what}`: {self.why}"


@dataclass(frozen=True, slots=True)
class CeilingHit:
    """A hand-written policy that holds or limits calls of granted tools."""

    policy: str
    layer: Layer
    role: str | None
    """Of a hold: who can let a call through."""
    reads: tuple[str, ...]
    """What of a call it depends on."""
    tools: tuple[ToolId, ...]


@dataclass(frozen=True, slots=True)
class AccessReport:
    """What a version may do, what is too much, and what keeps it within bounds."""

    agent: AgentId
    release: Digest
    """Under which it was made. Not in the digest: a release that changes nothing for this agent voids nothing."""
    rows: tuple[AccessRow, ...]
    excess: tuple[Excess, ...]
    ceilings: tuple[CeilingHit, ...]

    def document(self) -> dict[str, Any]:
        """All but the release, ready for JSON; equal for equal access."""
        return {
            "agent": self.agent,
            "ceilings": [
                {
                    "layer": one.layer,
                    "policy": one.policy,
                    "reads": list(one.reads),
                    "role": one.role,
                    "tools": list(one.tools),
                }
                for one in self.ceilings
            ],
            "excess": [{"code": one.code, "what": one.what, "why": one.why} for one in self.excess],
            "rows": [row.document() for row in self.rows],
        }

    @property
    def digest(self) -> Digest:
        """Over every row, excess and ceiling, and so over every policy in scope of any of them."""
        return digest_value("access-report", self.document())


@dataclass(frozen=True, slots=True)
class _Judged:
    """One tool's rows, with all that is known of the whole tool."""

    whole: Access
    rows: tuple[AccessRow, ...]


def access_report(
    version: AgentVersion,
    catalogue: Catalogue,
    snapshot: PolicySnapshot,
    agent: Agent,
    *,
    tier: Tier = Tier.HIGH,
) -> AccessReport:
    """The report on an agent with that version in force under a tier. The same arguments always give the same report.

    Raises:
        UnavailableError: the engine failed, so nothing can be said.
        InvalidInputError: a grant does not compile.
    """
    beside = snapshot.beside()
    running = as_it_would_run(agent, version, tier)
    grants = sorted(version.grants, key=lambda grant: grant.tool)[:MOST_TOOLS]
    granted = [snapshot.tools[grant.tool] for grant in grants if grant.tool in snapshot.tools]
    by_class = {
        name: _with_only(beside, name, granted) for name in sorted(frozenset[str]().union(*(t.data for t in granted)))
    }
    judged = {grant.tool: _tool_rows(grant, running, beside, by_class) for grant in grants}
    excess = [
        *_unused(version, snapshot.tools),
        *(found for tool, one in judged.items() for found in _refused(tool, one)),
        *_delegated(version, catalogue, snapshot.tools, agent.id),
    ]
    if len(version.grants) > MOST_TOOLS:
        why = f"{len(version.grants)} tools are granted, and {MOST_TOOLS} can be judged: split the agent"
        excess.append(Excess(ExcessKind.TOO_MANY, "tools", why))
    return AccessReport(
        agent=agent.id,
        release=snapshot.release.digest,
        rows=tuple(row for one in judged.values() for row in one.rows),
        excess=tuple(sorted(excess, key=lambda found: (found.code, found.what, found.why))),
        ceilings=_ceilings(judged),
    )


def _with_only(snapshot: PolicySnapshot, data_class: str, granted: Iterable[Tool]) -> PolicySnapshot:
    """The same installation, in which the granted tools carry that class alone."""
    servers = dict(snapshot.servers)
    for tool in granted:
        server = servers[tool.server]
        narrowed = replace(tool, data=tool.data & {data_class})
        servers[tool.server] = replace(server, tools={**server.tools, tool.name: narrowed})
    return snapshot.with_catalogue(servers.values())


_OPENNESS = tuple(AccessOutcome)


def _widest(running: Iterable[Agent], tool: ToolId, snapshot: PolicySnapshot) -> Access:
    """Of all states in which it could run: what it could ever do."""
    return min((access(one, tool, snapshot) for one in running), key=lambda found: _OPENNESS.index(found.outcome))


def _tool_rows(
    grant: ToolGrant, running: tuple[Agent, ...], whole: PolicySnapshot, by_class: Mapping[str, PolicySnapshot]
) -> _Judged:
    tool = whole.tools.get(grant.tool)
    found = _widest(running, grant.tool, whole)
    rows = [_row(grant.tool, tool, None, found)]
    if tool is not None:
        for name in sorted(tool.data):
            one = _widest(running, grant.tool, by_class[name])
            if name not in tool.shown(grant.mask) and one.outcome is not AccessOutcome.FORBIDDEN:
                one = replace(one, outcome=AccessOutcome.MASKED)
            rows.append(_row(grant.tool, tool, name, one))
    return _Judged(found, tuple(rows))


def _row(own: ToolId, tool: Tool | None, data_class: str | None, found: Access) -> AccessRow:
    effect = None
    if tool is not None:
        effect = f"{tool.effect} {tool.scope}" if tool.scope else str(tool.effect)
    return AccessRow(
        tool=own,
        data_class=data_class,
        outcome=found.outcome,
        policies=found.policies,
        conditions=found.conditions,
        code=found.code,
        effect=effect,
        definition=tool.definition_digest if tool else None,
        slice=found.slice,
    )


def _unused(version: AgentVersion, tools: Mapping[ToolId, Tool]) -> Iterator[Excess]:
    carried = frozenset[str]().union(
        *(tools[grant.tool].shown(grant.mask) for grant in version.grants if grant.tool in tools)
    )
    for name in sorted(version.data - carried):
        yield Excess(ExcessKind.DATA_UNUSED, name, "no granted tool carries this data class: leave it out of `data`")


def _refused(tool: ToolId, judged: _Judged) -> Iterator[Excess]:
    """A tool all of whose calls are refused is one finding; otherwise each data class that would be."""
    whole, *classes = judged.rows
    refused = [row for row in classes if row.outcome is AccessOutcome.FORBIDDEN]
    undeclared = [row for row in refused if row.code is Code.DATA_CLASS_UNDECLARED]
    for row in undeclared:
        why = f"carries `{row.data_class}`, which `data` does not name: declare it, mask it, or do not grant the tool"
        yield Excess(ExcessKind.DATA_UNDECLARED, tool, why)
    if len(undeclared) < len(refused) < len(classes) or undeclared:
        for row in refused:
            if row not in undeclared:
                yield _forbidden(tool, row, f"every call that touches `{row.data_class}` is refused")
    elif whole.outcome is AccessOutcome.FORBIDDEN:
        yield _forbidden(tool, whole, "every call is refused")


def _forbidden(tool: ToolId, row: AccessRow, what: str) -> Excess:
    by = ", ".join(f"`{policy}`" for policy in row.policies) or (row.code.meaning if row.code else "default")
    return Excess(ExcessKind.GRANT_FORBIDDEN, tool, f"{what} ({by}): do not grant the tool")


def _delegated(
    version: AgentVersion, catalogue: Catalogue, tools: Mapping[ToolId, Tool], own: AgentId
) -> Iterator[Excess]:
    """What agents that it may call, and those they may call, reach beyond what it was granted itself."""
    granted = {grant.tool for grant in version.grants}
    seen, waiting = {own}, [AgentId(agent) for agent in version.manifest["spec"]["delegates"]]
    while waiting:
        name = waiting.pop()
        if name in seen:
            continue
        if len(seen) > _MOST_DELEGATES:
            why = f"more than {_MOST_DELEGATES} agents can be reached through delegates: delegate to fewer"
            yield Excess(ExcessKind.TOO_MANY, "delegates", why)
            return
        seen.add(name)
        delegate = catalogue.agent(name)
        if delegate is None:
            yield Excess(ExcessKind.DELEGATE_UNKNOWN, name, "no such agent: do not delegate to it")
            continue
        if delegate.state is AgentState.RETIRED:
            continue
        waiting += [AgentId(agent) for agent in delegate.version.manifest["spec"]["delegates"]]
        for grant in delegate.version.grants:
            if grant.tool not in granted:
                yield Excess(ExcessKind.DELEGATE_TOOL, name, f"reaches `{grant.tool}`, which the agent was not granted")
        carried = delegate.version.data.union(
            *(tools[grant.tool].shown(grant.mask) for grant in delegate.version.grants if grant.tool in tools)
        )
        for data_class in sorted(carried - version.data):
            yield Excess(ExcessKind.DELEGATE_DATA, name, f"reaches `{data_class}`, which the agent does not declare")


def _ceilings(judged: Mapping[ToolId, _Judged]) -> tuple[CeilingHit, ...]:
    hits: dict[str, CeilingHit] = {}
    for tool, one in judged.items():
        for policy in one.whole.ceilings:
            known = hits.get(policy.id)
            reads = tuple(sorted({".".join(read.path) or "the whole call" for read in policy.reads}))
            tools = (*(known.tools if known else ()), tool)
            hits[policy.id] = CeilingHit(policy.id, policy.layer, policy.hold, reads, tools)
    return tuple(hits[policy] for policy in sorted(hits))
