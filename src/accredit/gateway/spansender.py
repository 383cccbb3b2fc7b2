"""Sends spans of calls to a collector (OTLP/HTTP, protobuf), beside calls: nothing waits for it.

What is not sent yet stands in a bounded queue; what does not fit is dropped and counted, and so is what the collector
did not take. A batch is tried again only after 429, 502, 503 and 504 (OTLP/HTTP §"Retryable Response Codes"), a few
times, while the queue fills. No redirects, no proxies from the environment.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from contextlib import suppress
from itertools import islice
from typing import Any, Final

from accredit import __version__
from accredit.enforcement.tracing import CallSpan, FinishedCall
from accredit.gateway.otlp.writing import export_request
from accredit.kernel.ids import IdSource
from accredit.kernel.tls import machine_trust

__all__ = ["SpanSender"]

_log = logging.getLogger("accredit.gateway")

_BATCH: Final = 256
_EVERY_S: Final = 1.0
_TIMEOUT_S: Final = 5.0
_LAST_S: Final = 2.0
_TRIES: Final = 3
_RETRYABLE: Final = frozenset({429, 502, 503, 504})
_MOST_WAIT_S: Final = 30.0


class SpanSender:
    """Traces calls, and delivers their spans. Used from one event loop."""

    def __init__(self, endpoint: str, ids: IdSource, *, queue: int, every_s: float = _EVERY_S) -> None:
        self._endpoint = endpoint
        self._ids = ids
        self._queue: deque[FinishedCall] = deque()
        self._most = queue
        self._every_s = every_s
        self._client: Any = None
        self._failing = False
        self.sent = 0
        self.dropped = 0

    # -- on the path of calls

    def began(self, caller: tuple[bytes, bytes] | None) -> CallSpan:
        """The span of a call: in its caller's trace, or one that begins a trace."""
        if caller is None:
            fresh = self._ids.secret(24)
            return CallSpan(fresh[:16], fresh[16:], b"")
        return CallSpan(caller[0], self._ids.secret(8), caller[1])

    def finished(self, call: FinishedCall) -> None:
        """Take a call that is over, if there is room."""
        if len(self._queue) >= self._most:
            self.dropped += 1
        else:
            self._queue.append(call)

    # -- beside it

    @property
    def counts(self) -> tuple[int, int]:
        """Calls whose spans were sent, and dropped."""
        return self.sent, self.dropped

    async def run(self) -> None:
        """Send what there is, now and then, until cancelled."""
        while True:
            await asyncio.sleep(self._every_s)
            while self._queue:
                await self._send()

    async def aclose(self) -> None:
        """Send what is left, for a moment, and let go of the connection."""
        with suppress(TimeoutError):
            async with asyncio.timeout(_LAST_S):
                while self._queue:
                    await self._send()
        self.dropped += len(self._queue)
        self._queue.clear()
        if self._client is not None:
            await self._client.aclose()

    async def _send(self) -> None:
        calls = list(islice(self._queue, _BATCH))
        taken = False
        try:
            taken = await self._delivered(export_request(calls, version=__version__))
        except Exception:  # noqa: BLE001 - a boundary: telemetry that fails must not end the task, let alone a call
            _log.exception("spans could not be sent")
        for _ in calls:
            self._queue.popleft()
        if taken:
            self.sent += len(calls)
        else:
            self.dropped += len(calls)
        if taken == self._failing:  # once for each change, not once for each batch
            self._failing = not taken
            _log.warning("spans are %s", "sent again" if taken else "not taken by the collector")

    async def _delivered(self, body: bytes) -> bool:
        import httpx2  # noqa: PLC0415 - only who sets an endpoint pays for it

        if self._client is None:
            self._client = httpx2.AsyncClient(
                follow_redirects=False, timeout=_TIMEOUT_S, trust_env=False, verify=machine_trust()
            )
        headers = {"content-type": "application/x-protobuf"}
        for number in range(_TRIES):
            wait_s = self._every_s * 2**number
            try:
                async with self._client.stream("POST", self._endpoint, content=body, headers=headers) as answer:
                    if answer.status_code == 200:
                        return True
                    if answer.status_code not in _RETRYABLE:
                        return False
                    after = answer.headers.get("retry-after", "")
                    wait_s = float(after) if after.isascii() and after.isdigit() else wait_s
            except (httpx2.HTTPError, httpx2.InvalidURL, httpx2.StreamError):
                pass
            await asyncio.sleep(min(wait_s, _MOST_WAIT_S))
        return False
