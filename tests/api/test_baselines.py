"""Baselines of behaviour as the API has them: learned, looked at, accepted, compared with."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from accredit.kernel.canonical import Digest
from accredit.kernel.ids import AgentId
from tests.api.company import Company, agent, company
from tests.monitoring.drift.running import profile


@pytest.fixture(scope="module")
def firm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Company]:
    with company(tmp_path_factory.mktemp("baselines") / "data") as made:
        yield made


def finished(firm: Company, found: dict[str, str], first: int, many: int, calls: float) -> None:
    """Sessions of an agent were made profiles of, and detectors looked at them."""
    room, now_us = firm.place.plane.room, firm.place.plane.clock.now().wall_us
    store = room.sessions.profiles.store
    made = [
        profile(AgentId(found["id"]), first + at, calls, at_us=now_us + at, version=Digest(found["version"]))
        for at in range(many)
    ]
    store.keep(made, store.progress)
    firm.place.do(room.behaviour.round())


@pytest.mark.requirement("baseline:accepted", "baseline:described", "baseline:learning")
def test_a_baseline_from_learning_to_what_is_compared_with_it(firm: Company) -> None:
    about = "agents/production/ledger"
    firm.active(agent("ledger"))
    found = firm.get("dana", about)
    version = firm.get("dana", f"{about}/baseline")["version"]
    shown = firm.get("dana", f"{about}/behaviour")
    assert (shown["state"], shown["learning"]["collected"], shown["detectors"]) == ("learning", 0, [])
    assert firm.attempt("dana", f"{about}/baseline/learn", {"source": "recorded"}) == (409, "conflict")
    assert firm.attempt("dana", f"{about}/baseline/learn", {"source": "trial", "sessions": 5})[0] == 400

    finished(firm, {"id": found["id"], "version": version}, 0, 30, 4)
    learned = firm.post("dana", f"{about}/baseline/learn", {"source": "recorded", "days": 1, "sessions": 30})
    digest = learned["proposal"]["digest"]
    assert (learned["state"], learned["proposal"]["sessions"], learned["proposal"]["proven"]) == ("proposed", 30, True)
    inside = firm.get("una", f"{about}/behaviour/sessions", of="proposal")
    assert (inside["calls"], inside["tools"], inside["hours"][9]) == (120, {"crm/read_customer": 1.0}, 30)
    assert inside["spreads"]["calls"]["median"] == 4
    (row,) = [one for one in firm.get("una", "baselines")["items"] if one["name"] == "production/ledger"]
    assert (row["state"], row["proposed"], row["sessions"]) == ("proposed", digest, None)
    stale = {"digest": "sha256:" + "0" * 64}
    assert firm.attempt("dana", f"{about}/baseline/accept", stale) == (409, "conflict")
    assert firm.attempt("nick", f"{about}/baseline/accept", {"digest": digest})[0] in {403, 404}

    accepted = firm.post("dana", f"{about}/baseline/accept", {"digest": digest})
    assert (accepted["state"], accepted["accepted"]["accepted_by"]) == (
        "accepted",
        firm.get("dana", "whoami")["person"],
    )
    finished(firm, {"id": found["id"], "version": version}, 100, 5, 9)
    standing = firm.get("sam", f"{about}/behaviour")
    (detector,) = standing["detectors"]
    assert (detector["detector"], detector["sessions"], detector["alarmed"]) == ("views", 5, True)
    assert len(detector["stats"]) == 5
    differs = firm.get("sam", f"{about}/behaviour/diff")
    assert differs["words"] == ["calls per session: median 4 -> 9"]
    assert (differs["before"]["sessions"], differs["after"]["sessions"]) == (30, 5)

    again = firm.post("sam", f"{about}/baseline/reset", {"reason": "it does more by now"})
    assert (again["state"], again["accepted"]["digest"]) == ("learning", digest)
    kinds = [one["kind"] for one in firm.get("una", f"{about}/timeline")["items"]]
    assert kinds[:4] == ["baseline.reset", "alert.opened", "baseline.accepted", "baseline.proposed"]
