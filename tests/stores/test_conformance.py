"""What every adapter must do, and that deleted bytes are gone: an adapter exists when this passes for it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from accredit.kernel.errors import AccreditError, InvalidInputError
from accredit.lifecycle.ports import StoreAdapter
from accredit.lifecycle.stored import Item, ResidualBytes
from tests.stores.kinds import KINDS, NAMESPACE, OTHER, Kind, store
from tests.stores.rows import Row

MARKER = "QUICKSILVER-{:04d}-HERON"
pytestmark = pytest.mark.requirement("stores:adapters:conformance")


@pytest.fixture(params=[pytest.param(one, id=one.name) for one in KINDS])
def kind(request: pytest.FixtureRequest) -> Kind:
    found: Kind = request.param
    if not found.there:
        pytest.skip(f"{found.needs} is not installed: make stores")
    return found


@pytest.fixture
def place(kind: Kind, tmp_path: Path) -> Path:
    place = kind.place(tmp_path)
    if not place.suffix:
        place.mkdir(exist_ok=True)
    return place


def rows(count: int, *, owner: str = "agt_1") -> list[Row]:
    return [
        Row(
            f"it-{at:04d}",
            f"the customer asked for {MARKER.format(at)} on a Tuesday, and was answered",
            {"agent_id": owner},
        )
        for at in range(count)
    ]


def walked(
    adapter: StoreAdapter, namespace: str = NAMESPACE, *, limit: int = 7, after: str | None = None
) -> Iterator[Item]:
    for _ in range(10_000):
        page = adapter.items(namespace, after, limit)
        assert len(page.items) <= limit
        yield from page.items
        after = page.following
        if after is None:
            return
    raise AssertionError("pages do not end")


def own(item: Item) -> str:
    """The id an application gave it: stores that name items otherwise keep it in the text."""
    return item.text.partition("QUICKSILVER-")[2][:4]


def opened(kind: Kind, place: Path) -> StoreAdapter:
    return kind.open(store(kind.name, place), place)


def test_each_item_is_given_once_and_whole(kind: Kind, place: Path) -> None:
    kind.fill(place, NAMESPACE, rows(50))
    kind.fill(place, OTHER, rows(3))
    adapter = opened(kind, place)
    found = list(walked(adapter))
    assert sorted(own(one) for one in found) == [f"{at:04d}" for at in range(50)]
    assert len({one.id for one in found}) == 50
    assert all(one.whole and "was answered" in one.text for one in found)
    if kind.owners:
        assert {one.fields["agent_id"] for one in found} == {"agt_1"}
    assert {one.namespace: one.items for one in adapter.inventory()} == {NAMESPACE: 50, OTHER: 3}
    assert {one.id: one.digest for one in adapter.get(NAMESPACE, [found[3].id, "no-such"])} == {
        found[3].id: found[3].digest
    }
    adapter.close()


def test_a_cursor_is_good_in_another_process(kind: Kind, place: Path) -> None:
    kind.fill(place, NAMESPACE, rows(40))
    first = opened(kind, place)
    page = first.items(NAMESPACE, None, 15)
    first.close()
    second = opened(kind, place)
    rest = list(walked(second, after=page.following))
    assert sorted(own(one) for one in [*page.items, *rest]) == [f"{at:04d}" for at in range(40)]
    second.close()


def test_nothing_is_passed_over_while_earlier_items_are_deleted(kind: Kind, place: Path) -> None:
    kind.fill(place, NAMESPACE, rows(60))
    adapter, seen, after = opened(kind, place), [], None
    for _ in range(100):
        page = adapter.items(NAMESPACE, after, 9)
        seen += [own(one) for one in page.items]
        adapter.delete(NAMESPACE, [one.id for one in page.items if int(own(one)) % 3])
        after = page.following
        if after is None:
            break
    assert sorted(seen) == [f"{at:04d}" for at in range(60)]
    assert sorted(own(one) for one in walked(adapter)) == [f"{at:04d}" for at in range(0, 60, 3)]
    adapter.close()


def test_deleting_again_or_what_is_not_there_is_no_error(kind: Kind, place: Path) -> None:
    kind.fill(place, NAMESPACE, rows(5))
    adapter = opened(kind, place)
    gone = next(walked(adapter)).id
    for _ in range(2):
        adapter.delete(NAMESPACE, [gone])
    assert len(list(walked(adapter))) == 4
    assert adapter.get(NAMESPACE, [gone]) == () or not list(adapter.get(NAMESPACE, [gone]))
    adapter.close()


def test_a_namespace_that_is_not_there_has_no_items(kind: Kind, place: Path) -> None:
    kind.fill(place, NAMESPACE, rows(1))
    adapter = opened(kind, place)
    assert adapter.items("nowhere", None, 10).items == ()
    assert list(adapter.get("nowhere", ["x"])) == []
    adapter.delete("nowhere", ["x"])
    adapter.close()


@pytest.mark.parametrize("namespace", ["../other", 'x"; DROP TABLE support; --', "/etc", "..", "a\0b"])
def test_a_namespace_that_is_none_reaches_nothing(kind: Kind, place: Path, namespace: str) -> None:
    kind.fill(place, NAMESPACE, rows(2))
    adapter = opened(kind, place)
    with contextlib.suppress(AccreditError):
        assert adapter.items(namespace, None, 10).items == ()
    with contextlib.suppress(AccreditError):
        adapter.delete(namespace, ["it-0001"])
    assert len(list(walked(adapter))) == 2
    adapter.close()


def test_an_item_is_given_to_another_agent_where_the_store_can(kind: Kind, place: Path) -> None:
    kind.fill(place, NAMESPACE, rows(3))
    adapter = opened(kind, place)
    item = next(walked(adapter))
    if not adapter.capabilities().assign:
        with pytest.raises(InvalidInputError):
            adapter.assign(NAMESPACE, [item.id], "agent_id", "agt_2")
        return
    adapter.assign(NAMESPACE, [item.id], "agent_id", "agt_2")
    assert sorted(one.fields["agent_id"] for one in walked(adapter)) == ["agt_1", "agt_1", "agt_2"]
    assert [one.text for one in walked(adapter) if one.id == item.id] == [item.text]
    adapter.close()


@pytest.mark.requirement("stores:adapters:residual-bytes")
@pytest.mark.parametrize("stays", [0, 5])
def test_deleted_bytes_are_gone_once_it_is_finished(kind: Kind, place: Path, stays: int) -> None:
    kind.fill(place, NAMESPACE, rows(300))
    markers = [MARKER.format(at).encode() for at in range(300)]
    assert kind.files is None or left_in(kind.files(place), markers)  # they were there
    adapter = opened(kind, place)
    doomed = [one.id for one in walked(adapter, limit=100) if int(own(one)) >= stays]
    adapter.delete(NAMESPACE, doomed)
    finished = adapter.finish(NAMESPACE, empty=not stays)
    adapter.finish(NAMESPACE, empty=not stays)  # again is no error
    assert finished.methods or finished.copies
    assert sorted(own(one) for one in walked(adapter)) == [f"{at:04d}" for at in range(stays)]
    residue = adapter.residue(NAMESPACE, markers[stays:])
    if stays and kind.probes_bytes:  # the probe finds what is there
        assert adapter.residue(NAMESPACE, markers[:stays]).residual is ResidualBytes.FOUND
    adapter.close()
    if kind.files is not None:
        assert left_in(kind.files(place), markers[stays:]) == []
        whole = ResidualBytes.NOT_CHECKABLE if kind.vectors_stay and stays else ResidualBytes.NONE
        assert residue.residual is whole, residue
    assert residue.residual is not ResidualBytes.FOUND


def left_in(files: Sequence[Path], markers: list[bytes]) -> list[str]:
    """Naively: every byte of every file there."""
    data = [(path.name, path.read_bytes()) for path in files]
    return sorted({name for name, read in data if any(marker in read for marker in markers)})
