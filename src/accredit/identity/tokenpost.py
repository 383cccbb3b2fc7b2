"""Asking an authorization server for tokens: one bounded form, to exactly the address an operator registered."""

from __future__ import annotations

import asyncio
from typing import Any, Final

from accredit.identity.upstreams import TokenForm
from accredit.kernel.codes import Code
from accredit.kernel.errors import UnavailableError
from accredit.kernel.tls import machine_trust

__all__ = ["HttpTokenPost"]

_MAX_ANSWER: Final = 64 * 1024
_TIMEOUT_S: Final = 10.0
"""For all of it: a server that answers byte by byte is cut off as well."""


class HttpTokenPost:
    """A `TokenPost` over httpx2: no redirects, no cookies kept, no proxies from the environment."""

    def __init__(self) -> None:
        self._client: Any = None

    async def __call__(self, form: TokenForm) -> tuple[int, bytes]:
        import httpx2  # noqa: PLC0415 - 90 ms that a start without such credentials does not pay

        if self._client is None:
            self._client = httpx2.AsyncClient(
                follow_redirects=False, timeout=_TIMEOUT_S, trust_env=False, verify=machine_trust()
            )
        headers = {"Accept": "application/json", "Accept-Encoding": "identity", **form.headers}
        try:
            async with asyncio.timeout(_TIMEOUT_S):
                async with self._client.stream("POST", form.url, data=dict(form.fields), headers=headers) as answer:
                    if answer.is_redirect:
                        raise _failed("a redirect")
                    if answer.headers.get("content-encoding", "identity").lower() != "identity":
                        raise _failed("an answer compressed without being asked")
                    body = bytearray()
                    async for piece in answer.aiter_raw():
                        body += piece
                        if len(body) > _MAX_ANSWER:
                            raise _failed("an answer of more than 64 KiB")
                    return answer.status_code, bytes(body)
        except TimeoutError as error:
            raise _failed(f"no answer within {_TIMEOUT_S:g} s") from error
        except (httpx2.HTTPError, httpx2.InvalidURL) as error:
            # its own words can quote what the server said, and that what it was sent
            raise _failed(type(error).__name__) from error
        finally:
            if self._client is not None:
                self._client.cookies.clear()

    async def aclose(self) -> None:
        """Close the connections."""
        if self._client is not None:
            client, self._client = self._client, None
            await client.aclose()


def _failed(cause: str) -> UnavailableError:
    return UnavailableError(Code.UPSTREAM_TOKEN, Code.UPSTREAM_TOKEN.meaning, cause=cause)
