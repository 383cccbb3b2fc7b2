"""What an installation leaves on disk and in its logs while agents work."""

from __future__ import annotations

import asyncio
import logging
import os
import stat
from pathlib import Path

import pytest

from accredit.demo.world import World, world
from accredit.kernel.clock import ScriptedClock

_MONDAY_TEN = 1_795_424_400_000_000


async def _lived(data: Path) -> tuple[list[str], dict[str, int]]:
    """Secrets in use, and every file's mode, while one allowed and one held and denied call are on record."""
    async with asyncio.timeout(30), world(data, ScriptedClock(_MONDAY_TEN)) as place:
        signed_in = await place.sign_in()
        await place.register()
        joins = [await place.enrol(name) for name in ("support-copilot", "refund-desk")]
        token = await _call(place)
        await place.running.plane.enforcer.drained()
        await place.running.plane.log.checkpoint()
        secrets = [
            place.crm.credential,
            token,
            token.rpartition(".")[2],
            str(signed_in["token"]),
            str(place.running.first_link),
            *joins,
            "c-17",
            "o-secret-order",
            "ada@customers.example",
        ]
        # only looked at: who opens and closes a database's file here would let go of its locks
        modes = {entry.name: stat.S_IMODE(entry.stat().st_mode) for entry in os.scandir(data) if _lasts(entry.name)}
        return secrets, modes


def _lasts(name: str) -> bool:
    return not name.endswith(".new")


async def _call(place: World) -> str:
    copilot, desk = place.agents["support-copilot"], place.agents["refund-desk"]
    token = await copilot.token(user="kim@example.com", roles=("customer-support",), ticket="T-1")
    read = await copilot.call("read_customer", {"customer_id": "c-17"}, token=token)
    assert "ada@customers.example" in str(read.content)
    held = await desk.call("refund_order", {"order_id": "o-secret-order", "cents": 1}, token=await desk.token())
    told = held.structured_content or {}
    assert told["code"] == "held"
    # until it is answered the control state keeps what the approver is shown; not a moment longer
    await place.operator.answer_hold(str(told["hold"]), "deny")
    return token


@pytest.mark.requirement("security:files:private")
def test_what_is_written_is_the_owners_alone_and_holds_no_secret_or_argument_in_clear(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    before = os.umask(0)
    try:
        with caplog.at_level(logging.DEBUG, logger="accredit"):
            secrets, modes = asyncio.run(_lived(tmp_path / "data"))
    finally:
        os.umask(before)
    assert {name for name in modes if name.startswith(("audit.db", "control.db"))} >= {
        "audit.db",
        "audit.db-wal",
        "control.db",
    }
    assert {name: oct(mode) for name, mode in modes.items() if mode & 0o077} == {}
    contents = {path.name: path.read_bytes() for path in (tmp_path / "data").iterdir()}
    found = [
        (name, secret[:6]) for name, content in contents.items() for secret in secrets if secret.encode() in content
    ]
    assert found == []
    logged = "\n".join(record.getMessage() for record in caplog.records if record.name.startswith("accredit"))
    assert [secret[:6] for secret in secrets if secret in logged] == []
