"""Rows of the control state changed by hand while nobody watches: what rests on them is refused, named and healed."""

from __future__ import annotations

import asyncio
import shutil
import sqlite3
from collections.abc import Callable, Coroutine, Iterator, Mapping
from contextlib import AsyncExitStack, closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import orjson
import pytest

from accredit.audit.state import row_digest
from accredit.kernel.canonical import canonical
from accredit.kernel.errors import AccreditError
from accredit.offline import look_at
from tests.enforcement.place import HELPER, KIM, TICKET, WORKER, Place, Site, site
from tests.families import every_third

Doc = dict[str, Any]


_CALLS: Mapping[str, tuple[str, Doc]] = {"worker": ("read", {}), "helper": ("match", {"customer_id": "c-1"})}


class Shop:
    """Two agents that work, and copies of their data directory for everybody who wants to spoil one."""

    def __init__(self, runner: asyncio.Runner, origin: Site, tokens: Mapping[str, str]) -> None:
        self._runner = runner
        self._origin = origin
        self.tokens = tokens
        """Good for every process, since all have one address and one clock."""

    def copy(self, data: Path) -> Site:
        shutil.copytree(self._origin.data, data)
        return replace(self._origin, data=data)

    def run(self, story: Coroutine[Any, Any, None]) -> None:
        async def bounded() -> None:
            async with asyncio.timeout(60):
                await story

        self._runner.run(bounded())


async def _registered(empty: Site) -> dict[str, str]:
    async with empty.started() as at:
        await empty.register(at, WORKER, HELPER)
        tokens = {
            "worker": await at.token("worker"),
            "helper": await at.token("helper", user=KIM, ticket=TICKET, roles=["support"]),
        }
        for name, (tool, arguments) in _CALLS.items():
            assert (await at.call(tokens[name], tool, arguments)).allowed
        await at.settled()
    return tokens


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    with asyncio.Runner() as runner:
        stack = AsyncExitStack()
        origin = runner.run(stack.enter_async_context(site(tmp_path_factory.mktemp("shop") / "data")))
        try:
            yield Shop(runner, origin, runner.run(_registered(origin)))
        finally:
            runner.run(stack.aclose())


def _rows(data: Path, kind: str) -> list[tuple[str, Doc]]:
    with closing(sqlite3.connect(data / "control.db")) as database:
        found = database.execute("SELECT key, doc FROM state WHERE kind = ? ORDER BY key", (kind,)).fetchall()
    return [(key, orjson.loads(doc)) for key, doc in found]


def _put(empty: Site, kind: str, key: str, doc: Doc, *, outbox: str = "evt_forged") -> None:
    """A row whose own digest fits, as somebody would write it who has read our source."""
    text = canonical(doc)
    empty.sql(
        "control.db",
        "INSERT OR REPLACE INTO state (kind, key, doc, digest, outbox_id) VALUES (?, ?, ?, ?, ?)",
        (kind, key, text, row_digest(kind, key, text), outbox),
    )


def _key(empty: Site, kind: str) -> str:
    """A row that one of the two agents' calls rests on."""
    keys = [key for key, _ in _rows(empty.data, kind)]
    return next((key for key in keys if key == "crm/read"), keys[0])


def _edited(kind: str, edit: Callable[[Doc], object]) -> Callable[[Site], tuple[str, str]]:
    def spoil(empty: Site) -> tuple[str, str]:
        key = _key(empty, kind)
        doc = dict(_rows(empty.data, kind))[key]
        edit(doc)
        _put(empty, kind, key, doc)
        return kind, key

    return spoil


def _deleted(kind: str) -> Callable[[Site], tuple[str, str]]:
    def spoil(empty: Site) -> tuple[str, str]:
        key = _key(empty, kind)
        assert empty.sql("control.db", "DELETE FROM state WHERE kind = ? AND key = ?", (kind, key)) == 1
        return kind, key

    return spoil


_SPOILT: Mapping[str, Callable[[Site], tuple[str, str]]] = {
    "an agent moved to another team": _edited("agent", lambda doc: doc.update(team="tem_other")),
    "an agent deleted": _deleted("agent"),
    "a version edited": _edited("version", lambda doc: doc.update(forged=True)),
    "a version deleted": _deleted("version"),
    "a team edited": _edited("team", lambda doc: doc.update(zones=["Europe/Berlin"])),
    "a server sent elsewhere": _edited("server", lambda doc: doc.update(url="http://127.0.0.1:9/mcp")),
    "a server deleted": _deleted("server"),
    "a pin changed": _edited("tool", lambda doc: doc.update(definition="sha256:" + "1" * 64)),
    "a pin deleted": _deleted("tool"),
    "an issuer's address changed": _edited("issuer", lambda doc: doc.update(url="https://evil.example.com")),
    "an issuer deleted": _deleted("issuer"),
    "a credential's key replaced": _edited("credential", lambda doc: doc["jwk"].update(x="A" * 43)),
    "a credential deleted": _deleted("credential"),
    "an epoch turned back": _edited("epoch", lambda doc: doc.update(epoch=doc["epoch"] - 1)),
    "an epoch deleted": _deleted("epoch"),
    "a release edited": _edited("policy_release", lambda doc: doc.update(files={})),
    "a release deleted": _deleted("policy_release"),
    "who approved a release changed": _edited("policy_publication", lambda doc: doc.update(approved_by=["psn_1"])),
    "who published a release deleted": _deleted("policy_publication"),
    "the release in force changed": _edited("policy_current", lambda doc: doc.update(digest="sha256:" + "2" * 64)),
    "the release in force deleted": _deleted("policy_current"),
}


async def _told(at: Place, tokens: Mapping[str, str]) -> dict[str, bool]:
    """Let every agent call with the token it has; whether it was allowed. A refusal says why, to it or on record."""
    allowed = {}
    for name, (tool, arguments) in _CALLS.items():
        async with asyncio.timeout(10):
            while (told := await at.call(tokens[name], tool, arguments)).why.get("code") == "task_status_stale":
                await asyncio.sleep(0.01)  # a process that just started asks the issuer whether the task is open
        allowed[name] = told.allowed
        if not told.allowed:
            assert told.why["message"]
            assert told.why["hint"]
            assert told.why["code"] in {"state_unproven", "unauthenticated"}, told.json
    await at.settled()
    if not all(allowed.values()):
        assert "state_unproven" in {body.get("code") for _, body in at.records()}
    return allowed


@pytest.mark.requirement("faults:state:changed", "faults:state:doctor", "enforcement:unproven")
@pytest.mark.parametrize("fault", every_third(_SPOILT))
def test_a_row_changed_by_hand_denies_what_rests_on_it_until_doctor_puts_it_right(
    shop: Shop, tmp_path: Path, fault: str
) -> None:
    async def live() -> None:
        empty = shop.copy(tmp_path / "data")
        tokens = shop.tokens
        kind, key = _SPOILT[fault](empty)
        with look_at(empty.data) as offline:
            (named,) = offline.doctor.diagnose().differences
        assert (named.kind, named.key) == (kind, key)
        reached = len(empty.box.calls)
        async with empty.started() as at:
            allowed = await _told(at, tokens)
        assert not all(allowed.values())
        assert len(empty.box.calls) == reached + sum(allowed.values())
        if kind in {"team", "server", "policy_release", "policy_publication", "policy_current"}:
            assert not any(allowed.values()), "both rest on it"
        with look_at(empty.data, repair=True) as offline:
            assert not offline.doctor.repair().sound
        empty.verified()
        async with empty.started() as at:
            assert all((await _told(at, tokens)).values())

    shop.run(live())


@pytest.mark.requirement("faults:state:changed")
def test_a_whole_database_put_back_is_found_as_the_older_state_it_is(shop: Shop, tmp_path: Path) -> None:
    async def live() -> None:
        empty = shop.copy(tmp_path / "data")
        shutil.copy(empty.data / "control.db", tmp_path / "older.db")
        async with empty.started() as at:
            token = await at.token("worker")
            await at.operator.post("agents/worker/revoke", {"reason": "stolen"})
        shutil.copy(tmp_path / "older.db", empty.data / "control.db")
        reached = len(empty.box.calls)
        async with empty.started() as at:
            told = await at.call(token)
            assert told.status == 401
            assert len(empty.box.calls) == reached
            with look_at(empty.data) as offline:
                findings = {(one.kind, str(one.finding)) for one in offline.doctor.diagnose().differences}
            assert ("epoch", "rolled-back") in findings

    shop.run(live())


@pytest.mark.requirement("faults:state:added")
def test_rows_added_by_hand_grant_nothing(shop: Shop, tmp_path: Path) -> None:
    async def live() -> None:
        empty = shop.copy(tmp_path / "data")
        for kind in ("agent", "credential", "server", "tool", "policy_release", "issuer", "api_token"):
            rows = _rows(empty.data, kind)
            assert rows, kind
            _, doc = rows[0]
            _put(empty, kind, f"{rows[0][0]}-forged", doc)
        with closing(sqlite3.connect(empty.data / "control.db")) as database:
            database.execute("INSERT INTO outbox (id, sealed) VALUES ('evt_forged', x'00')")
            database.commit()
        async with empty.started() as at:
            assert (await at.call(await at.token("worker"))).allowed
            assert len((await at.operator.get("agents"))["items"]) == 2
            assert len((await at.operator.get("issuers"))["items"]) == 2
            assert not [one for one in at.records() if one[0]["kind"].startswith("evt_forged")]
        with look_at(empty.data) as offline:
            diagnosis = offline.doctor.diagnose()
        assert {str(one.finding) for one in diagnosis.differences} == {"foreign"}
        assert len(diagnosis.differences) == 7
        assert diagnosis.foreign == ("evt_forged",)
        with look_at(empty.data, repair=True) as offline:
            offline.doctor.repair()
        empty.verified()

    shop.run(live())


_TAMPERED = {
    "a body": "UPDATE records SET body = body || x'20' WHERE seq = 3",
    "a header": "UPDATE records SET header = (SELECT header FROM records WHERE seq = 4) WHERE seq = 3",
    "a record dropped": "DELETE FROM records WHERE seq = 3",
    "the tail dropped": "DELETE FROM records WHERE seq > 3",
    "two swapped": "UPDATE records SET seq = CASE seq WHEN 3 THEN -4 ELSE -3 END WHERE seq IN (3, 4)",
}


@pytest.mark.requirement("faults:log:tampered")
@pytest.mark.parametrize("fault", _TAMPERED)
def test_a_server_does_not_start_on_a_log_that_was_changed(shop: Shop, tmp_path: Path, fault: str) -> None:
    async def live() -> None:
        empty = shop.copy(tmp_path / "data")
        assert empty.sql("audit.db", _TAMPERED[fault])
        empty.sql("audit.db", "UPDATE records SET seq = -seq WHERE seq < 0")
        with pytest.raises(AccreditError) as refused:
            async with empty.started():
                pytest.fail("it started")
        assert refused.value.code.value == "log_invalid"
        assert refused.value.message
        assert refused.value.hint

    shop.run(live())
