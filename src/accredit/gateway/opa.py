"""An Open Policy Agent beside us, asked over its data API: it may refuse what our own policies let through.

The document at the registered address is a set of messages (`deny`): an empty one agrees, any message refuses. Whatever
else comes back, or nothing in time, refuses too. What it answered is recorded with the decision, so that history can be
judged again without it. Written to the API's documentation; not run against a real server here.
"""

from __future__ import annotations

import asyncio
from typing import Any, Final

import orjson

from accredit.kernel.tls import machine_trust
from accredit.policy.ports import VetoAnswer

__all__ = ["OpaServer"]

_MAX_ANSWER: Final = 65_536
_NAME: Final = ("opa",)


class OpaServer:
    """Asks one data document. No redirects, no proxies from the environment, bounded in size and time."""

    def __init__(self, url: str, *, timeout_s: float) -> None:
        self._url = url
        self._timeout_s = timeout_s
        self._client: Any = None

    async def ask(self, document: bytes) -> VetoAnswer:
        """What it says of one call, given as a JSON document. A failure is a refusal with a fault, never an error."""
        import httpx2  # noqa: PLC0415 - only who sets an address pays for it

        if self._client is None:
            self._client = httpx2.AsyncClient(
                follow_redirects=False, timeout=self._timeout_s, trust_env=False, verify=machine_trust()
            )
        headers = {"content-type": "application/json", "accept": "application/json", "accept-encoding": "identity"}
        try:
            # the client's own times are of each wait, and an answer can come byte by byte
            async with (
                asyncio.timeout(self._timeout_s),
                self._client.stream("POST", self._url, content=b'{"input":%b}' % document, headers=headers) as answer,
            ):
                if answer.status_code != 200:
                    return VetoAnswer(_NAME, f"status {answer.status_code}")
                body = b""
                async for piece in answer.aiter_raw():
                    body += piece
                    if len(body) > _MAX_ANSWER:
                        return VetoAnswer(_NAME, "an answer of more than 64 KiB")
            return _read(body)
        except TimeoutError:
            return VetoAnswer(_NAME, "no answer in time")
        except (httpx2.HTTPError, httpx2.InvalidURL, httpx2.StreamError) as error:
            return VetoAnswer(_NAME, type(error).__name__)

    async def aclose(self) -> None:
        """Close the connections."""
        if self._client is not None:
            await self._client.aclose()
            self._client = None


def _read(body: bytes) -> VetoAnswer:
    try:
        found = orjson.loads(body)
    except ValueError:
        return VetoAnswer(_NAME, "no JSON")
    result = found.get("result") if isinstance(found, dict) else None
    if not isinstance(result, list) or not all(isinstance(one, str) for one in result):
        return VetoAnswer(_NAME, "undefined, or no set of texts")
    return VetoAnswer(_NAME if result else ())
