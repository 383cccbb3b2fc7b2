"""What callers have begun to send and not finished is bounded for each of them and for all."""

from __future__ import annotations

import asyncio
from collections.abc import MutableMapping
from typing import Any

import pytest

from accredit.gateway.jsonrpc import RpcError
from accredit.gateway.uploads import Uploads

_MIB = 2**20
_PIECE = bytes(_MIB)


class _Sending:
    """A body that comes in pieces, each when it is let."""

    def __init__(self, uploads: Uploads, sender: str, pieces: int) -> None:
        self.left = pieces
        self.ends = asyncio.Event()
        self.leaves = False
        self.reading = asyncio.create_task(uploads.read(self._receive, {}, sender=sender))

    async def _receive(self) -> MutableMapping[str, Any]:
        if self.left:
            self.left -= 1
            return {"type": "http.request", "body": _PIECE, "more_body": True}
        await self.ends.wait()
        return {"type": "http.disconnect"} if self.leaves else {"type": "http.request", "body": b"}"}

    async def stalled(self) -> None:
        """Wait until all but the end was taken, or it was refused."""
        while self.left and not self.reading.done():
            await asyncio.sleep(0)
        await asyncio.sleep(0)

    async def end(self) -> int:
        """Let it end; how much was read."""
        self.ends.set()
        return len(await self.reading or b"")


async def _refused(sending: _Sending) -> None:
    with pytest.raises(RpcError) as refused:
        await sending.reading
    assert (refused.value.status, refused.value.code.value) == (429, "concurrency_limited")
    assert (b"retry-after", b"1") in refused.value.headers


@pytest.mark.requirement("gateway:body:bounded")
def test_one_caller_holds_so_much_in_unfinished_bodies_and_takes_nothing_from_others() -> None:
    async def play() -> None:
        uploads = Uploads(max_bytes=16 * _MIB, timeout_s=20)
        held = [_Sending(uploads, "slow", 16) for _ in range(4)]
        for each in held:
            await each.stalled()
            assert not each.reading.done()
        await _refused(_Sending(uploads, "slow", 1))
        assert await _Sending(uploads, "slow", 0).end() == 1  # what comes whole is held by nobody
        other = _Sending(uploads, "other", 15)
        await other.stalled()
        assert await other.end() == 15 * _MIB + 1
        for each in held:
            each.leaves = True
            assert await each.end() == 0
        again = _Sending(uploads, "slow", 15)
        await again.stalled()
        assert await again.end() == 15 * _MIB + 1

    asyncio.run(play())


@pytest.mark.requirement("gateway:body:bounded")
def test_all_callers_together_hold_so_much_and_all_of_it_is_given_back() -> None:
    async def play() -> None:
        uploads = Uploads(max_bytes=4 * _MIB, timeout_s=20)
        held = [_Sending(uploads, f"agent-{number // 8}", 4) for number in range(64)]
        for each in held:
            await each.stalled()
        await _refused(_Sending(uploads, "late", 1))
        for each in held:
            each.leaves = True
            assert await each.end() == 0
        late = _Sending(uploads, "late", 3)
        await late.stalled()
        assert await late.end() == 3 * _MIB + 1

    asyncio.run(play())
