"""The access validation: what a version could do under the release in force, and what it asks for beyond need.

Every granted tool and model is judged as a whole and once per data class, by the slices decisions are made from: a
forbid on one class shows up at that class. What is found in excess blocks the votes that judge it (DESIGN §6), so each
finding names the thing and what to do about it. A model whose provider does not stand behind the gateway is out of
reach here, and no excess: how an agent gets to it is not ours to say.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

from accredit.kernel.canonical import Digest, digest_value
from accredit.kernel.codes import Code
from accredit.kernel.ids import AgentId, ToolId
from accredit.policy.enforced import MOST_TOOLS, Access, AccessOutcome, access, access_of, as_it_would_run
from accredit.policy.snapshot import PolicySnapshot
from accredit.policy.sources import Layer
from accredit.registry.catalogue import Catalogue
from accredit.registry.lifecycle import RUNS_IN
from accredit.registry.model import Agent, AgentState, AgentVersion, Tier, Tool, ToolGrant
from accredit.registry.versions import delegate_ids

__all__ = ["AccessReport", "AccessRow", "CeilingHit", "DelegatedTool", "Excess", "ExcessKind", "access_report"]

_MOST_HOPS = 3
_MOST_REACHED = 200


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
    """One granted tool or model as a whole, or one data class that it carries."""

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
            "code": self.code.value if self.code else None,
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
class DelegatedTool:
    """One tool that is handed on to another agent."""

    agent: AgentId
    tool: ToolId
    outcome: AccessOutcome
    """Of handing it on; what the other agent may do with it is its own report's."""
    policies: tuple[str, ...]
    conditions: tuple[str, ...]
    code: Code | None
    data: tuple[str, ...]
    reached: tuple[AgentId, ...] | None
    """The agents that could use it for this one; None: too many to judge."""

    def document(self) -> dict[str, Any]:
        return {
            "agent": self.agent,
            "code": self.code.value if self.code else None,
            "conditions": list(self.conditions),
            "data": list(self.data),
            "outcome": self.outcome,
            "policies": list(self.policies),
            "reached": list(self.reached) if self.reached is not None else None,
            "tool": self.tool,
        }


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
    delegates: tuple[DelegatedTool, ...] = ()
    models: tuple[AccessRow, ...] = ()
    """Of the language models it may use, as of tools."""

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
            **({"delegates": [row.document() for row in self.delegates]} if self.delegates else {}),
            **({"models": [row.document() for row in self.models]} if self.models else {}),
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
    seen: frozenset[str] = frozenset(),
) -> AccessReport:
    """The report on an agent with that version in force under a tier. The same arguments always give the same report.

    `seen` are data classes that were found in what its tools answered, whatever is registered of them.

    Raises:
        UnavailableError: the engine failed, so nothing can be said.
        InvalidInputError: a grant does not compile.
    """
    beside = snapshot.beside()
    running = as_it_would_run(agent, version, tier)
    grants = sorted(version.grants, key=lambda grant: grant.tool)[:MOST_TOOLS]
    models = sorted(version.models, key=lambda grant: grant.tool)[:MOST_TOOLS]
    granted = [snapshot.tools[grant.tool] for grant in (*grants, *models) if grant.tool in snapshot.tools]
    by_class = {
        name: _with_only(beside, name, granted) for name in sorted(frozenset[str]().union(*(t.data for t in granted)))
    }
    judged = {grant.tool: _tool_rows(grant, running, beside, by_class) for grant in grants}
    of_models = {grant.tool: _tool_rows(grant, running, beside, by_class) for grant in models}
    reached = {tool: one for tool, one in of_models.items() if tool in snapshot.tools}
    handed_on = tuple(_delegations(version, running, catalogue, beside))
    if len(handed_on) > MOST_TOOLS:
        handed_on = handed_on[:MOST_TOOLS]
    excess = [
        *_unused(version, snapshot.tools, seen),
        *(found for tool, one in (*judged.items(), *reached.items()) for found in _refused(tool, one)),
        *_delegated(version, handed_on, catalogue),
    ]
    if len(version.grants) > MOST_TOOLS:
        why = f"{len(version.grants)} tools are granted, and {MOST_TOOLS} can be judged: split the agent"
        excess.append(Excess(ExcessKind.TOO_MANY, "tools", why))
    if len(version.models) > MOST_TOOLS:
        why = f"{len(version.models)} models are granted, and {MOST_TOOLS} can be judged: grant fewer"
        excess.append(Excess(ExcessKind.TOO_MANY, "models", why))
    if len(version.delegates) > MOST_TOOLS:
        why = f"{len(version.delegates)} tools are handed on, and {MOST_TOOLS} can be judged: delegate less"
        excess.append(Excess(ExcessKind.TOO_MANY, "delegates", why))
    return AccessReport(
        agent=agent.id,
        release=snapshot.release.digest,
        rows=tuple(row for one in judged.values() for row in one.rows),
        excess=tuple(sorted(excess, key=lambda found: (found.code, found.what, found.why))),
        ceilings=_ceilings({**judged, **reached}),
        delegates=handed_on,
        models=tuple(row for one in of_models.values() for row in one.rows),
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


def _unused(version: AgentVersion, tools: Mapping[ToolId, Tool], seen: frozenset[str]) -> Iterator[Excess]:
    carried = frozenset[str]().union(
        *(tools[grant.tool].shown(grant.mask) for grant in version.every_grant if grant.tool in tools),
        *(tools[one.tool].data for one in version.delegates if one.tool is not None and one.tool in tools),
    )
    for name in sorted(version.data - carried - seen):
        yield Excess(
            ExcessKind.DATA_UNUSED, name, "no granted tool or model carries this data class: leave it out of `data`"
        )


def _refused(tool: ToolId, judged: _Judged) -> Iterator[Excess]:
    """A tool all of whose calls are refused is one finding; otherwise each data class that would be."""
    whole, *classes = judged.rows
    refused = [row for row in classes if row.outcome is AccessOutcome.FORBIDDEN]
    undeclared = [row for row in refused if row.code is Code.DATA_CLASS_UNDECLARED]
    for row in undeclared:
        why = f"carries `{row.data_class}`, which `data` does not name: declare it, mask it, or do not grant it"
        yield Excess(ExcessKind.DATA_UNDECLARED, tool, why)
    if len(undeclared) < len(refused) < len(classes) or undeclared:
        for row in refused:
            if row not in undeclared:
                yield _forbidden(tool, row, f"every call that touches `{row.data_class}` is refused")
    elif whole.outcome is AccessOutcome.FORBIDDEN:
        yield _forbidden(tool, whole, "every call is refused")


def _forbidden(tool: ToolId, row: AccessRow, what: str) -> Excess:
    by = ", ".join(f"`{policy}`" for policy in row.policies) or (row.code.meaning if row.code else "default")
    return Excess(ExcessKind.GRANT_FORBIDDEN, tool, f"{what} ({by}): do not grant it")


def _delegations(
    version: AgentVersion, running: tuple[Agent, ...], catalogue: Catalogue, snapshot: PolicySnapshot
) -> Iterator[DelegatedTool]:
    """Every tool that is handed on, and what would become of it at the agent that it is handed to."""
    for one in version.delegates:
        callee = catalogue.agent(one.callee)
        if one.tool is None:
            continue
        tool = snapshot.tools.get(one.tool)
        found = Access(AccessOutcome.FORBIDDEN, code=Code.DELEGATION_NOT_GRANTED)
        if callee is not None:
            parts = (access_of(snapshot.hop_slice(each, _as_running(callee), one.tool), snapshot) for each in running)
            found = min(parts, key=lambda each: _OPENNESS.index(each.outcome))
            if found.outcome is AccessOutcome.CONDITIONAL and not found.conditions and not found.ceilings:
                found = replace(found, outcome=AccessOutcome.ALLOWED)  # it only says which tool it is for
        reached = _reached(one.callee, one.tool, catalogue, {running[0].id})
        yield DelegatedTool(
            agent=one.callee,
            tool=one.tool,
            outcome=found.outcome,
            policies=found.policies,
            conditions=found.conditions,
            code=found.code,
            data=tuple(sorted(tool.data)) if tool is not None else (),
            reached=reached,
        )


def _as_running(agent: Agent) -> Agent:
    """The agent as it will be when it runs, if it does not yet: what is handed on to it waits for that."""
    states = RUNS_IN[agent.environment]
    return agent if agent.state in states else replace(agent, state=min(states))


def _reached(first: AgentId, tool: ToolId, catalogue: Catalogue, seen: set[AgentId]) -> tuple[AgentId, ...] | None:
    """The agents that could use the tool for it, the one it is handed to or some behind; None: too many to judge."""
    found: set[AgentId] = set()
    waiting, seen = [(first, 1)], {*seen}
    while waiting:
        name, depth = waiting.pop(0)
        agent = catalogue.agent(name)
        if name in seen or agent is None or agent.state is AgentState.RETIRED:
            continue
        seen.add(name)
        if len(seen) > _MOST_REACHED:
            return None
        if agent.version.grant(tool) is not None:
            found.add(name)
        if depth < _MOST_HOPS:
            waiting += [(one.callee, depth + 1) for one in agent.version.delegates if one.tool == tool]
    return tuple(sorted(found))


def _delegated(version: AgentVersion, rows: Iterable[DelegatedTool], catalogue: Catalogue) -> Iterator[Excess]:
    """What is handed on to no end, or carries what the agent does not declare."""
    for name in delegate_ids(version.manifest["spec"]):
        if catalogue.agent(name) is None:
            yield Excess(ExcessKind.DELEGATE_UNKNOWN, name, "no such agent: do not delegate to it")
    for row in rows:
        known = catalogue.agent(row.agent)
        if known is None or known.state is AgentState.RETIRED:
            continue
        if row.reached is None:
            why = f"more than {_MOST_REACHED} agents can be reached through it: delegate to fewer"
            yield Excess(ExcessKind.TOO_MANY, row.agent, why)
        elif not row.reached:
            why = f"`{row.tool}` is granted neither to it nor to anybody it hands that on to: do not delegate it"
            yield Excess(ExcessKind.DELEGATE_TOOL, row.agent, why)
        for data_class in sorted(set(row.data) - version.data):
            why = f"`{row.tool}` carries `{data_class}`, which the agent does not declare"
            yield Excess(ExcessKind.DELEGATE_DATA, row.agent, why)
        if row.outcome is AccessOutcome.FORBIDDEN and row.policies:
            by = ", ".join(f"`{policy}`" for policy in row.policies)
            why = f"handing on `{row.tool}` is always refused ({by}): do not delegate it"
            yield Excess(ExcessKind.GRANT_FORBIDDEN, row.agent, why)


def _ceilings(judged: Mapping[ToolId, _Judged]) -> tuple[CeilingHit, ...]:
    hits: dict[str, CeilingHit] = {}
    for tool, one in judged.items():
        for policy in one.whole.ceilings:
            known = hits.get(policy.id)
            reads = tuple(sorted({".".join(read.path) or "the whole call" for read in policy.reads}))
            tools = (*(known.tools if known else ()), tool)
            hits[policy.id] = CeilingHit(policy.id, policy.layer, policy.hold, reads, tools)
    return tuple(hits[policy] for policy in sorted(hits))
