"""What an agent's version comes to, computed from all that is registered and enforced now: its tier and its access.

Whoever votes, activates or merely looks gets the same answer from here. What the engine says of a version's tools is
kept as long as the release, the tools' facts and the version stay the same: lists ask for it row by row. It is asked
beside the calls, whose compiled slices must not make room for it, and may be asked from several threads.
"""

from __future__ import annotations

import asyncio
import re
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import Any, Final, Generic, TypeVar

from accredit.enforcement.snapshot import Snapshot
from accredit.kernel.canonical import Digest
from accredit.kernel.clock import Clock
from accredit.kernel.errors import AccreditError
from accredit.kernel.ids import AgentId
from accredit.monitoring.model import PresentTier
from accredit.monitoring.observations import Observations
from accredit.policy.enforced import enforced_by
from accredit.policy.release import Release
from accredit.policy.snapshot import PolicySnapshot
from accredit.policy.validation import AccessReport, access_report
from accredit.registry.catalogue import Catalogue
from accredit.registry.model import Agent, AgentVersion, Agreement, Tier
from accredit.registry.observation import NOTHING_OBSERVED, told_of
from accredit.registry.risk import risk_facts
from accredit.registry.service import Registry
from accredit.registry.tiering import Enforced, RiskFacts, Tiering, floors_of, levels_of, tier_of, tiering

__all__ = ["Judging"]

_KEPT: Final = 20_000
_REPORTS: Final = 256

_AGENT: Final = re.compile(r"agt_[0-9A-Za-z_-]+")
_Key = tuple[Any, ...]
_Grounds = tuple[Any, ...]
_ReportKey = tuple[str, Digest, Digest, Tier, frozenset[str]]
_K = TypeVar("_K")
_V = TypeVar("_V")


class Judging:
    """Tier and access of versions, as of now."""

    def __init__(
        self, registry: Registry, snapshot: Callable[[], Snapshot], clock: Clock, observations: Observations
    ) -> None:
        self._registry = registry
        self._snapshot = snapshot
        self._clock = clock
        self._observations = observations
        self._alone = threading.Lock()
        self._beside: tuple[PolicySnapshot, PolicySnapshot] | None = None
        """The policies in force, and the same with caches of its own."""
        self._enforced: _Kept[_Key, Enforced] = _Kept(_KEPT)
        self._reports: _Kept[_ReportKey, AccessReport] = _Kept(_REPORTS)
        self._tierings: _Kept[RiskFacts, Tiering] = _Kept(_REPORTS)
        self._tiers: dict[AgentId, tuple[Agent, _Grounds, Tier | None]] = {}
        """The newest answer about each agent, and what it rests on."""
        self._named: tuple[Release, frozenset[str]] | None = None
        self._complete: tuple[Catalogue, Digest, Mapping[str, Agreement], int] | None = None
        """For which catalogue, policies, agreements and observations every tier was kept."""

    def tiering(self, agent: Agent, version: AgentVersion) -> Tiering:
        """The version's tier, explained.

        Raises:
            UnavailableError: the engine failed, or the log contradicts a row this rests on.
        """
        facts = self._facts(agent, version)
        return self._tierings.get(facts, lambda: tiering(facts))

    def tier_of(self, agent: Agent) -> Tier | None:
        """The tier of the version in force, for lists; None if it has none (see `tiering` for why)."""
        if (kept := self.kept_tier(agent)) is not None:
            return kept[0]
        grounds = self._grounds(agent)  # first: what changes meanwhile makes this answer one that is not kept
        facts = self._facts(agent, agent.version)
        blocked = not facts.owner_present or facts.prohibited or facts.supplier_faults
        tier = None if blocked else tier_of(levels_of(facts))
        if grounds is not None:
            self._tiers[agent.id] = (agent, grounds, tier)
        return tier

    def kept_tier(self, agent: Agent) -> tuple[Tier | None] | None:
        """The same if it need not be computed, else None. Raises as `tiering`."""
        found = self._tiers.get(agent.id)
        return (found[2],) if found and found[0] is agent and found[1] == self._grounds(agent) else None

    async def keep_tiers(self, *, at_most: int = 5_000) -> None:
        """Compute tiers that are not kept, a bounded number of them, so that lists need not. Calls go first."""
        catalogue, digest, agreements = self._registry.catalogue, self._snapshot().digest, self._registry.agreements
        revision, done = self._observations.revision, self._complete
        if done is not None and done[0] is catalogue and done[1:] == (digest, agreements, revision):
            return
        left = at_most
        for number, agent in enumerate(catalogue.agents()):
            if left == 0:
                return
            try:
                if self.kept_tier(agent) is None and self._grounds(agent) is not None:
                    left -= 1
                    self.tier_of(agent)
                if number % 10 == 0:
                    await asyncio.sleep(0.001)
            except AccreditError:
                continue  # it cannot be told now, which a list says
        self._complete = (catalogue, digest, agreements, revision)

    def _grounds(self, agent: Agent) -> _Grounds | None:
        """What the tier of the version in force rests on beside the agent itself; None: on other agents as well."""
        spec = agent.version.manifest["spec"]
        seen = self._observations.risk(agent.id)
        if spec["delegates"] or seen.callers:
            return None
        return (
            seen,
            self._observations.workflow(agent.id),
            self._snapshot().digest,
            self._registry.organisation.people.get(spec["owner"]),
            self._agreements(spec["models"]) if spec["models"] else (),
            self._registry.incidents_of(agent.id),
        )

    def _agreements(self, models: Iterable[Mapping[str, Any]]) -> tuple[tuple[Agreement | None, bool], ...]:
        """What these models are used under, and whether that is over."""
        now_us, known = self._clock.now().wall_us, self._registry.agreements
        named = [known.get(model["agreement"]) for model in models if model["agreement"] is not None]
        return tuple(
            (one, one is not None and one.expires_us is not None and now_us >= one.expires_us) for one in named
        )

    def present(self, agent: Agent) -> PresentTier:
        """What the version in force comes to now, whoever owns it. Raises as `tiering`."""
        facts = self._facts(agent, agent.version)
        levels = levels_of(facts)
        faults = (
            *facts.prohibited,
            *(f"`{one.model}` of `{one.provider}` {one.reason}" for one in facts.supplier_faults),
        )
        floors = tuple(dict.fromkeys(floor.rule for floor in floors_of(levels)))
        return PresentTier(None if faults else tier_of(levels), floors, faults, told_of(facts))

    def alone(self, agent: Agent) -> RiskFacts:
        """What the tier of the version in force rests on, but for those it does one work with. Raises as `tiering`."""
        return replace(self._facts(agent, agent.version), workflow=None)

    def registered(self, agent: Agent, version: AgentVersion) -> RiskFacts:
        """What the tier of the version would rest on if nothing had been observed. Raises as `tiering`."""
        return self._facts(agent, version, observed=False)

    def access(self, agent: Agent, version: AgentVersion) -> AccessReport:
        """What the version may do, what is too much, and what limits it. Raises as `tiering`."""
        snapshot = self._snapshot()
        facts = self._facts(agent, version)
        tier, seen = tier_of(levels_of(facts)), facts.answered.union(*(tool.seen for tool in facts.tools))

        def made() -> AccessReport:
            return access_report(version, snapshot.catalogue, snapshot.policy, agent, tier=tier, seen=seen)

        if version.manifest["spec"]["delegates"]:
            return made()  # rests on other agents as well
        return self._reports.get((agent.id, version.digest, snapshot.digest, tier, seen), made)

    def _facts(self, agent: Agent, version: AgentVersion, *, observed: bool = True) -> RiskFacts:
        snapshot = self._snapshot()
        workflow = self._observations.workflow(agent.id)

        def enforced(agent: Agent, version: AgentVersion) -> Enforced:
            named = agent.id if agent.id in self._named_by(snapshot.policy) else None
            grants = tuple((grant.tool, grant.digest) for grant in version.grants)
            # INVARIANT: all of an agent that a policy which does not name it can tell apart (policy.entities)
            key = (snapshot.digest, named, agent.team.name, agent.environment, version.data, grants)
            return self._enforced.get(key, lambda: self._asked(snapshot.policy, agent, version))

        return risk_facts(
            agent,
            version,
            snapshot.catalogue,
            agreements=self._registry.agreements,
            organisation=self._registry.organisation,
            enforced=enforced,
            incidents=self._registry.incidents_of,
            now_us=self._clock.now().wall_us,
            observed=self._observations.risk if observed else lambda _: NOTHING_OBSERVED,
            workflow=workflow.tier if observed and workflow is not None else None,
        )

    def _named_by(self, policy: PolicySnapshot) -> frozenset[str]:
        """The agents that a policy in force speaks of: in its scope, or anywhere else in its text."""
        known = self._named
        if known is None or known[0] is not policy.release:
            policies = policy.release.policies
            scoped = {entity.id for one in policies for entity in one.scope.principal.entities or ()}
            told = {name for one in policies for name in _AGENT.findall(one.body)}
            known = self._named = (policy.release, frozenset(scoped | told))
        return known[1]

    def _asked(self, policy: PolicySnapshot, agent: Agent, version: AgentVersion) -> Enforced:
        with self._alone:
            if self._beside is None or self._beside[0] is not policy:
                self._beside = (policy, policy.beside())
            return enforced_by(self._beside[1], agent, version)


class _Kept(Generic[_K, _V]):
    """The newest answers asked for, a bounded number of them."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._answers: OrderedDict[_K, _V] = OrderedDict()
        self._alone = threading.Lock()

    def get(self, key: _K, make: Callable[[], _V]) -> _V:
        with self._alone:
            if (found := self._answers.get(key)) is not None:
                self._answers.move_to_end(key)
                return found
        made = make()
        with self._alone:
            self._answers[key] = made
            if len(self._answers) > self._limit:
                self._answers.popitem(last=False)
        return made
