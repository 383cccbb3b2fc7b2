"""Purges of what agents keep, through what people can do and through retirement, over good stores and hostile ones."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
import tracemalloc
from collections.abc import Coroutine, Mapping
from pathlib import Path
from typing import Any

import pytest

from accredit.approvals.model import VoteVerdict
from accredit.kernel.codes import Code
from accredit.kernel.errors import ConflictError, ForbiddenError, InvalidInputError, UnavailableError
from accredit.kernel.ids import AgentId
from accredit.lifecycle.model import Step
from accredit.lifecycle.stored import Disposition, Purge, PurgeState, ResidualBytes, ReviewVerdict
from accredit.lifecycle.stores import PATIENCE_US
from accredit.registry.errors import ManifestError
from accredit.registry.model import Agent, Role
from tests.lifecycle.house import NOW_US, House, agent, file, house, operator
from tests.stores.hostile import Shelf, Shelves, item
from tests.stores.kinds import NAMESPACE, fill_sqlite
from tests.stores.rows import Row

DANA, OLIVE, CORA, UNA, SAM = (operator(name) for name in ("dana", "olive", "cora", "una", "sam"))
STORES = [{"kind": "memory", "adapter": "sqlite", "store": "shelf", "namespace": NAMESPACE}]
KNOWLEDGE = [{**STORES[0], "kind": "knowledge"}]
HIGH: Mapping[str, Any] = {"data": ["internal", "personal"]}


def run(coroutine: Coroutine[Any, Any, None]) -> None:
    asyncio.run(asyncio.wait_for(coroutine, 110))


def manifest(location: str, **spec: Any) -> dict[str, Any]:
    told = {"adapter": "sqlite", "location": location, "namespaces": ["support", "b-*"], "shared": False}
    return {
        "apiVersion": "accredit/v1",
        "kind": "Store",
        "metadata": {"name": "shelf", "environment": "production"},
        "spec": told | spec,
    }


async def registered(place: House, location: str = "/stores/memory.db", **spec: Any) -> None:
    """The store, signed off by security as where things are is."""
    (applied,) = await place.operations.apply(OLIVE, file(manifest(location, **spec)))
    assert applied.request is not None
    await place.approve(applied.request.id)


async def keeping(place: House, shelf: Shelf | None = None, *, stores: Any = STORES, **spec: Any) -> Agent:
    """An active agent that keeps things in the store."""
    if shelf is not None:
        place.shelves(Shelves({"shelf": shelf}))
    await place.tools()
    await registered(place, **spec)
    return await place.active(stores=stores)


async def purged(place: House, of: AgentId) -> Purge:
    plan = await place.room.store_operations.plan(DANA, of, "shelf", NAMESPACE)
    found = await place.room.store_operations.purge(DANA, plan.id)
    for _ in range(100):
        if found.state is not PurgeState.RUNNING:
            return found
        await asyncio.sleep(0)
        found = await place.room.store_operations.purge(DANA, plan.id)
    return found


@pytest.mark.requirement("stores:registered")
def test_a_store_in_production_takes_two_persons_and_an_agent_names_what_is_there(tmp_path: Path) -> None:
    async def story() -> None:
        async with house(tmp_path) as place:
            await place.tools()
            with pytest.raises(ManifestError) as refused:
                await place.operations.apply(DANA, file(agent(stores=STORES)))
            assert refused.value.faults[0].code is Code.STORE_UNKNOWN
            with pytest.raises(ForbiddenError):
                await place.operations.apply(DANA, file(manifest("/stores/memory.db")))
            await registered(place)
            assert place.registry.stores["shelf"].location == "/stores/memory.db"
            (again,) = await place.operations.apply(OLIVE, file(manifest("/stores/memory.db")))
            assert (again.result.outcome, again.request) == ("unchanged", None)
            wrong = [{**STORES[0], "namespace": "billing"}, {**STORES[0], "adapter": "chroma"}]
            for each in wrong:
                with pytest.raises(ManifestError):
                    await place.operations.apply(DANA, file(agent(stores=[each])))
            (applied,) = await place.operations.apply(DANA, file(agent(stores=STORES)))
            assert applied.result.flags == {}

    run(story())


@pytest.mark.requirement("stores:cannot-certify")
def test_what_nobody_can_certify_is_said_from_registration_to_receipt(tmp_path: Path) -> None:
    async def story() -> None:
        async with house(tmp_path) as place:
            await place.tools()
            await registered(place, shared=True)  # and nothing in an item says whose it is
            nameless = {"kind": "memory", "adapter": "mem0"}
            stores = [nameless, {"kind": "memory", "adapter": "qdrant", "namespace": "x"}, *STORES]
            (applied,) = await place.operations.apply(DANA, file(agent(stores=stores)))
            assert applied.result.flags == {
                "memory mem0/?": (
                    "cannot certify: it has no namespace, so what is the agent's cannot be told from what is others'",
                ),
                "memory qdrant/x": ("cannot certify: it is in no registered store, so nobody can look",),
                "memory shelf/support": (
                    "cannot certify: the namespace is shared, and no field of an item says whose it is",
                ),
            }
            request = await place.operations.submit(DANA, place.agent().id)
            assert request is not None
            shown, _ = place.approvals.view(request.id)
            assert shown.count("cannot certify") == 3
            plan = place.room.lifecycle.retirement_plan(place.agent().id)
            (foreseen,) = [one for one in plan if one.step is Step.STORES]
            assert sum("cannot certify" in one for one in foreseen.open) == 3
            shelf = Shelf()
            shelf.put(NAMESPACE, [item(1, agent_id="digest")])
            place.shelves(Shelves({"shelf": shelf}))
            receipt = await place.retired()
            assert sum("cannot certify" in one for one in receipt.open) == 2
            assert "memory shelf/support: 1 items do not say whose they are" in receipt.open
            assert shelf.deleted == 0

    run(story())


@pytest.mark.requirement("stores:purge:private")
def test_retirement_purges_private_memory_and_shows_that_it_is_gone(tmp_path: Path) -> None:
    async def story() -> None:
        (tmp_path / "stores").mkdir()
        path = tmp_path / "stores/memory.db"
        rows = [Row(f"m{at}", f"the caller's order is HERON-QUICKSILVER-{at:05d} as before") for at in range(500)]
        fill_sqlite(path, NAMESPACE, rows)
        fill_sqlite(path, "other", [Row("o", "somebody else's notes stay here")])
        async with house(tmp_path) as place:
            await place.tools()
            await registered(place, str(path))
            active = await place.active(stores=STORES)
            receipt = await place.retired()
            (outcome,) = next(done.result["outcomes"] for done in receipt.steps if done.step is Step.STORES)
            told = {
                "adapter": "sqlite", "agent": active.id, "api_absent": True, "certified": True, "deleted": 500,
                "items_after": 0, "items_before": 500, "residual": "none", "skipped": {}, "operator": "psn_dana",
            }  # fmt: skip
            assert told.items() <= outcome.items()
            assert outcome["methods"] == ["delete", "secure-delete", "vacuum", "wal-truncate"]
            assert receipt.open == ("memory shelf/support: backups of the database file",)
        left = b"".join(each.read_bytes() for each in path.parent.iterdir())
        assert b"HERON-QUICKSILVER" not in left
        assert b"somebody else's notes stay here" in left
        assert not list((tmp_path / "purges").glob("*"))
        database = sqlite3.connect(path)
        assert database.execute("SELECT count(*) FROM support").fetchone() == (0,)
        database.close()

    run(story())


@pytest.mark.requirement("stores:purge:who-may")
def test_who_may_not_purges_and_reads_nothing(tmp_path: Path) -> None:
    async def story() -> None:
        shelf = Shelf()
        shelf.put(NAMESPACE, [item(at) for at in range(3)])
        async with house(tmp_path) as place:
            active = await keeping(place, shelf)
            acts = place.room.store_operations
            plan = await acts.plan(DANA, active.id, "shelf", NAMESPACE)
            reader = operator("dana", scopes=frozenset({"read"}))
            for who in (UNA, SAM, reader):
                with pytest.raises(ForbiddenError):
                    await acts.purge(who, plan.id)
                with pytest.raises(ForbiddenError):
                    await acts.plan(who, active.id, "shelf", NAMESPACE)
            for who in (UNA, reader):
                with pytest.raises(ForbiddenError):
                    await acts.scan(who, "shelf", NAMESPACE)
                with pytest.raises(ForbiddenError):
                    await acts.begin_review(who, active.id, "shelf", NAMESPACE)
            assert shelf.deleted == 0

    run(story())


@pytest.mark.requirement("stores:purge:two-persons")
def test_a_large_purge_waits_for_somebody_else_and_then_is_exactly_what_they_saw(tmp_path: Path) -> None:
    async def story() -> None:
        shelf = Shelf()
        shelf.put(NAMESPACE, [item(at) for at in range(1_001)])
        async with house(tmp_path) as place:
            active = await keeping(place, shelf)
            asked = await purged(place, active.id)
            assert asked.state is PurgeState.ASKED
            assert asked.request is not None
            await place.room.stores.round()
            assert shelf.deleted == 0
            request = await place.approve(asked.request)
            assert request.used_us is not None
            await place.room.stores.round()
            assert (await settled(place, asked.id)).outcome.approvers == ("psn_cora",)  # type: ignore[union-attr]
            assert shelf.kept[NAMESPACE] == {} if NAMESPACE in shelf.kept else True

            # another plan is signed off, and the store changes before anything is deleted
            shelf.put(NAMESPACE, [item(at) for at in range(1_001)])
            asked = await purged(place, active.id)
            shelf.put(NAMESPACE, [item(9_999)])
            before = shelf.deleted
            await place.approve(str(asked.request))
            await place.room.stores.round()
            refused = await settled(place, asked.id)
            assert (refused.state, shelf.deleted) == (PurgeState.REFUSED, before)

            # a rejected one is refused too
            asked = await purged(place, active.id)
            await place.vote(str(asked.request), Role.COMPLIANCE, VoteVerdict.REJECT)
            await place.room.stores.round()
            assert (await settled(place, asked.id)).state is PurgeState.REFUSED
            assert shelf.deleted == before

    run(story())


async def settled(place: House, purge: str) -> Purge:
    for _ in range(2_000):
        found = place.room.stores.purge_of(purge)
        if found.state in {PurgeState.ENDED, PurgeState.REFUSED}:
            return found
        await asyncio.sleep(0.005)
    raise AssertionError("the purge does not end")


@pytest.mark.requirement("stores:hostile")
@pytest.mark.parametrize("fault", ["keeps", "hides", "circles", "endless", "greedy", "shuffles"])
def test_a_store_that_lies_is_not_believed(tmp_path: Path, fault: str) -> None:
    async def story() -> None:
        shelf = Shelf()
        shelf.put(NAMESPACE, [item(at) for at in range(450)])
        async with house(tmp_path) as place:
            active = await keeping(place, shelf)
            plan = await place.room.store_operations.plan(DANA, active.id, "shelf", NAMESPACE)
            setattr(shelf, fault, True)
            await place.room.store_operations.purge(DANA, plan.id)
            outcome = (await settled(place, plan.id)).outcome
            assert outcome is not None
            match fault:
                case "keeps":
                    assert (outcome.api_absent, outcome.items_after, outcome.certified) == (False, 450, False)
                    assert any("still there" in one for one in outcome.open)
                case "hides":
                    assert (outcome.api_absent, outcome.residual, outcome.certified) == (
                        True,
                        ResidualBytes.FOUND,
                        False,
                    )
                    assert any("bytes of deleted items were found" in one for one in outcome.open)
                case "shuffles":
                    assert (outcome.api_absent, outcome.deleted) == (True, 450)
                case _:
                    assert (outcome.api_absent, outcome.certified, shelf.deleted) == (None, False, 0)
                    assert any("cannot be trusted" in one for one in outcome.open)

    run(story())


@pytest.mark.requirement("stores:down")
def test_a_store_that_is_down_for_a_day_is_purged_once_it_is_back_and_given_up_after_three(tmp_path: Path) -> None:
    async def story() -> None:
        shelf = Shelf()
        shelf.put(NAMESPACE, [item(at) for at in range(5)])
        async with house(tmp_path) as place:
            active = await keeping(place, shelf)
            shelf.down = True
            with pytest.raises(UnavailableError):
                await place.operations.retire(DANA, active.id, "over")
            assert place.registry.get(active.id).state == "retiring"  # type: ignore[union-attr]
            place.clock.advance(86_400)
            await place.operations.tidy()
            assert place.room.lifecycle.receipt(active.id) is None
            shelf.down = False
            await place.operations.tidy()
            receipt = place.room.lifecycle.receipt(active.id)
            assert receipt is not None
            assert shelf.deleted == 5

    run(story())

    async def other() -> None:
        shelf = Shelf()
        shelf.put(NAMESPACE, [item(at) for at in range(5)])
        (tmp_path / "other").mkdir()
        async with house(tmp_path / "other") as place:
            active = await keeping(place, shelf)
            shelf.down = True
            with pytest.raises(UnavailableError):
                await place.operations.retire(DANA, active.id, "over")
            place.clock.advance(PATIENCE_US / 1_000_000)
            await place.operations.tidy()
            receipt = place.room.lifecycle.receipt(active.id)
            assert receipt is not None
            assert receipt.open == ("memory shelf/support: the store itself: the shelf is down",)

    run(other())


@pytest.mark.requirement("stores:purge:legal-hold")
def test_what_is_under_legal_hold_stays_and_is_listed(tmp_path: Path) -> None:
    async def story() -> None:
        shelf = Shelf()
        shelf.put(NAMESPACE, [item(at, subject="mr-x" if at % 2 else "mrs-y") for at in range(10)])
        async with house(tmp_path) as place:
            hold = await place.room.record_operations.place_hold(operator("sam"), "m", subject="mr-x")
            active = await keeping(place, shelf, subjectField="subject")
            outcome = (await settled(place, (await purged(place, active.id)).id)).outcome
            assert outcome is not None
            assert {one.fields["subject"] for one in shelf.kept[NAMESPACE].values()} == {"mr-x"}
            assert (outcome.deleted, outcome.skipped, outcome.holds) == (5, {"held": 5}, (hold.id,))
            assert not outcome.certified
            assert "memory shelf/support: 5 items are under legal hold" in outcome.open

    run(story())


@pytest.mark.requirement("stores:purge:shared")
def test_of_a_shared_namespace_only_the_agents_own_items_go(tmp_path: Path) -> None:
    async def story() -> None:
        shelf = Shelf()
        owners = ["digest", "billing-bot", ""]
        shelf.put(NAMESPACE, [item(at, agent_id=owners[at % 3]) for at in range(30)])
        async with house(tmp_path) as place:
            active = await keeping(place, shelf, shared=True, ownerField="agent_id")
            outcome = (await settled(place, (await purged(place, active.id)).id)).outcome
            assert outcome is not None
            assert (outcome.deleted, outcome.skipped) == (10, {"others": 10, "unknown-owner": 10})
            assert {one.fields["agent_id"] for one in shelf.kept[NAMESPACE].values()} == {"billing-bot", ""}

    run(story())


@pytest.mark.requirement("stores:purge:shared")
def test_what_another_agent_keeps_under_the_name_of_a_retired_one_is_not_purged_with_it(tmp_path: Path) -> None:
    async def story() -> None:
        shelf = Shelf()
        shelf.put(NAMESPACE, [item(at, agent_id="digest") for at in range(6)])
        async with house(tmp_path) as place:
            first = await keeping(place, shelf, shared=True, ownerField="agent_id")
            hold = await place.room.record_operations.place_hold(operator("sam"), "m", agent=first.id)
            await place.retired()
            assert len(shelf.kept[NAMESPACE]) == 6
            second = await place.active(stores=STORES)
            assert (second.name, second.id == first.id) == ("digest", False)
            shelf.put(NAMESPACE, [item(at, agent_id="digest") for at in range(6, 9)])
            shelf.put(NAMESPACE, [item(9, agent_id=first.id)])
            theirs = (await settled(place, (await purged(place, second.id)).id)).outcome
            assert theirs is not None
            assert theirs.skipped == {"held": 9, "others": 1}, "the first one's are held, under whatever name"
            await place.room.record_operations.lift_hold(operator("cora"), hold.id, "it is over")
            place.clock.advance(60)
            await place.room.retirements.round()
            assert {one.fields["agent_id"] for one in shelf.kept[NAMESPACE].values()} == {"digest"}
            assert len(shelf.kept[NAMESPACE]) == 9, "nobody can say which of them are whose"
            newest = place.room.stores.purges(first.id)[0]
            assert newest.outcome is not None
            assert (newest.outcome.deleted, newest.outcome.skipped) == (1, {"unknown-owner": 9})
            await place.room.record_operations.place_hold(operator("sam"), "m", agent=first.id)
            await place.retired()
            for _ in range(3):
                await place.room.retirements.round()
            planned = place.room.stores.purges(second.id)
            assert len(planned) == 2, "what is held by a hold on the other is not planned again and again"

    run(story())


@pytest.mark.requirement("stores:review")
def test_shared_knowledge_goes_only_as_far_as_people_decided_on_it(tmp_path: Path) -> None:
    async def story() -> None:
        shelf = Shelf()
        shelf.put(NAMESPACE, [item(at, agent_id="digest") for at in range(6)])
        shelf.put(NAMESPACE, [item(6, "write to jane.roe@mail.example.com about it", agent_id="digest")])
        shelf.put(NAMESPACE, [item(7, "write to john.roe@mail.example.com about it", agent_id="digest")])
        shelf.put(NAMESPACE, [item(8, agent_id="billing-bot")])
        async with house(tmp_path) as place:
            active = await keeping(place, shelf, stores=KNOWLEDGE, shared=True, ownerField="agent_id")
            acts = place.room.store_operations
            first = (await settled(place, (await purged(place, active.id)).id)).outcome
            assert first is not None
            assert (first.deleted, first.skipped) == (0, {"others": 1, "unreviewed": 8})

            review = await acts.begin_review(CORA, active.id, "shelf", NAMESPACE)
            assert (await acts.begin_review(DANA, active.id, "shelf", NAMESPACE)).id == review.id
            shown, _ = await acts.review_items(CORA, review.id)
            by_id = {one.item.id: one for one in shown}
            assert [dict(by_id[f"it-00000{at}"].flagged) for at in (5, 6)] == [{}, {"email": 1}]
            assert not by_id["it-000008"].mine

            async def decide(at: int, verdict: ReviewVerdict, to: AgentId | None = None) -> None:
                one = by_id[f"it-{at:06d}"].item
                await acts.decide(CORA, review.id, one.id, one.digest, verdict, to)

            await acts.decide_clean(CORA, review.id, ReviewVerdict.DELETE)
            await decide(0, ReviewVerdict.KEEP)
            await decide(6, ReviewVerdict.DELETE)
            with pytest.raises(ConflictError):
                await decide(8, ReviewVerdict.DELETE)  # another's
            with pytest.raises(InvalidInputError):
                await decide(1, ReviewVerdict.REASSIGN)
            with pytest.raises(InvalidInputError):
                await acts.decide_clean(CORA, review.id, ReviewVerdict.REASSIGN)
            # it says something else than what was shown
            shelf.put(NAMESPACE, [item(2, "now it is something else altogether", agent_id="digest")])
            with pytest.raises(ConflictError):
                await decide(2, ReviewVerdict.DELETE)
            # and what was decided on waits again once it changed
            shelf.put(NAMESPACE, [item(6, "write to jim.roe@mail.example.com about it", agent_id="digest")])

            outcome = (await settled(place, (await purged(place, active.id)).id)).outcome
            assert outcome is not None
            assert outcome.skipped == {"kept": 1, "others": 1, "unreviewed": 2}
            assert sorted(shelf.kept[NAMESPACE]) == ["it-000000", "it-000006", "it-000007", "it-000008"]
            await decide(7, ReviewVerdict.REASSIGN, active.id)
            assert shelf.kept[NAMESPACE]["it-000007"].fields["agent_id"] == "digest"

    run(story())


@pytest.mark.requirement("stores:scan")
def test_a_scan_tells_kinds_and_counts_and_goes_on_after_a_kill(tmp_path: Path) -> None:
    class KilledError(Exception):
        pass

    async def story() -> None:
        shelf = Shelf()
        secret = "reach Jane at jane.roe@mail.example.com or +49 170 1234567"
        shelf.put(NAMESPACE, [item(at, secret if at % 4 == 0 else "") for at in range(12_000)])
        steps = 0

        def at(step: str) -> None:
            nonlocal steps
            if step == "scanned":
                steps += 1
                if steps == 1:
                    raise KilledError

        async with house(tmp_path, at=at) as place:
            await keeping(place, shelf)
            with contextlib.suppress(KilledError):
                await place.room.store_operations.scan(SAM, "shelf", NAMESPACE)
            there = place.room.stores.scan_of("shelf", NAMESPACE)
            assert there is not None
            assert 5_000 <= there.items < 6_000
            assert there.ended_us is None
        shelf.calls = 0
        async with house(tmp_path) as place:
            place.shelves(Shelves({"shelf": shelf}))
            scan = await place.room.store_operations.scan(SAM, "shelf", NAMESPACE)
            for _ in range(2_000):
                scan = place.room.stores.scan_of("shelf", NAMESPACE) or scan
                if scan.ended_us is not None:
                    break
                await asyncio.sleep(0.005)
            assert (scan.items, scan.flagged, scan.cut, scan.cursor) == (12_000, 3_000, 0, None)
            assert {one.kind: (one.data_class, one.items) for one in scan.findings} == {
                "email": ("personal", 3_000),
                "phone": ("personal", 3_000),
            }
            assert shelf.calls < 40  # not from the beginning
            stored = [str(dict(row.doc)) for row in place.control.view.scan("store_scan")]
            assert stored
            assert not any("jane" in one for one in stored)

    run(story())


@pytest.mark.requirement("stores:purge:killed")
@pytest.mark.parametrize("killed_at", ["checked", "deleted", "finished", "proven", "ended"])
def test_a_purge_killed_anywhere_is_completed_and_proven_by_the_next_process(tmp_path: Path, killed_at: str) -> None:
    class KilledError(BaseException):
        pass

    async def story() -> None:
        shelf, left = Shelf(), [2]
        shelf.put(NAMESPACE, [item(at) for at in range(950)])

        def at(step: str) -> None:
            if step == killed_at:
                left[0] -= 1
                if left[0] <= 0 or killed_at != "deleted":
                    shelf.down = True
                    raise KilledError

        async with house(tmp_path, at=at) as place:
            active = await keeping(place, shelf)
            plan = await place.room.store_operations.plan(DANA, active.id, "shelf", NAMESPACE)
            with contextlib.suppress(KilledError):
                await place.room.store_operations.purge(DANA, plan.id)
        shelf.down = False
        async with house(tmp_path) as place:
            place.shelves(Shelves({"shelf": shelf}))
            await place.room.stores.round()
            outcome = (await settled(place, plan.id)).outcome
            assert outcome is not None
            assert (outcome.deleted, outcome.items_after, outcome.residual) == (950, 0, ResidualBytes.NONE)
            assert "samples searched" in outcome.residual_method or killed_at == "ended"
            assert not shelf.kept.get(NAMESPACE)

    run(story())


@pytest.mark.requirement("stores:purge:keys")
def test_a_key_is_destroyed_only_if_it_is_the_namespaces_own_and_nothing_is_left(tmp_path: Path) -> None:
    async def story() -> None:
        shelf = Shelf(keys={"kms/support": 5_000_000_000_000_000})
        shelf.put(NAMESPACE, [item(at, subject="mr-x") for at in range(4)])
        async with house(tmp_path) as place:
            await place.room.record_operations.place_hold(operator("sam"), "m", subject="mr-x")
            active = await keeping(place, shelf, keyScope="kms/{namespace}", subjectField="subject")
            held = (await settled(place, (await purged(place, active.id)).id)).outcome
            assert held is not None
            assert held.keys == ()
            shelf.kept[NAMESPACE].clear()
            shelf.put(NAMESPACE, [item(at) for at in range(4)])
            unsaid = (await settled(place, (await purged(place, active.id)).id)).outcome
            assert unsaid is not None
            assert (unsaid.deleted, unsaid.skipped) == (0, {"held": 4})  # whom they are about could be mr-x
            shelf.kept[NAMESPACE].clear()
            shelf.put(NAMESPACE, [item(at, subject="mrs-y") for at in range(4)])
            gone = (await settled(place, (await purged(place, active.id)).id)).outcome
            assert gone is not None
            assert [one.scope for one in gone.keys] == ["kms/support"]
            assert "memory shelf/support: the key kms/support is destroyed only later" in gone.open

    run(story())


@pytest.mark.requirement("stores:purge:keys")
def test_a_key_whose_deletion_somebody_took_back_is_not_ordered_anew_under_legal_hold(tmp_path: Path) -> None:
    async def story() -> None:
        shelf = Shelf(keys={"kms/support": NOW_US + 7 * 86_400_000_000})
        async with house(tmp_path) as place:
            active = await keeping(place, shelf, keyScope="kms/{namespace}")
            await place.retired()
            hold = await place.room.record_operations.place_hold(operator("sam"), "m", agent=active.id)
            place.clock.advance(8 * 86_400)
            shelf.keys["kms/support"] = None  # once it is asked about again
            await place.room.retirements.round()
            (purge,) = place.room.stores.purges(active.id)
            assert purge.outcome is not None
            assert [one.pending_until_us for one in purge.outcome.keys] == [NOW_US + 7 * 86_400_000_000]
            await place.room.record_operations.lift_hold(operator("cora"), hold.id, "it is over")
            await place.room.retirements.round()
            (purge,) = place.room.stores.purges(active.id)
            assert purge.outcome is not None
            assert [one.pending_until_us for one in purge.outcome.keys] == [None]

    run(story())


@pytest.mark.requirement("stores:purge:keys")
def test_a_key_that_another_registered_store_names_as_well_stays(tmp_path: Path) -> None:
    async def story() -> None:
        shelf = Shelf(keys={"kms/support": 5_000_000_000_000_000})
        async with house(tmp_path) as place:
            active = await keeping(place, shelf, keyScope="kms/{namespace}")
            other = manifest("/stores/other.db", keyScope="kms/{namespace}")
            other["metadata"]["name"] = "other"
            (applied,) = await place.operations.apply(OLIVE, file(other))
            assert applied.request is not None
            await place.approve(applied.request.id)
            outcome = (await settled(place, (await purged(place, active.id)).id)).outcome
            assert outcome is not None
            assert outcome.keys == ()
            assert any("`other`" in one for one in outcome.open)

    run(story())


@pytest.mark.requirement("stores:purge:keys")
def test_a_key_of_an_agent_under_legal_hold_stays_also_if_nothing_is_left_in_the_namespace(tmp_path: Path) -> None:
    async def story() -> None:
        shelf = Shelf(keys={"kms/support": 5_000_000_000_000_000})
        async with house(tmp_path) as place:
            active = await keeping(place, shelf, keyScope="kms/{namespace}")
            hold = await place.room.record_operations.place_hold(operator("sam"), "m", agent=active.id)
            held = (await settled(place, (await purged(place, active.id)).id)).outcome
            assert held is not None
            assert held.keys == (), "copies that it opens are kept by the hold"
            assert any(hold.id in one for one in held.open)
            await place.room.record_operations.lift_hold(operator("cora"), hold.id, "it is over")
            gone = (await settled(place, (await purged(place, active.id)).id)).outcome
            assert gone is not None
            assert [one.scope for one in gone.keys] == ["kms/support"]

    run(story())


@pytest.mark.requirement("stores:purge:bounded")
def test_any_number_of_items_takes_bounded_memory(tmp_path: Path) -> None:
    async def story() -> None:
        (tmp_path / "stores").mkdir()
        path = tmp_path / "stores/memory.db"
        fill_sqlite(path, NAMESPACE, [Row(f"m{at:06d}", f"note {at:06d} of the agent") for at in range(20_000)])
        async with house(tmp_path) as place:
            await place.tools()
            await registered(place, str(path))
            active = await place.active(stores=STORES)
            tracemalloc.start()
            plan = await place.room.store_operations.plan(DANA, active.id, "shelf", NAMESPACE)
            _, most = tracemalloc.get_traced_memory()
            tracemalloc.stop()
            assert plan.counts[Disposition.DELETE] == 20_000
            assert most < 6 * 2**20
            asked = await place.room.store_operations.purge(DANA, plan.id)
            assert asked.state is PurgeState.ASKED
            # how far it is goes into the log a few times, not once an item
            before = place.control.position
            await place.approve(str(asked.request))
            await place.room.stores.round()
            outcome = (await settled_slowly(place, plan.id)).outcome
            assert outcome is not None
            assert (outcome.deleted, outcome.certified) == (20_000, True)
            assert place.control.position - before < 60

    run(story())


async def settled_slowly(place: House, purge: str) -> Purge:
    for _ in range(10_000):
        found = place.room.stores.purge_of(purge)
        if found.state in {PurgeState.ENDED, PurgeState.REFUSED}:
            return found
        await asyncio.sleep(0.01)
    raise AssertionError("the purge does not end")
