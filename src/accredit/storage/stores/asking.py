"""Asks a store that is spoken to over HTTP: bounded, never redirected, and with its credential sent nowhere else."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import httpx2
import orjson

from accredit.kernel.codes import Code
from accredit.kernel.errors import UnavailableError
from accredit.kernel.tls import machine_trust

__all__ = ["HttpAsking"]

_MOST_BYTES: Final = 64 * 2**20
_TIMEOUT_S: Final = 30.0


class HttpAsking:
    """One store's base URL with its credential."""

    def __init__(self, base: str, headers: Mapping[str, str]) -> None:
        self._base = base.rstrip("/")
        self._client = httpx2.Client(
            headers=dict(headers), timeout=_TIMEOUT_S, follow_redirects=False, trust_env=False, verify=machine_trust()
        )

    def ask(
        self,
        method: str,
        path: str,
        *,
        body: Any = None,
        query: Mapping[str, str] | None = None,
        absent: frozenset[int] = frozenset(),
    ) -> Any | None:
        """The JSON of the answer; None if its status says that the thing is not there (`absent`).

        Raises:
            UnavailableError: it cannot be reached, refuses, answers too much or no JSON.
        """
        content = None if body is None else orjson.dumps(body)
        kind = {} if body is None else {"content-type": "application/json"}
        try:
            with self._client.stream(
                method, f"{self._base}{path}", params=query, content=content, headers=kind
            ) as answer:
                data = b""
                for chunk in answer.iter_bytes():
                    data += chunk
                    if len(data) > _MOST_BYTES:
                        raise UnavailableError(Code.STORE_UNTRUSTED, "the store's answer is larger than any page")
                status = answer.status_code
        except httpx2.HTTPError as error:
            message = f"the store cannot be reached: {type(error).__name__}"
            raise UnavailableError(Code.STORE_UNREACHABLE, message) from error
        if status in absent:
            return None
        if not 200 <= status < 300:
            raise UnavailableError(Code.STORE_UNREACHABLE, f"the store answers {status}")
        if not data:
            return {}
        try:
            return orjson.loads(data)
        except orjson.JSONDecodeError as error:
            raise UnavailableError(Code.STORE_UNREACHABLE, "the store's answer is no JSON") from error

    def close(self) -> None:
        self._client.close()
