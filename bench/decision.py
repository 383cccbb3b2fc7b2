"""What one decision costs, in process, from a parsed request to a `Decision` (DESIGN §10, row `decision`).

The scan for reserved keys, the slice look-up, projection and encoding are inside what is timed. Each timed decision
stands beside a timed call of the bare engine in the same loop: one policy, the same context, dict UIDs, so that the
ratio holds on a machine of any mood.
"""

from __future__ import annotations

import argparse
import gc
import itertools
import sys
import time
from bisect import bisect
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random  # noqa: TID251 - seeded draws, the same in every run
from statistics import median
from typing import Any

import cedarpy

sys.path.insert(0, str(Path(__file__).parent))

from _report import report
from accredit.kernel.canonical import digest_value
from accredit.kernel.hours import Hours
from accredit.kernel.ids import AgentId, PersonId, ServerName, TeamId, ToolId, tool_id
from accredit.policy.decide import decide
from accredit.policy.engines.cedar import CedarEngine
from accredit.policy.grants import GrantBook
from accredit.policy.model import CallRequest, Outcome
from accredit.policy.release import Release, read_release
from accredit.policy.snapshot import PolicySnapshot, Slice
from accredit.registry.model import (
    Agent,
    AgentLimits,
    AgentState,
    AgentVersion,
    Effect,
    Environment,
    Team,
    Tier,
    Tool,
    ToolGrant,
    ToolServer,
    WriteScope,
)

KINDS = 200
"""Kinds of agents: agents of one kind have equal manifests and ceilings, each agent its own policies and ids."""
TEAMS, SERVERS, TOOLS_EACH, TOOLS_OF_AGENT = 20, 40, 5, 5
BUDGET = 64 * 1024 * 1024
CLASSES = ("public", "internal", "confidential", "personal", "financial")
ENGINE = CedarEngine()


def servers() -> list[ToolServer]:
    """Forty servers of five tools; what a tool does and touches varies."""
    schema = {
        "type": "object",
        "properties": {
            "customer_id": {"type": "string"},
            "limit": {"type": "integer"},
            "note": {"type": "string"},
        },
        "required": ["customer_id"],
    }
    effects = (Effect.READ, Effect.READ, Effect.WRITE, Effect.READ, Effect.EXTERNAL)
    made = []
    for number in range(SERVERS):
        tools = {}
        for position, effect in enumerate(effects):
            name = f"tool-{position}"
            definition = {"name": name, "inputSchema": schema}
            tools[name] = Tool(
                id=tool_id(f"server-{number}", name),
                server=ServerName(f"server-{number}"),
                name=name,
                effect=effect,
                scope=WriteScope.RECORD if effect is Effect.WRITE else None,
                data=frozenset({CLASSES[(number + position) % len(CLASSES)]}),
                price=None,
                definition=definition,
                definition_digest=digest_value("tool", [number, position]),
            )
        made.append(
            ToolServer(ServerName(f"server-{number}"), Environment.DEVELOPMENT, "http://127.0.0.1:1", None, tools)
        )
    return made


def org_policies() -> str:
    """Fifty guardrails as an organisation writes them: by team, class, server and effect; some hold, some are total."""
    calls = "context has session && context.session has calls && context.session.calls"
    lines = [
        f'forbid (principal in Team::"team-{n}", action in Action::"@write", resource in DataClass::"financial") '
        f"when {{ {calls} > {100 + n} }};"
        for n in range(20)
    ]
    lines += [
        f'forbid (principal, action in Action::"@external", resource in Server::"server-{n}") '
        f"unless {{ context.now.minute >= {n} }};"
        for n in range(10)
    ]
    lines += [
        f'@hold("owner-{n}") forbid (principal in Team::"team-{n}", action in Action::"@external", '
        f'resource in Server::"server-{20 + n}");'
        for n in range(8)
    ]
    for n, name in enumerate(CLASSES[2:]):
        lines.append(f'forbid (principal in RiskTier::"high", action, resource in DataClass::"{name}");')
        lines.append(f'forbid (principal, action, resource in DataClass::"{name}") when {{ {calls} > {5000 + n} }};')
    lines += [
        'forbid (principal in State::"retired", action, resource);',
        'forbid (principal, action, resource in Environment::"production");',
        f"forbid (principal, action, resource) when {{ {calls} > 10000 }};",
        'forbid (principal, action in Action::"@administer", resource);',
        'forbid (principal, action in Action::"@irreversible", resource) unless { context has user };',
        '@hold("security") forbid (principal, action in Action::"@write", resource in Server::"server-39");',
    ]
    assert len(lines) == 50
    return "\n".join(lines)


def agent_policies(number: int, kind: int, tools: list[ToolId]) -> str:
    """An agent's own three: one on a tool, one on its writes, one on all it does."""
    me = f'principal == Agent::"agent-{number}"'
    count = "context has session && context.session has calls && context.session.calls"
    return (
        f'forbid ({me}, action == Action::"{tools[0]}", resource) '
        f"when {{ context.input has limit && context.input.limit > {50 + kind} }};\n"
        f'forbid ({me}, action in Action::"@write", resource) when {{ {count} > {200 + kind} }};\n'
        f"forbid ({me}, action, resource) when {{ {count} > {1000 + kind} }};\n"
    )


def tools_of(kind: int) -> list[ToolId]:
    draw = Random(kind)
    return [
        tool_id(f"server-{number}", f"tool-{draw.randrange(TOOLS_EACH)}")
        for number in draw.sample(range(SERVERS), TOOLS_OF_AGENT)
    ]


def grants_of(kind: int) -> tuple[ToolGrant, ...]:
    hours = Hours.parse(f"{kind % 8:02d}:00-{18 + kind % 6}:00", ["mon", "tue", "wed", "thu", "fri"], "Europe/Berlin")
    role, same = f"role-{kind % 12}", (("input.customer_id", "task.customer_id"),)
    return tuple(
        ToolGrant(tool, digest_value("grant", [tool, role, hours.start, hours.end]), role, same, hours)
        for tool in tools_of(kind)
    )


def fleet(count: int) -> tuple[list[Agent], Release]:
    """That many agents, and the release in which each has three policies of its own beside the fifty."""
    limits, files, agents = AgentLimits(60, 4, 30.0, 1200.0, None), {"org/rules.cedar": org_policies()}, []
    names = {f"agent-{number}": f"agt_{number:026d}" for number in range(count)}
    for number in range(count):
        kind = number % KINDS
        files[f"agent/agent-{number}/own.cedar"] = agent_policies(number, kind, tools_of(kind))
        version = AgentVersion(
            digest=digest_value("version", number),
            manifest={},
            facets={},
            grants=grants_of(kind),
            data=frozenset(CLASSES),
            zone="Europe/Berlin",
            limits=limits,
        )
        team = f"team-{kind % TEAMS}"
        agents.append(
            Agent(
                AgentId(names[f"agent-{number}"]),
                f"agent-{number}",
                Team(TeamId(team), team, frozenset({"Europe/Berlin"})),
                Environment.DEVELOPMENT,
                AgentState.DRAFT,
                PersonId("per_1"),
                None,
                version,
                tier=Tier.LOW,
            )
        )
    return agents, read_release(files, ENGINE, agents=names)


def request(agent: Agent, position: int, customer: int) -> CallRequest:
    """A call with six populated paths in its context, which the agent's grant allows."""
    grant = agent.version.grants[position]
    context = {
        "input": {"customer_id": f"c-{customer}"},
        "user": {"roles": [grant.user_role, "employee"]},
        "task": {"customer_id": f"c-{customer}"},
        "now": {"minute": 720, "day": "wed"},
        "session": {"calls": 3},
    }
    return CallRequest(agent, grant.tool, context)


def drawn(agents: list[Agent], seed: int, *, zipf: bool) -> Iterator[CallRequest]:
    """Calls over all agent and tool pairs: Zipf(1.1) over a shuffled order of them, or uniform."""
    draw = Random(seed)
    pairs = [(agent, position) for agent in agents for position in range(TOOLS_OF_AGENT)]
    draw.shuffle(pairs)
    weights = list(itertools.accumulate(1 / (rank + 1) ** 1.1 if zipf else 1.0 for rank in range(len(pairs))))
    while True:
        agent, position = pairs[bisect(weights, draw.random() * weights[-1])]
        yield request(agent, position, draw.randrange(1000))


def timed(call: Callable[[], Any]) -> tuple[float, Any]:
    start = time.perf_counter_ns()
    answer = call()
    return (time.perf_counter_ns() - start) / 1000, answer


class Bare:
    """The engine alone: one policy, dict UIDs, the context as a dict, no entities to speak of."""

    def __init__(self) -> None:
        self.handle = cedarpy.PolicySet.from_str("permit (principal, action, resource);")
        self.entities = cedarpy.Entities.from_json_str("[]")

    def __call__(self, call: CallRequest) -> Callable[[], Any]:
        named = {
            "principal": {"type": "Agent", "id": call.agent.id},
            "action": {"type": "Action", "id": call.tool},
            "resource": {"type": "Tool", "id": call.tool},
            "context": call.context,
        }
        return lambda: cedarpy.is_authorized(named, self.handle, self.entities).allowed


def side_by_side(
    count: int, *subjects: tuple[Iterator[CallRequest], Callable[[CallRequest], Callable[[], Any]]]
) -> list[list[float]]:
    """Time every subject once per round, in turn."""
    times: list[list[float]] = [[] for _ in subjects]
    for _ in range(count):
        for (calls, made), taken in zip(subjects, times, strict=True):
            spent, _ = timed(made(next(calls)))
            taken.append(spent)
    return times


def resident_mb() -> float:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * 4096 / 1e6


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--quick", action="store_true", help="fewer rounds: under 45 s")
    quick = options.parse_args().quick
    warm, rounds = (16_000, 4_000) if quick else (60_000, 20_000)

    began = time.perf_counter()
    gc.disable()  # nothing built here dies before the end
    agents, release = fleet(10_000)
    few, small = fleet(100)
    everything, grants = servers(), GrantBook(ENGINE)
    for agent in agents[:KINDS]:
        grants.warm(agent.version.grants)
    big = PolicySnapshot(release, everything, ENGINE, budget_bytes=BUDGET, grants=grants)
    little = PolicySnapshot(small, everything, ENGINE, budget_bytes=BUDGET, grants=grants)
    built = time.perf_counter() - began
    gc.freeze()
    gc.enable()

    def subject(snapshot: PolicySnapshot) -> Callable[[CallRequest], Callable[[], Any]]:
        return lambda call: lambda: decide(call, snapshot)

    zipf, uniform = drawn(agents, 1, zipf=True), drawn(agents, 2, zipf=False)
    zipf_few = drawn(few, 3, zipf=True)
    for _ in range(warm):
        assert decide(next(zipf), big).outcome is not Outcome.DENY
    for _ in range(600):
        decide(next(zipf_few), little)
    sizes = [
        len(part.policies)
        for part in (big.slice_for(c.agent, c.tool) for c in itertools.islice(zipf, 500))
        if isinstance(part, Slice)
    ]
    many, hundred, bare = side_by_side(rounds, (zipf, subject(big)), (zipf_few, subject(little)), (zipf, Bare()))

    held = [call for call in itertools.islice(uniform, 4_000) if decide(call, big).outcome is Outcome.HOLD][:20]
    (holds,) = side_by_side(rounds // 10, (itertools.cycle(held), subject(big)))
    for _ in range(warm):
        decide(next(uniform), big)
    (even,) = side_by_side(rounds, (uniform, subject(big)))
    memory = resident_mb()
    fresh = PolicySnapshot(release, everything, ENGINE, budget_bytes=BUDGET, grants=grants)
    first = [request(agent, position, 1) for agent in agents[:KINDS] for position in range(TOOLS_OF_AGENT)]
    Random(4).shuffle(first)
    (cold,) = side_by_side(len(first), (iter(first), subject(fresh)))

    print(
        f"Fleet: 10,000 agents of {KINDS} kinds, {len(release.policies):,} policies (50 of the organisation, three of"
        f" each agent) and {5 * KINDS:,} distinct permits from manifests, built in {built:.1f} s. A slice has"
        f" {median(sizes):.0f} policies in the median, {max(sizes)} at most. Every call carries six context paths, is"
        f" scanned, projected, encoded and decided; all times are medians of single calls in microseconds."
    )
    print(
        f"Zipf(1.1) over 50,000 agent and tool pairs: {median(many):.1f};"
        f" the same with 100 agents {median(hundred):.1f}."
    )
    print(f"The engine alone with one policy and the same context, interleaved: {median(bare):.1f}.")
    print(f"Uniform draws, where most entity handles must be made anew: {median(even):.1f}.")
    print(
        f"A hold (two evaluations): {median(holds):.1f}. The first call of each kind of agent on each tool, when"
        f" its policies are not compiled yet: {median(cold):.1f}."
    )
    print(
        f"Handles and entities held: {big.bytes_held / 1e6:.0f} MB by estimate; the process resides in {memory:.0f} MB."
    )
    report(
        "decision",
        {
            "p50_us": median(many),
            "uniform_us": median(even),
            "growth": median(many) / median(hundred),
            "vs_bare": median(many) / median(bare),
            "hold_us": median(holds),
            "cold_us": median(cold),
            "rss_mb": memory,
            "bare_us": median(bare),
        },
    )


if __name__ == "__main__":
    main()
