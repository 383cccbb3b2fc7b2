"""Which addresses a token is good for: one URL under the public URL, and what lies below it segment by segment.

Addresses are compared as texts, so only texts with one reading are accepted: no dot segments, no empty segments, no
percent-encoding, no query.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Final
from urllib.parse import urlsplit

from accredit.kernel.codes import Code
from accredit.kernel.errors import InvalidInputError

__all__ = ["audience_path", "covers", "origin_of", "public_origin", "requested_audience"]

_PATH = re.compile(r"(?:/(?!\.{1,2}(?:/|$))[A-Za-z0-9._~-]{1,128}){0,8}")
# what a call comes in at may hold other characters, but nothing that reads as another path once decoded
_USED = re.compile(r"(?:/(?!\.{1,2}(?:/|$))(?:[^/\\%\x00-\x20]|%(?!2[eEfF5]|5[cC]|[01])[0-9A-Fa-f]{2})+)*")
_LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})
_MAX_URL: Final = 2048
_PORTS = {"http": 80, "https": 443}


@lru_cache(maxsize=1024)
def origin_of(url: str) -> tuple[str, str, int]:
    """Scheme, host and port of a URL, in one spelling.

    Raises:
        InvalidInputError: it is no http or https URL, or one with user information.
    """
    try:
        parts = urlsplit(url)
        scheme, host, port = parts.scheme, parts.hostname, parts.port
    except ValueError as error:
        raise InvalidInputError(
            Code.SETTING_INVALID, f"`{url[:80]}` is not a URL", hint="write `https://host/path`", cause=repr(error)
        ) from error
    if (
        len(url) > _MAX_URL
        or scheme not in _PORTS
        or not host
        or parts.username is not None
        or not url.isascii()
        or not url.isprintable()
    ):
        raise InvalidInputError(
            Code.SETTING_INVALID, f"`{url[:80]}` is not an http or https URL", hint="write `https://host/path`"
        )
    return scheme, host.lower(), port or _PORTS[scheme]


def public_origin(url: str) -> tuple[str, str, int]:
    """The origin of a URL that secrets travel to: https, or http on loopback.

    Raises:
        InvalidInputError: it is neither.
    """
    origin = origin_of(url)
    if origin[0] != "https" and origin[1] not in _LOOPBACK:
        raise InvalidInputError(
            Code.SETTING_INVALID, f"`{url[:80]}` would carry secrets over plain http", hint="use https"
        )
    return origin


def audience_path(audience: str, public_url: str) -> str | None:
    """The path of an audience below the public URL (empty for all of it); None if it is not below it."""
    if not audience.startswith(public_url):
        return None
    path = audience[len(public_url) :]
    return path if _PATH.fullmatch(path) else None


def covers(audience: str, path: str) -> bool:
    """Whether a token for one path is good at another: the same or below it, on a segment boundary."""
    if path == audience:
        return True
    return path.startswith(audience + "/") and _USED.fullmatch(path.removesuffix("/")) is not None


def requested_audience(resource: str | None, public_url: str) -> str:
    """The audience for a requested resource (RFC 8707 §2): exactly that URL, if it lies under the public URL.

    Raises:
        InvalidInputError: `token_audience`: no resource, or one elsewhere.
    """
    if not resource:
        raise InvalidInputError(
            Code.TOKEN_AUDIENCE, "no `resource` was requested", hint=f"request one URL under {public_url}"
        )
    audience = resource.removesuffix("/")
    if audience_path(audience, public_url) is None:
        raise InvalidInputError(
            Code.TOKEN_AUDIENCE,
            f"`{resource[:120]}` is not a resource here",
            hint=f"request one URL under {public_url}",
        )
    return audience
