"""Who shares an address with an attacker, as everybody does behind one proxy, still gets in."""

from __future__ import annotations

import asyncio
from pathlib import Path

import httpx2
import pytest

from accredit.demo.world import world
from accredit.kernel.clock import ScriptedClock
from accredit.settings import Settings

_MONDAY_TEN = 1_795_424_400_000_000


@pytest.mark.requirement("security:attempts:apart")
def test_junk_at_the_gateway_keeps_nobody_from_a_new_token(tmp_path: Path) -> None:
    async def play() -> None:
        async with asyncio.timeout(30), world(tmp_path / "data", ScriptedClock(_MONDAY_TEN)) as place:
            await place.sign_in()
            await place.register()
            await place.enrol("support-copilot")
            headers = {"authorization": "Bearer junk"}
            async with httpx2.AsyncClient(base_url=place.url, trust_env=False, headers=headers) as attacker:
                for _ in range(Settings().attempts_per_source + 1):
                    assert (await attacker.post("/mcp/crm", content=b"{}")).status_code == 401
            assert await place.agents["support-copilot"].token()

    asyncio.run(play())
