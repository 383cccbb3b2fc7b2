"""What runs against what was approved, place by place."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import cache
from typing import Any

import pytest

from accredit.kernel.canonical import Digest
from accredit.monitoring.running import RunningFacts, drift_of_running
from accredit.registry.model import Agent, Tier
from tests.monitoring.watch import Watch

ROW, OTHER = Digest("sha256:" + "5" * 64), Digest("sha256:" + "6" * 64)


@cache
def _told() -> RunningFacts:
    watch = Watch()
    agent = watch.activate()
    baseline = replace(watch.baseline, clearance=agent.version.digest)
    rows = {f"agent/{agent.id}": ROW, "version/v": ROW}
    return RunningFacts(agent, agent, baseline, rows, dict(rows))


def _with_manifest(agent: Agent, **spec: Any) -> Agent:
    manifest = agent.version.manifest
    return replace(agent, version=replace(agent.version, manifest={**manifest, "spec": {**manifest["spec"], **spec}}))


CASES: dict[str, tuple[Callable[[RunningFacts], RunningFacts], set[str]]] = {
    "all says the same": (lambda told: told, set()),
    "the manifest is another than its digest says": (
        lambda told: replace(
            told, agent=_with_manifest(told.agent, purpose="sell"), judged=_with_manifest(told.agent, purpose="sell")
        ),
        {"manifest", "facets"},
    ),
    "calls are judged by another version": (
        lambda told: replace(told, judged=replace(told.agent, version=replace(told.agent.version, digest=OTHER))),
        {"snapshot"},
    ),
    "calls are judged by another tier": (
        lambda told: replace(told, judged=replace(told.agent, tier=Tier.LOW)),
        {"snapshot"},
    ),
    "calls are judged by no version": (lambda told: replace(told, judged=None), {"snapshot"}),
    "the approval was for something else": (
        lambda told: replace(told, baseline=told.baseline and replace(told.baseline, clearance=OTHER)),
        {"approval"},
    ),
    "the row is not what the log says": (lambda told: replace(told, rows={**told.rows, "version/v": OTHER}), {"row"}),
    "the row is gone": (lambda told: replace(told, rows={**told.rows, "version/v": None}), {"row"}),
    "the log removed it": (lambda told: replace(told, logged={**told.logged, "version/v": None}), {"row"}),
    "the log was not read so far": (lambda told: replace(told, logged={}), set()),
    "there is no baseline, which is told of elsewhere": (lambda told: replace(told, baseline=None), set()),
}


@pytest.mark.requirement("running:checked")
@pytest.mark.parametrize("case", CASES)
def test_what_does_not_say_the_same_is_found_by_its_place(case: str) -> None:
    change, matters = CASES[case]
    found = drift_of_running(change(_told()), 5)
    assert {one.matter for one in found} == matters
    assert all(one.agent == _told().agent.id and one.evidence["expected"] != one.evidence["seen"] for one in found)
