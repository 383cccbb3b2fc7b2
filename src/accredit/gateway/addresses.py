"""Which Host and Origin may speak to this port: without this a web page could reach a loopback server by DNS."""

from __future__ import annotations

from collections.abc import Iterable
from urllib.parse import urlsplit

from accredit.kernel.codes import Code
from accredit.kernel.errors import ForbiddenError

__all__ = ["HostAllowList"]

_LOOPBACK = ("127.0.0.1", "localhost", "[::1]")
_REMEMBERED = 1024
_MAX_NETLOC = 300  # a DNS name has at most 253 characters


class HostAllowList:
    """The public URL's host, loopback, and what the operator added: `name` (any port) or `name:port`."""

    def __init__(self, public_url: str, allowed: Iterable[str] = ()) -> None:
        public = urlsplit(public_url)
        self._allowed = {public.netloc.lower(), *_LOOPBACK, *(entry.lower() for entry in allowed)}
        self._known: dict[str, bool] = {}

    def _accepts(self, netloc: str) -> bool:
        if (known := self._known.get(netloc)) is not None:
            return known
        if len(netloc) > _MAX_NETLOC:
            return False
        lower = netloc.lower()
        name, colon, port = lower.rpartition(":")
        if not colon or lower.endswith("]"):  # no port; the colons of a bare IPv6 literal are inside brackets
            name, port = lower, "0"
        accepted = port.isascii() and port.isdigit() and (lower in self._allowed or name in self._allowed)
        if len(self._known) < _REMEMBERED:
            self._known[netloc] = accepted
        return accepted

    def check(self, host: str | None, origin: str | None) -> None:
        """Accept a request by its Host and, if a browser sent one, its Origin.

        Raises:
            ForbiddenError: `origin_refused`.
        """
        if host is None or not self._accepts(host):
            raise ForbiddenError(Code.ORIGIN_REFUSED, f"the Host `{(host or '')[:80]}` is not on the allow-list")
        if origin is None:
            return
        scheme, separator, netloc = origin.partition("://")
        if not separator or scheme not in {"http", "https"} or not self._accepts(netloc):
            raise ForbiddenError(Code.ORIGIN_REFUSED, f"the Origin `{origin[:80]}` is not on the allow-list")
