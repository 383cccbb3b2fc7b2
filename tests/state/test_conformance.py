"""What every `ControlLog` does, whatever keeps it."""

from __future__ import annotations

import asyncio
import copy
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import orjson
import pytest

from accredit.audit.model import Part
from accredit.audit.ports import Change, ControlLog, StateView
from accredit.kernel.codes import Code
from accredit.kernel.errors import ConflictError, InvalidInputError
from accredit.storage.memory.control import MemoryControlLog
from tests.state.installation import Installation, always, change

Scenario = Callable[[ControlLog], Awaitable[None]]
Run = Callable[[Scenario], None]


@pytest.fixture(params=["memory", "sqlite"])
def run(request: pytest.FixtureRequest, tmp_path: Path) -> Run:
    @asynccontextmanager
    async def opened() -> AsyncIterator[ControlLog]:
        if request.param == "memory":
            yield MemoryControlLog()
        else:
            async with Installation(tmp_path).running() as service:
                yield service

    def go(scenario: Scenario) -> None:
        async def whole() -> None:
            async with opened() as control:
                await asyncio.wait_for(scenario(control), 30)

        asyncio.run(whole())

    return go


def put(*writes: Any, **options: Any) -> Callable[[StateView], Change]:
    return always(change(*writes, **options))


@pytest.mark.requirement("state:change:visible-when-acknowledged")
def test_a_change_is_in_the_view_when_it_is_acknowledged(run: Run) -> None:
    async def scenario(control: ControlLog) -> None:
        assert control.position == -1
        first = await control.transact(put(("thing", "a", {"n": 1}), ("other", "a", {"n": 2})))
        assert first is not None
        assert control.position == first.seq
        row, other = control.view.get("thing", "a"), control.view.get("other", "a")
        assert row is not None
        assert other is not None
        assert (row.doc, other.doc) == ({"n": 1}, {"n": 2})
        assert row.digest != other.digest
        second = await control.transact(put(("thing", "a", None), ("thing", "b", {})))
        assert second is not None
        assert second.seq > first.seq
        assert control.view.get("thing", "a") is None
        assert [row.key for row in control.view.scan("thing")] == ["b"]
        assert control.unproven == frozenset()

    run(scenario)


def test_none_changes_nothing_and_nothing_stands_under_an_unknown_kind(run: Run) -> None:
    async def scenario(control: ControlLog) -> None:
        assert await control.transact(lambda _: None) is None
        assert control.position == -1
        assert list(control.view.scan("thing")) == []
        assert control.view.get("thing", "a") is None

    run(scenario)


def test_an_event_without_rows_is_recorded(run: Run) -> None:
    async def scenario(control: ControlLog) -> None:
        seen: list[Change] = []
        control.subscribe(seen.append)
        assert await control.transact(put(kind="console.viewed", page="agents")) is not None
        assert [one.facts.kind for one in seen] == ["console.viewed"]

    run(scenario)


def test_a_scan_goes_by_key_and_later_changes_do_not_disturb_it(run: Run) -> None:
    async def scenario(control: ControlLog) -> None:
        for key in ("b", "B", "a", "10", "9"):
            await control.transact(put(("thing", key, {"key": key})))
        running = control.view.scan("thing")
        seen = [next(running).key]
        await control.transact(put(("thing", "a", None), ("thing", "c", {})))
        seen += [row.key for row in running]
        assert seen == ["10", "9", "B", "a", "b"]
        assert [row.key for row in control.view.scan("thing")] == ["10", "9", "B", "b", "c"]

    run(scenario)


def test_a_view_that_was_kept_sees_later_changes(run: Run) -> None:
    async def scenario(control: ControlLog) -> None:
        view = control.view
        await control.transact(put(("thing", "a", {})))
        assert view.get("thing", "a") is not None

    run(scenario)


@pytest.mark.requirement("state:change:one-at-a-time")
def test_changes_are_built_one_at_a_time_against_the_present_state(run: Run) -> None:
    async def scenario(control: ControlLog) -> None:
        def raised(view: StateView) -> Change:
            row = view.get("counter", "c")
            return change(("counter", "c", {"n": row.doc["n"] + 1 if row else 1}))

        receipts = await asyncio.gather(*(control.transact(raised) for _ in range(20)))
        row = control.view.get("counter", "c")
        assert row is not None
        assert row.doc == {"n": 20}
        positions = [receipt.seq for receipt in receipts if receipt]
        assert positions == sorted(set(positions))
        assert len(positions) == 20

    run(scenario)


@pytest.mark.requirement("state:change:refusal-changes-nothing")
def test_a_build_that_raises_changes_nothing(run: Run) -> None:
    async def scenario(control: ControlLog) -> None:
        seen: list[Change] = []
        control.subscribe(seen.append)

        def refuse(view: StateView) -> Change:
            raise ConflictError(Code.CONFLICT, "taken")

        with pytest.raises(ConflictError):
            await control.transact(refuse)
        assert seen == []
        assert await control.transact(put(("thing", "a", {}))) is not None

    run(scenario)


def test_listeners_hear_every_change_in_order_before_the_caller_does(run: Run) -> None:
    async def scenario(control: ControlLog) -> None:
        seen: list[tuple[str, bool]] = []

        def listener(one: Change) -> None:
            (write,) = one.writes
            seen.append((write.key, control.view.get("thing", write.key) is not None))

        control.subscribe(listener)
        for key in "abc":
            await control.transact(put(("thing", key, {}), narrowing=key == "b"))
            assert seen[-1] == (key, True)
        assert [key for key, _ in seen] == ["a", "b", "c"]

    run(scenario)


@pytest.mark.requirement("state:view:docs-are-immutable")
def test_docs_cannot_be_modified_by_readers_or_by_whoever_wrote_them(run: Run) -> None:
    async def scenario(control: ControlLog) -> None:
        doc: dict[str, Any] = {"roles": ["a"], "inner": {"x": 1}}
        await control.transact(put(("thing", "a", doc)))
        doc["inner"]["x"] = 2
        row = control.view.get("thing", "a")
        assert row is not None
        assert row.doc == {"roles": ["a"], "inner": {"x": 1}}
        spoils: tuple[Callable[[Any], object], ...] = (
            lambda found: found.update(x=1),
            lambda found: found["inner"].__setitem__("x", 3),
            lambda found: found["inner"].pop("x"),
            lambda found: found["roles"].append("b"),
            lambda found: found["roles"].__iadd__(["b"]),
        )
        for spoil in spoils:
            with pytest.raises(TypeError):
                spoil(row.doc)
        assert isinstance(row.doc, dict)
        assert copy.deepcopy(row.doc) == row.doc
        assert orjson.loads(orjson.dumps(row.doc)) == row.doc
        await control.transact(put(("thing", "a", {**row.doc, "more": True})))
        again = control.view.get("thing", "a")
        assert again is not None
        assert again.doc == {"roles": ["a"], "inner": {"x": 1}, "more": True}

    run(scenario)


_DEEP: Any = {}
for _ in range(3_000):
    _DEEP = {"d": _DEEP}


@pytest.mark.requirement("state:change:bounded")
@pytest.mark.parametrize(
    "bad",
    [
        change(("Thing", "a", {})),
        change(("a/b", "a", {})),
        change(("thing", "", {})),
        change(("thing", "dana@example.com", {})),
        change(("thing", "k" * 601, {})),
        change(("thing", "line\nbreak", {})),
        change(("thing", "ключ", {})),
        change(("thing", "a", {"n": 1.5})),
        change(("thing", "a", {"n": 2**53})),
        change(("thing", "a", {"n": object()})),
        change(("thing", "a", {"ü": 1})),
        change(("thing", "a", {"text": "\ud800"})),
        change(("thing", "a", _DEEP)),
        change(("thing", "a", {"text": "x" * 1_048_577})),
        change(*(("thing", f"k{n}", {"text": "x" * 1_000_000}) for n in range(4))),
        change(*(("thing", f"k{n}", {}) for n in range(257))),
        change(("thing", "a", {}), ("thing", "a", None)),
        change(kind="Not A Kind"),
        change(changes=[]),
        change(outbox="evt_forged"),
        change(text="x" * 65_537),
        Change(change().facts, (), change().actor, {}, (Part("state", {}),)),
        Change(change().facts, (), change().actor, {}, (Part("note", {}), Part("note", {}))),
    ],
    ids=lambda bad: f"{bad.facts.kind}-{len(bad.writes)}",
)
def test_a_change_that_could_not_be_recorded_is_refused_before_anything_happens(run: Run, bad: Change) -> None:
    async def scenario(control: ControlLog) -> None:
        with pytest.raises(InvalidInputError):
            await control.transact(lambda _: bad)
        assert control.position == -1
        assert await control.transact(put(("thing", "a", {}))) is not None

    run(scenario)


def test_a_cancelled_caller_leaves_the_log_usable(run: Run) -> None:
    async def scenario(control: ControlLog) -> None:
        tasks = [asyncio.ensure_future(control.transact(put(("thing", f"k{n}", {})))) for n in range(5)]
        await asyncio.sleep(0)
        for task in tasks[::2]:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await control.transact(put(("thing", "last", {})))
        keys = {row.key for row in control.view.scan("thing")}
        assert {"k1", "k3", "last"} <= keys

    run(scenario)
