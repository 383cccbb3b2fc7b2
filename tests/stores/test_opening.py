"""Which paths of this machine are opened as stores: those below directories set aside for it, wherever names lead."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from accredit.kernel.errors import UnavailableError
from accredit.registry.model import Store
from accredit.storage.stores.opening import OpenedStores
from tests.stores.kinds import store

pytestmark = pytest.mark.requirement("stores:opened:where")


async def _no_headers(_: Store) -> Mapping[str, str]:
    return {}


def _open(tmp_path: Path, location: Path) -> None:
    opened = OpenedStores([tmp_path / "stores"], apart_from=tmp_path / "data", headers=_no_headers)
    asyncio.run(opened.open(replace(store("sqlite", location), location=str(location)))).close()


@pytest.fixture
def places(tmp_path: Path) -> Path:
    for name in ("stores", "data", "elsewhere"):
        (tmp_path / name).mkdir()
        with sqlite3.connect(tmp_path / name / "kept.db") as database:
            database.execute("CREATE TABLE notes (id TEXT, text TEXT)")
        database.close()
    return tmp_path


def test_a_store_below_the_directory_is_opened_also_by_a_link_that_stays_there(places: Path) -> None:
    (places / "stores/again.db").symlink_to(places / "stores/kept.db")
    _open(places, places / "stores/kept.db")
    _open(places, places / "stores/again.db")


@pytest.mark.parametrize("where", ["elsewhere/kept.db", "data/kept.db"])
def test_no_name_leads_out_of_it(places: Path, where: str) -> None:
    (places / "stores/link.db").symlink_to(places / where)
    (places / "stores/folder").symlink_to((places / where).parent)
    for location in (where, "stores/link.db", "stores/folder/kept.db", f"stores/../{where}"):
        with pytest.raises(UnavailableError, match="in no directory that is set aside"):
            _open(places, places / location)
