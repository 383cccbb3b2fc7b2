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


@pytest.mark.requirement("security:attempts:apart")
def test_junk_at_one_door_shuts_that_one_alone(tmp_path: Path) -> None:
    async def play() -> None:
        async with asyncio.timeout(60), world(tmp_path / "data", ScriptedClock(_MONDAY_TEN)) as place:
            await place.sign_in()
            await place.register()
            await place.enrol("support-copilot")
            async with httpx2.AsyncClient(base_url=place.url, trust_env=False) as attacker:
                for _ in range(Settings().attempts_per_source + 1):
                    junk = await attacker.post("/api/v1/login", json={"link": "accl_junk"})
                assert junk.status_code == 429
                assert int(junk.headers["retry-after"]) >= 1
                assert junk.json()["code"] == "attempts_limited"
            assert await place.agents["support-copilot"].token()
            await place.enrol("refund-desk")

    asyncio.run(play())


@pytest.mark.requirement("security:body:timely")
@pytest.mark.parametrize("path", ["/enrol", "/oauth/token"])
def test_a_body_that_does_not_arrive_in_time_is_given_up(
    tmp_path: Path, path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("accredit.api.outer_body._UPLOAD_S", 0.05)

    async def play() -> bytes:
        async with asyncio.timeout(30), world(tmp_path / "data", ScriptedClock(_MONDAY_TEN)) as place:
            host, port = place.url.removeprefix("http://").split(":")
            reader, writer = await asyncio.open_connection(host, int(port))
            kind = "application/x-www-form-urlencoded" if "token" in path else "application/json"
            head = f"POST {path} HTTP/1.1\r\nHost: {host}:{port}\r\nContent-Type: {kind}\r\nContent-Length: 100\r\n\r\n"
            writer.write(head.encode() + b"a")
            answer = await reader.read(65536)
            writer.close()
            await writer.wait_closed()
            return answer

    answer = asyncio.run(play())
    assert answer.startswith(b"HTTP/1.1 4")
    assert b"did not arrive" in answer or b"invalid_request" in answer
