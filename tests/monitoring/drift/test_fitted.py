"""The sessions of baselines: kept by their digest, and nothing else taken for them."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from random import Random  # noqa: TID251 - seeded, to draw sessions

import pytest

from accredit.kernel.canonical import Digest
from accredit.kernel.errors import InvalidInputError, UnavailableError
from accredit.kernel.ids import AgentId
from accredit.monitoring.drift.fitted import MOST_SESSIONS, fitted_bytes, fitted_from, measured_views, trimmed
from accredit.monitoring.drift.ports import FittedStore
from accredit.monitoring.profiles.model import SessionProfile
from accredit.storage.memory.fitted import MemoryFittedStore
from accredit.storage.sqlite.fitted import SqliteFittedStore
from tests.monitoring.drift.running import profile
from tests.monitoring.drift.sessions import session

A, B = Digest("sha256:" + "a" * 64), Digest("sha256:" + "b" * 64)
Opened = Callable[[], FittedStore]


@pytest.fixture(params=["memory", "sqlite"])
def opened(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Opened]:
    """Opens one store, again and again."""
    kept, made = MemoryFittedStore(), list[FittedStore]()

    def open_it() -> FittedStore:
        made.append(kept if request.param == "memory" else SqliteFittedStore(tmp_path / "baselines.db"))
        return made[-1]

    yield open_it
    for one in made:
        one.close()


def drawn(many: int = 60) -> tuple[SessionProfile, ...]:
    draw = Random(7)
    return tuple(session(number, draw) for number in range(many))


@pytest.mark.requirement("baseline:fitted")
def test_what_is_put_is_there_until_it_is_not_among_those_to_keep(opened: Opened) -> None:
    store = opened()
    store.put(A, b"one")
    store.put(B, b"other")
    store.put(A, b"another")
    assert (store.get(A), store.get(B)) == (b"another", b"other")
    again = opened()
    assert again.keep_only({A}) == 1
    assert (again.get(A), again.get(B)) == (b"another", None)
    assert again.keep_only(()) == 1
    assert again.get(A) is None


@pytest.mark.requirement("baseline:fitted")
def test_sessions_come_back_as_they_were_under_a_digest_of_their_own() -> None:
    made = (*drawn(), profile(AgentId("agt_1"), 1), SessionProfile(AgentId("a"), "s", None, 1, 2, 3, 4, ()))
    digest, kept = fitted_bytes(made)
    assert fitted_from(kept, digest) == made
    assert fitted_bytes(fitted_from(kept, digest)) == (digest, kept)
    other = (*made[:-1], replace(made[-1], ended_us=5))
    assert fitted_bytes(other)[0] != digest
    assert measured_views(made)["calls"] == 61


@pytest.mark.requirement("baseline:fitted")
@pytest.mark.parametrize("how", ["cut", "other", "none", "bomb", "form", "more"])
def test_anything_else_is_not_taken_for_them(how: str) -> None:
    digest, kept = fitted_bytes(drawn())
    wrong = {
        "cut": kept[:-9],
        "other": fitted_bytes(drawn(59))[1],
        "none": b"",
        "bomb": zlib.compress(bytes(80 * 1024 * 1024), 9),
        "form": zlib.compress(b"\x93\x01\x02\x03"),
        "more": kept[:10] + b"\0" + kept[10:],
    }[how]
    with pytest.raises(InvalidInputError):
        fitted_from(wrong, digest)


def test_a_baseline_is_of_so_many_sessions_and_calls_at_most() -> None:
    many = [profile(AgentId("a"), one, 300) for one in range(250)]
    found = trimmed(many)
    assert [one.session for one in found] == [one.session for one in many[-MOST_SESSIONS:]]
    assert sum(len(one.calls) for one in found) <= 6_000
    assert found[0].features == many[50].features, "all of them are counted"
    assert trimmed(found) == found


def test_a_file_that_cannot_be_used_is_said(tmp_path: Path) -> None:
    path = tmp_path / "baselines.db"
    path.write_bytes(b"not a database at all" * 100)
    path.chmod(0o600)
    with pytest.raises(UnavailableError):
        SqliteFittedStore(path)
