"""A row counts only if the newest record of its key carries its digest."""

from __future__ import annotations

import asyncio
import sqlite3
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from accredit.audit.ports import StateRow
from accredit.audit.records import body_of
from accredit.audit.state import prove, read_heads, row_digest
from accredit.kernel.canonical import canonical
from accredit.kernel.codes import Code
from accredit.kernel.errors import UnavailableError
from tests.state.installation import Installation, always, change

_KEYS = st.sampled_from(["a", "b", "c", "d"])
_DOCS = st.fixed_dictionaries({"n": st.integers(0, 3)})
_CHANGES = st.lists(
    st.dictionaries(st.tuples(st.sampled_from(["thing", "other"]), _KEYS), st.none() | _DOCS, min_size=1, max_size=3),
    min_size=1,
    max_size=8,
)
_TAMPERINGS = st.lists(
    st.tuples(
        st.sampled_from(["edit", "respell", "roll back", "delete", "resurrect", "insert", "swap", "digest", "origin"]),
        st.integers(0, 99),
    ),
    max_size=3,
)
_Rows = dict[tuple[str, str], StateRow]


def _read(path: Path) -> _Rows:
    beside = sqlite3.connect(path)
    rows = {(row[0], row[1]): StateRow(*row) for row in beside.execute("SELECT * FROM state")}
    beside.close()
    return rows


def _write(path: Path, rows: _Rows) -> None:
    beside = sqlite3.connect(path)
    with beside:
        beside.execute("DELETE FROM state")
        beside.executemany(
            "INSERT INTO state VALUES (?, ?, ?, ?, ?)",
            [(row.kind, row.key, row.doc, row.digest, row.outbox_id) for row in rows.values()],
        )
    beside.close()


def _sealed_by(row: StateRow, doc: bytes) -> StateRow:
    """The row with another doc and the digest that belongs to it."""
    return replace(row, doc=doc, digest=row_digest(row.kind, row.key, doc))


def _tamper(rows: _Rows, older: list[_Rows], how: str, draw: int) -> None:
    past = older[draw % len(older)]
    where = sorted(rows)[draw % len(rows)] if rows else None
    if how == "resurrect":
        gone = sorted(past.keys() - rows.keys())
        if gone:
            rows[gone[draw % len(gone)]] = past[gone[draw % len(gone)]]
    elif how == "insert":
        row = StateRow("thing", f"new{draw}", b"", "", "evt_none")
        rows["thing", row.key] = _sealed_by(row, b"{}")
    elif where is None:
        return
    elif how == "edit":
        rows[where] = _sealed_by(rows[where], canonical({"n": 100 + draw}))
    elif how == "respell":
        rows[where] = replace(rows[where], doc=rows[where].doc + b" ")
    elif how == "roll back" and where in past:
        rows[where] = past[where]
    elif how == "delete":
        del rows[where]
    elif how == "swap":  # another key's row, digest and all
        other = sorted(rows)[(draw + 1) % len(rows)]
        rows[where], rows[other] = (
            replace(rows[other], kind=where[0], key=where[1]),
            replace(rows[where], kind=other[0], key=other[1]),
        )
    elif how == "digest":
        rows[where] = replace(rows[where], digest="sha256:" + "0" * 64)
    elif how == "origin":
        rows[where] = replace(rows[where], outbox_id="evt_forged")


@pytest.mark.requirement("state:proof:exactly-the-tampered")
@settings(max_examples=40)
@given(_CHANGES, _TAMPERINGS)
def test_exactly_the_rows_that_were_tampered_with_are_unproven(
    changes: list[dict[tuple[str, str], dict[str, int] | None]], tamperings: list[tuple[str, int]]
) -> None:
    async def scenario(home: Installation) -> None:
        history: list[_Rows] = []
        async with home.running() as service:
            for writes in changes:
                made = change(*((kind, key, doc) for (kind, key), doc in writes.items()))
                await service.transact(always(made))
                history.append(_read(home.database))
        honest = _read(home.database)
        rows = dict(honest)
        for how, draw in tamperings:
            _tamper(rows, history, how, draw)
        _write(home.database, rows)
        tampered = {where for where in honest.keys() | rows.keys() if honest.get(where) != rows.get(where)}
        async with home.running() as service:
            assert service.unproven == tampered
            seen = {(row.kind, row.key): row.doc for kind in ("thing", "other") for row in service.view.scan(kind)}
            assert seen == {where: orjson.loads(row.doc) for where, row in honest.items() if where not in tampered}

    with TemporaryDirectory() as path:
        asyncio.run(scenario(Installation(Path(path))))


@settings(max_examples=60)
@given(
    st.dictionaries(st.tuples(st.sampled_from("xy"), _KEYS), _DOCS, max_size=5),
    st.tuples(st.sampled_from("xy"), _KEYS),
    st.tuples(st.sampled_from("xy"), _KEYS),
)
def test_no_row_can_stand_in_for_another(docs: Any, here: tuple[str, str], there: tuple[str, str]) -> None:
    texts = {where: canonical(doc) for where, doc in docs.items()}
    if here not in texts or here == there:
        return
    assert row_digest(*here, texts[here]) != row_digest(*there, texts[here])


def test_without_a_single_record_every_row_is_unproven() -> None:
    row = StateRow("thing", "a", b"{}", row_digest("thing", "a", b"{}"), "evt_1")
    assert prove([row], {}).unproven == {("thing", "a")}


def test_a_file_with_other_types_in_its_columns_is_read_and_found_out(tmp_path: Path) -> None:
    home = Installation(tmp_path)

    async def scenario() -> None:
        async with home.running() as service:
            await service.transact(lambda _: change(("thing", "a", {"n": 1}), ("thing", "b", {"n": 2})))
        beside = sqlite3.connect(home.database)
        with beside:
            beside.execute("UPDATE state SET doc = 7, digest = x'ff' WHERE key = 'a'")
            beside.execute("INSERT INTO state VALUES (1, CAST(x'ff' AS TEXT), 'text', 3.5, x'00')")
        beside.close()
        async with home.running() as service:
            assert {key for _, key in service.unproven} == {"a", "\ufffd"}
            assert home.docs(service) == {"b": {"n": 2}}

    asyncio.run(scenario())


@pytest.mark.requirement("state:proof:records-checked")
@pytest.mark.parametrize("how", ["body", "dropped", "hidden", "swapped"])
def test_control_records_that_contradict_themselves_stop_the_start(tmp_path: Path, how: str) -> None:
    home = Installation(tmp_path)
    kept = home.journal.kept

    async def scenario() -> None:
        async with home.running() as service:
            for n in range(3):
                await service.transact(always(change(("thing", "a", {"n": n}))))
        if how == "body":
            body = body_of(kept[2])
            body["changes"][0][2] = "sha256:" + "0" * 64
            kept[2] = replace(kept[2], body=canonical(body))
        elif how == "dropped":
            del kept[1]
        elif how == "hidden":
            kept[1] = replace(kept[1], outbox_id=None)
        else:
            kept[1], kept[2] = kept[2], kept[1]
        with pytest.raises(UnavailableError) as refused:
            read_heads(home.journal.control_records())
        assert refused.value.code is Code.LOG_INVALID
        with pytest.raises(UnavailableError):
            async with home.running():
                pass

    asyncio.run(scenario())
