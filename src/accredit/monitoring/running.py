"""Whether the version that calls are judged by is the approved one, from its manifest to the log. Pure.

A version in force stands in five places: the manifest and the digest it is addressed by, the row of its agent, the
snapshot that calls are judged by, the baseline of its approval, and the log. Each must say the same; what does not was
changed by nobody who may.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from accredit.kernel.canonical import Digest
from accredit.monitoring.model import AlertKind, Baseline, Deviation
from accredit.registry.model import Agent
from accredit.registry.versions import facets, version_digest

__all__ = ["UNPROVEN", "RunningFacts", "drift_of_running"]

UNPROVEN: Final = "unproven"
"""The matter of an alert on a row of an agent that the log contradicts: none of its calls passes."""


@dataclass(frozen=True, slots=True)
class RunningFacts:
    """What stands where."""

    agent: Agent
    """By its row."""
    judged: Agent | None
    """By the snapshot that calls are judged by."""
    baseline: Baseline | None
    rows: Mapping[str, Digest | None]
    """Digests of its rows, by `kind/key`; None: there is none."""
    logged: Mapping[str, Digest | None]
    """The same by the newest record of the log about each; one that is not here is not known yet."""


def drift_of_running(facts: RunningFacts, at_us: int) -> tuple[Deviation, ...]:
    """What does not say the same; one for each place."""
    return tuple(
        Deviation(facts.agent.id, AlertKind.POSTURE_VERSION, matter, {"expected": expected, "seen": seen}, at_us)
        for matter, expected, seen in _differing(facts)
    )


def _differing(facts: RunningFacts) -> Iterator[tuple[str, str | None, str | None]]:
    version = facts.agent.version
    made = version_digest(version.manifest)
    if made != version.digest:
        yield "manifest", version.digest, made
    wrong = [name for name, digest in sorted(facets(version.manifest).items()) if version.facets.get(name) != digest]
    if wrong:
        yield "facets", version.facets.get(wrong[0]), wrong[0]
    here, there = _standing(facts.agent), None if facts.judged is None else _standing(facts.judged)
    if here != there:
        yield "snapshot", here, there
    if facts.baseline is not None and facts.baseline.clearance not in {None, facts.baseline.version}:
        yield "approval", facts.baseline.clearance, facts.baseline.version
    for name, digest in sorted(facts.rows.items()):
        if name in facts.logged and facts.logged[name] != digest:
            yield "row", facts.logged[name], digest
            return


def _standing(agent: Agent) -> str:
    return f"{agent.version.digest} in tier {agent.tier}"
