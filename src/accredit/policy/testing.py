"""Runs the test cases of a release through the same `decide` as every call, and says what they leave untested.

A case is judged by the release it stands in, over what is registered and what its file declares. The arguments of a
call are checked against the tool's schema first, as calls are: what could never reach a policy is an error, not a pass.

Coverage has two branches for a policy: that it determined an outcome, and (if it has conditions) that it was in scope
of a call and did not. Mutation drops each policy in turn; a policy whose loss no case notices is a survivor.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from accredit.identity.access import MAX_ACTORS
from accredit.kernel.codes import Code
from accredit.kernel.errors import InvalidInputError
from accredit.policy.cases import CaseCall, CaseFile, PolicyCase, read_cases
from accredit.policy.config import Counter, PolicyConfig
from accredit.policy.context import now_facts
from accredit.policy.decide import decide
from accredit.policy.mapped import questions_asked
from accredit.policy.model import CallRequest, Decision, ExternalRequest, Hop
from accredit.policy.ports import Engine, VetoEngine
from accredit.policy.release import Release, read_release
from accredit.policy.snapshot import PolicySnapshot, Slice
from accredit.registry.items import names_its_uri, plain_arguments_of
from accredit.registry.llm_models import plain_arguments
from accredit.registry.model import Agent, Environment, ToolServer
from accredit.registry.schemas import compile_arguments

__all__ = ["CaseResult", "Fleet", "PolicyCoverage", "TestRun", "run_tests"]

_LEGIBLE: Final = 20
MOST_CASES_OF_ALL: Final = 10_000
MOST_MUTATIONS: Final = 100_000
"""Cases run again in all: each policy is dropped for every case it is in scope of."""


@dataclass(frozen=True, slots=True)
class Fleet:
    """The registered agents and tools that cases may name beside those of their own file."""

    agents: Mapping[str, Agent]
    """By environment/name."""
    servers: tuple[ToolServer, ...]

    def named(self, name: str) -> Agent | None:
        """An agent by environment/name, or by name alone: production before staging before development."""
        for environment in (Environment.PRODUCTION, Environment.STAGING, Environment.DEVELOPMENT):
            found = self.agents.get(name if "/" in name else f"{environment}/{name}")
            if found is not None:
                return found
        return None


@dataclass(frozen=True, slots=True)
class CaseResult:
    """How one case ended."""

    path: str
    name: str
    passed: bool
    why: str = ""
    """What was expected and what happened instead; empty if it passed."""


@dataclass(frozen=True, slots=True)
class PolicyCoverage:
    """Which branches of a policy the cases took."""

    policy: str
    in_scope: bool
    determined: bool
    stood_aside: bool
    """In scope of a case, and its conditions did not hold."""
    conditional: bool

    @property
    def covered(self) -> int:
        """Branches taken, of `branches`."""
        return self.determined + (self.conditional and self.stood_aside)

    @property
    def branches(self) -> int:
        """How many there are."""
        return 1 + self.conditional


@dataclass(frozen=True, slots=True)
class TestRun:
    """What came of all cases."""

    __test__ = False  # for test frameworks: this is no test

    cases: tuple[CaseResult, ...]
    coverage: tuple[PolicyCoverage, ...]
    survivors: tuple[str, ...] | None = None
    """Policies whose loss no case notices; None if that was not asked."""

    @property
    def failed(self) -> tuple[CaseResult, ...]:
        """Cases that did not come out as expected."""
        return tuple(one for one in self.cases if not one.passed)

    @property
    def passed(self) -> bool:
        """Whether there are cases, and all of them came out as expected."""
        return bool(self.cases) and not self.failed

    @property
    def determined(self) -> int:
        """Policies that determined an outcome in some case."""
        return sum(one.determined for one in self.coverage)

    @property
    def branch_share(self) -> float:
        """Branches taken, of all; 1.0 where there are none."""
        total = sum(one.branches for one in self.coverage)
        return sum(one.covered for one in self.coverage) / total if total else 1.0


@dataclass(slots=True)
class _Bench:
    """A file's cases over what they are judged by."""

    file: CaseFile
    snapshot: PolicySnapshot
    fleet: Fleet

    def asked(self, case: PolicyCase) -> CallRequest | ExternalRequest | str:
        """The call or question of a case; or why there is none."""
        return case.asked if isinstance(case.asked, ExternalRequest) else self._call(case.asked)

    def in_scope(self, request: CallRequest | ExternalRequest) -> tuple[str, ...]:
        """The policies that could have a say in it."""
        external = self.snapshot.external
        mapped = [
            policy.id for question in questions_asked(request, self.snapshot) for policy in external.in_scope(question)
        ]
        if isinstance(request, ExternalRequest):
            return tuple(mapped)
        part = self.snapshot.slice_for(request.agent, request.tool)
        if not isinstance(part, Slice):
            return ()
        handed = [self.snapshot.hop_slice(hop.caller, hop.callee, request.tool) for hop in request.hops]
        every = [part, *(one for one in handed if isinstance(one, Slice))]
        ids = dict.fromkeys(policy.id for one in every for policy in one.policies)
        return (*ids, *self.snapshot.release.vetoes, *dict.fromkeys(mapped))

    def without(self, policy: str) -> _Bench:
        """The same cases over a release that lacks a policy."""
        whole = self.snapshot.release
        kept = tuple(one for one in whole.policies if one.id != policy)
        vetoes = {name: text for name, text in whole.vetoes.items() if name != policy}
        release = replace(whole, policies=kept, vetoes=vetoes, external=whole.external.without({policy}))
        return replace(self, snapshot=self.snapshot.with_release(release))

    def _call(self, case: CaseCall) -> CallRequest | str:
        agent = self.file.agents.get(case.agent) or self.fleet.named(case.agent)
        if agent is None:
            return f"no agent is called `{case.agent[:80]}`: register it, or declare it under `agents`"
        agent = replace(agent, state=case.state or agent.state, tier=case.tier or agent.tier)
        tool = self.snapshot.tools.get(case.tool)
        if tool is None:
            return f"there is no tool `{case.tool[:120]}`: register it, or declare it under `servers`"
        if tool.rates is not None:
            case = replace(case, arguments={**plain_arguments(tool.name), **case.arguments})
        elif tool.item is not None:
            case = replace(case, arguments=plain_arguments_of(tool.name, case.arguments))
        try:
            checks = compile_arguments(tool.definition.get("inputSchema"), allow_undeclared=tool.allow_undeclared)
        except InvalidInputError as error:
            return f"the schema of `{case.tool}` is refused: {error.message}"
        if (fault := checks.fault(case.arguments)) is not None:
            return f"the call is refused before any policy is asked: `{fault.path}`: expected {fault.expected}"
        if tool.item is not None and not names_its_uri(tool.name, case.arguments):
            return "the call is refused before any policy is asked: `/uri`: it is not the one that the others make"
        hops = self._chain(agent, case)
        if isinstance(hops, str):
            return hops
        if 1 + len(hops) + len(case.outsiders) > MAX_ACTORS:
            return f"more than {MAX_ACTORS} actors: no token has that"
        if hops or case.chain or case.outsiders or "user" in case.context:
            actors = [agent.id, *(hop.caller.id for hop in hops), *case.outsiders]
            case = replace(case, context={**case.context, "actors": actors} | ({"hops": len(hops)} if hops else {}))
        return CallRequest(
            agent=agent,
            tool=case.tool,
            context=_context(case, agent, self.snapshot.release.config),
            lifted=self._granted(agent, case, hops),
            time_us=case.clock_us,
            hops=hops,
        )

    def _chain(self, agent: Agent, case: CaseCall) -> tuple[Hop, ...] | str:
        """The hops between a case's actors; or why there are none."""
        hops: list[Hop] = []
        for number, name in enumerate(case.chain):
            found = self.file.agents.get(name) or self.fleet.named(name)
            if found is None:
                return f"no agent is called `{name[:80]}`: register it, or declare it under `agents`"
            if number == 0 and found.id == agent.id:
                continue
            if found.id in {agent.id, *(hop.caller.id for hop in hops)}:
                return f"`{name[:80]}` comes twice in the chain: no token has that"
            hops.append(Hop(found, hops[-1].caller if hops else agent))
        return tuple(hops)

    def _granted(self, agent: Agent, case: CaseCall, hops: Sequence[Hop]) -> frozenset[str]:
        if not case.granted:
            return frozenset()
        parts = [
            self.snapshot.slice_for(agent, case.tool),
            *(self.snapshot.hop_slice(hop.caller, hop.callee, case.tool) for hop in hops),
        ]
        ids = [policy.id for part in parts if isinstance(part, Slice) for policy in part.policies]
        return frozenset(one for one in ids if any(_names(wanted, one) for wanted in case.granted))


def _names(wanted: str, policy: str) -> bool:
    return wanted in {policy, policy.partition("@")[0]}


def _context(case: CaseCall, agent: Agent, config: PolicyConfig) -> dict[str, Any]:
    """The context of a call; what is measured and not given is as at the first call of a session."""
    context = {**case.context, "input": case.arguments, "now": now_facts(case.clock_us, agent.version.zone)}
    counted = {counter.name: _first(counter, case) for counter in config.counters}
    context["session"] = {**_FIRST_CALL, **counted, **case.context.get("session", {})}
    context["instance"] = {"calls": 1, "data": [], **case.context.get("instance", {})}
    context.setdefault("actors", [])
    if "user" in case.context:
        context["user"] = {"id": "user", "roles": [], **case.context["user"]}
    if "task" in case.context:
        context["task"] = {"id": "task", **case.context["task"]}
    return context


def _first(counter: Counter, case: CaseCall) -> Any:
    if case.tool not in counter.tools:
        return 0
    return 1 if counter.sum is None else case.arguments.get(counter.sum, 0)


_FIRST_CALL: Final[Mapping[str, Any]] = {
    "id": "ses_test",
    "calls": 1,
    "calls_of_tool": 1,
    "denied": 0,
    "seconds": 0,
    "used": [],
    "data": [],
}


def run_tests(
    release: Release, engine: Engine, fleet: Fleet, *, mutation: bool = False, veto: VetoEngine | None = None
) -> TestRun:
    """Run the release's own cases; with `mutation`, once more without each policy that a case has in scope.

    Raises:
        InvalidInputError: a file of cases is not of the form.
        PolicyInvalidError: the policies do not read with the names a file of cases declares.
    """
    benches = [
        _bench(read_cases(path, text), release, engine, fleet, veto) for path, text in sorted(release.tests.items())
    ]
    if sum(len(bench.file.cases) for bench in benches) > MOST_CASES_OF_ALL:
        raise InvalidInputError(
            Code.POLICY_TESTS_FAILED, f"there are more than {MOST_CASES_OF_ALL} cases", hint="keep those that differ"
        )
    results: list[CaseResult] = []
    every = (*release.policies, *release.external.policies)
    seen = {name: [False, False, False] for name in (*(policy.id for policy in every), *release.vetoes)}
    touched: dict[str, list[tuple[_Bench, PolicyCase]]] = {}
    for bench in benches:
        for case in bench.file.cases:
            request = bench.asked(case)
            if isinstance(request, str):
                results.append(CaseResult(case.path, case.name, passed=False, why=request))
                continue
            decision = decide(request, bench.snapshot)
            why = _wrong(case, decision)
            results.append(CaseResult(case.path, case.name, passed=not why, why=why))
            for name in bench.in_scope(request):
                if name in seen:
                    took = seen[name]
                    took[0] = True
                    took[1 if name in decision.policies else 2] = True
                    touched.setdefault(name, []).append((bench, case))
    conditional = {policy.id for policy in every if policy.conditions} | set(release.vetoes)
    coverage = tuple(
        PolicyCoverage(name, in_scope, determined, stood_aside, name in conditional)
        for name, (in_scope, determined, stood_aside) in seen.items()
    )
    if mutation and sum(map(len, touched.values())) > MOST_MUTATIONS:
        raise InvalidInputError(
            Code.POLICY_TESTS_FAILED, f"mutation would run more than {MOST_MUTATIONS} cases", hint="run it by parts"
        )
    survivors = tuple(name for name in seen if not _missed(name, touched.get(name, []))) if mutation else None
    return TestRun(tuple(results), coverage, survivors)


def _bench(file: CaseFile, release: Release, engine: Engine, fleet: Fleet, veto: VetoEngine | None) -> _Bench:
    own = {name: str(agent.id) for name, agent in file.agents.items()}
    read = release
    if own:
        read = read_release(release.files, engine, agents={**release.agents, **own})
    declared = {server.name for server in file.servers}
    servers = [*(one for one in fleet.servers if one.name not in declared), *file.servers]
    return _Bench(file, PolicySnapshot(read, servers, engine, veto=veto), fleet)


def _missed(policy: str, cases: Iterable[tuple[_Bench, PolicyCase]]) -> bool:
    """Whether some case that had the policy in scope fails without it."""
    without: dict[int, _Bench] = {}
    for bench, case in cases:
        mutant = without.get(id(bench))
        if mutant is None:
            mutant = without[id(bench)] = bench.without(policy)
        request = mutant.asked(case)
        if isinstance(request, str) or _wrong(case, decide(request, mutant.snapshot)):
            return True
    return False


def _wrong(case: PolicyCase, decision: Decision) -> str:
    """What is not as expected, and what happened; empty if all is."""
    wanted = case.expected
    happened = f"it came to {decision.outcome} ({decision.code}) by {_listed(decision.policies) or 'no policy'}"
    if decision.unmet:
        happened += f"; unmet: {_listed(decision.unmet)}"
    if decision.faults:
        happened += f"; failed: {_listed(fault.policy for fault in decision.faults)}"
    if decision.outcome.value != wanted.outcome:
        return f"expected {wanted.outcome}; {happened}"
    for policy in wanted.policies:
        if not any(_names(policy, one) for one in decision.policies):
            return f"expected `{policy}` to determine it; {happened}"
    if wanted.code is not None and decision.code.value != wanted.code:
        return f"expected code {wanted.code}; {happened}"
    roles = {need.role for need in decision.needs}
    for role in wanted.roles:
        if role not in roles:
            return f"expected to wait for role {role}, it waits for {_listed(sorted(roles)) or 'none'}; {happened}"
    rule = decision.tool_calls.value if decision.tool_calls is not None else "passed"
    if wanted.tool_calls is not None and rule != wanted.tool_calls:
        return f"expected the answer's tool calls to be {wanted.tool_calls}, they are {rule}; {happened}"
    if wanted.unmet is not None and not set(wanted.unmet) <= set(decision.unmet):
        return f"expected {_listed(wanted.unmet)} to be unmet; {happened}"
    return ""


def _listed(names: Iterable[str]) -> str:
    found = list(names)
    more = f" and {len(found) - _LEGIBLE} more" if len(found) > _LEGIBLE else ""
    return ", ".join(f"`{name}`" for name in found[:_LEGIBLE]) + more
