"""Asking a context provider over HTTP: one small answer, from exactly the address an operator registered."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

from accredit.kernel.codes import Code
from accredit.kernel.errors import UnavailableError
from accredit.kernel.tls import machine_trust

__all__ = ["HttpFactFetch"]


class HttpFactFetch:
    """A `FactFetch` over httpx2: no redirects, no proxies from the environment, bounded in size; callers bound time.

    Whom a question is about stands in its body: addresses end up in logs.
    """

    def __init__(self) -> None:
        self._client: Any = None

    async def ready(self) -> None:
        if self._client is None:
            client = await asyncio.to_thread(_client)
            if self._client is None:  # somebody else was as early
                self._client = client

    async def __call__(self, url: str, body: bytes, headers: Mapping[str, str], *, max_bytes: int) -> bytes:
        import httpx2  # noqa: PLC0415 - loaded by `ready`

        await self.ready()
        given = {
            **headers,
            "accept": "application/json",
            "accept-encoding": "identity",
            "content-type": "application/json",
        }
        try:
            async with self._client.stream("POST", url, content=body, headers=given) as answer:
                if answer.status_code != 200:
                    raise _unknown(f"status {answer.status_code}")
                if answer.headers.get("content-encoding", "identity").lower() != "identity":
                    raise _unknown("an encoded answer")  # a small one could unpack to anything
                found = b""
                async for piece in answer.aiter_raw():
                    found += piece
                    if len(found) > max_bytes:
                        raise _unknown("an answer larger than registered")
                return found
        except (httpx2.HTTPError, httpx2.InvalidURL) as error:
            raise _unknown(type(error).__name__) from error

    async def aclose(self) -> None:
        """Close the connections."""
        if self._client is not None:
            await self._client.aclose()
            self._client = None


def _client() -> Any:
    import httpx2  # noqa: PLC0415 - 90 ms that a start without providers does not pay

    return httpx2.AsyncClient(follow_redirects=False, trust_env=False, verify=machine_trust())


def _unknown(cause: str) -> UnavailableError:
    return UnavailableError(Code.PROVIDER_UNAVAILABLE, "the context provider gave no answer", cause=cause)
