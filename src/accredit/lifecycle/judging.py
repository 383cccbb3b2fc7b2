"""What an agent's version comes to, computed from all that is registered and enforced now: its tier and its access.

Whoever votes, activates or merely looks gets the same answer from here. What the engine says of a version's tools is
kept as long as the release, the tools' facts and the version stay the same: lists ask for it row by row.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import Final, TypeVar

from accredit.enforcement.snapshot import Snapshot
from accredit.kernel.canonical import Digest
from accredit.kernel.clock import Clock
from accredit.policy.enforced import enforced_by
from accredit.policy.validation import AccessReport, access_report
from accredit.registry.model import Agent, AgentVersion, Tier
from accredit.registry.risk import risk_facts
from accredit.registry.service import Registry
from accredit.registry.tiering import Enforced, RiskFacts, Tiering, levels_of, tier_of, tiering

__all__ = ["Judging"]

_KEPT: Final = 20_000
_REPORTS: Final = 256

_Key = tuple[str, Digest, Digest]
_K = TypeVar("_K")
_V = TypeVar("_V")


class Judging:
    """Tier and access of versions, as of now."""

    def __init__(self, registry: Registry, snapshot: Callable[[], Snapshot], clock: Clock) -> None:
        self._registry = registry
        self._snapshot = snapshot
        self._clock = clock
        self._enforced: OrderedDict[_Key, Enforced] = OrderedDict()
        self._reports: OrderedDict[_Key, AccessReport] = OrderedDict()
        self._tierings: OrderedDict[RiskFacts, Tiering] = OrderedDict()

    def tiering(self, agent: Agent, version: AgentVersion) -> Tiering:
        """The version's tier, explained.

        Raises:
            UnavailableError: the engine failed, or the log contradicts a row this rests on.
        """
        facts = self._facts(agent, version)
        return _kept(self._tierings, facts, lambda: tiering(facts), _REPORTS)

    def tier_of(self, agent: Agent) -> Tier | None:
        """The tier of the version in force, for lists; None if it has none (see `tiering` for why)."""
        facts = self._facts(agent, agent.version)
        blocked = not facts.owner_present or facts.prohibited or facts.supplier_faults
        return None if blocked else tier_of(levels_of(facts))

    def access(self, agent: Agent, version: AgentVersion) -> AccessReport:
        """What the version may do, what is too much, and what limits it. Raises as `tiering`."""
        snapshot = self._snapshot()

        def made() -> AccessReport:
            return access_report(version, snapshot.catalogue, snapshot.policy, agent)

        if version.manifest["spec"]["delegates"]:
            return made()  # rests on other agents as well
        return _kept(self._reports, (agent.id, version.digest, snapshot.digest), made, _REPORTS)

    def _facts(self, agent: Agent, version: AgentVersion) -> RiskFacts:
        snapshot = self._snapshot()

        def enforced(agent: Agent, version: AgentVersion) -> Enforced:
            key = (agent.id, version.digest, snapshot.digest)
            return _kept(self._enforced, key, lambda: enforced_by(snapshot.policy, agent, version), _KEPT)

        return risk_facts(
            agent,
            version,
            snapshot.catalogue,
            agreements=self._registry.agreements,
            organisation=self._registry.organisation,
            enforced=enforced,
            incidents=self._registry.incidents_of,
            now_us=self._clock.now().wall_us,
        )


def _kept(cache: OrderedDict[_K, _V], key: _K, make: Callable[[], _V], limit: int) -> _V:
    found = cache.get(key)
    if found is None:
        found = cache[key] = make()
        if len(cache) > limit:
            cache.popitem(last=False)
    cache.move_to_end(key)
    return found
