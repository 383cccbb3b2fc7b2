"""Detectors in processes of their own: what goes wrong there is theirs, and what waits for them is bounded."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from accredit.kernel.errors import InvalidInputError
from accredit.kernel.ids import AgentId
from accredit.monitoring.drift.apart import PluginKind, plugin_kinds
from accredit.monitoring.drift.ports import DetectorFaultError
from accredit.monitoring.drift.watching import detector_matter
from accredit.monitoring.model import AlertKind
from tests.monitoring.drift.running import Drift, Kind, profile

_DETECTOR = """
import os, sys, time
from tests.monitoring.drift.running import Summing


class Plugin(Summing):
    def update(self, session):
        print("this must not be taken for an answer")
        found = super().update(session)
        what = session.session
        if what.startswith("hangs"):
            while True:
                pass
        if what.startswith("ends"):
            os._exit(3)
        if what.startswith("raises"):
            raise ValueError("secret text")
        if what.startswith("environment"):
            assert not [name for name in os.environ if name.startswith("ACCREDIT")]
        if what.startswith("plain"):
            return {"score": 1.0, "stat": 2.0}
        return found
"""


@pytest.fixture
def plugin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[PluginKind]:
    """A plug-in that is installed, in a process that is given two seconds for an answer."""
    (tmp_path / "a_plugin.py").write_text(_DETECTOR)
    info = tmp_path / "a_plugin-2.1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: a-plugin\nVersion: 2.1\n")
    (info / "entry_points.txt").write_text("[accredit.detectors]\nsumming = a_plugin:Plugin\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    root = Path(__file__).parents[3]
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}:{root / 'src'}:{root}")
    monkeypatch.setenv("ACCREDIT_SECRET", "not for plug-ins")
    (found,) = plugin_kinds(["summing"])
    assert found.version == "2.1"
    made = PluginKind("summing", found.version, answer_s=2.0)
    yield made
    made.close()


@pytest.mark.requirement("drift:running:apart")
def test_a_plug_in_reads_like_one_of_ours_and_goes_on_where_its_process_ended(plugin: PluginKind) -> None:
    ours, theirs = Drift(Kind()), Drift(plugin)
    for drift in (ours, theirs):
        drift.sessions(6, 7)
        drift.round()
    theirs.finish(profile(theirs.watch.id, 50, 4, session="ends at once"))
    theirs.round()
    (alert,) = theirs.alerts(AlertKind.UNWATCHED)
    assert (alert.matter, alert.evidence["seen"]) == (detector_matter("summing"), "its process ended")
    assert plugin.stopped is None
    others = Drift(plugin)
    others.sessions(6, 7)
    others.finish(profile(others.watch.id, 51, 4, session="environment"))
    others.round()
    assert others.stats()[:2] == ours.stats()
    assert others.alerts(AlertKind.UNWATCHED) == []


@pytest.mark.requirement("drift:running:apart")
def test_a_plug_in_that_hangs_is_ended_and_told_of_and_others_go_on(plugin: PluginKind) -> None:
    drift = Drift(plugin, Kind(name="ours"))
    drift.sessions(4)
    drift.finish(profile(drift.watch.id, 10, 5, session="hangs", at_us=drift.watch.clock.now().wall_us))
    drift.sessions(4, 4)
    drift.round()
    (alert,) = drift.alerts(AlertKind.UNWATCHED)
    assert (alert.agent, alert.evidence["seen"]) == (drift.watch.id, "it did not answer in time")
    assert [len(drift.stats(kind=one)) for one in (0, 1)] == [1, 4]


@pytest.mark.requirement("drift:running:apart")
def test_a_kind_whose_process_failed_too_often_is_told_of_once_for_all_agents(plugin: PluginKind) -> None:
    agent = AgentId("agt_1")
    with pytest.raises(DetectorFaultError, match="it raised ValueError"):
        plugin.ask("no such thing", 1, None)
    for _ in range(3):
        assert plugin.stopped is None, "what it raises ends no process"
        detector = plugin.make()
        detector.fit([profile(agent, 1)])
        with pytest.raises(DetectorFaultError, match="its process ended"):
            detector.update(profile(agent, 2, session="ends"))
    assert plugin.stopped == "its process ended, 3 times"
    drift = Drift(plugin, Kind(name="ours"))
    drift.sessions(4, 5, 6)
    drift.round()
    (alert,) = drift.alerts(AlertKind.UNWATCHED)
    assert (alert.agent, alert.matter) == (None, detector_matter("summing"))
    assert len(drift.stats(kind=1)) == 3


def test_what_is_not_installed_refuses_to_start() -> None:
    with pytest.raises(InvalidInputError):
        plugin_kinds(["nobody-has-this"])


def test_the_answer_of_the_issue_is_one_too(plugin: PluginKind) -> None:
    detector = plugin.make()
    detector.fit([profile(AgentId("agt_1"), 1)])
    found = detector.update(profile(AgentId("agt_1"), 2, session="plain"))
    assert (found.score, found.stat, found.views) == (1.0, 2.0, ())
