"""Upstream credentials: sealed at rest, sent only to the origin they were stored for, shown to nobody.

There is no way to read one back: not in the API, not in an event, not in a repr. What comes back from the tool server
is scrubbed of it (`without_credential`), since servers echo headers in their errors.
"""

from __future__ import annotations

import json
import re
from base64 import b64decode, b64encode
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final
from urllib.parse import quote

from accredit.audit.model import Facts
from accredit.audit.ports import Actor, Change, ControlLog, StateView, Write
from accredit.identity import rows
from accredit.identity.audience import origin_of, public_origin
from accredit.kernel.canonical import canonical
from accredit.kernel.codes import Code
from accredit.kernel.errors import AccreditError, InvalidInputError, NotFoundError, UnavailableError
from accredit.kernel.ids import check_name
from accredit.kernel.sealing import Sealer
from accredit.registry.model import ToolServer

__all__ = ["BrokeredCredential", "SealedBroker", "without_credential"]

_HEADER = re.compile(r"[A-Za-z][A-Za-z0-9-]{0,62}")
_STARTED = re.compile(r"stdio:[a-z][a-z0-9-]{0,62}")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,126}")
_VALUE = re.compile(r"[\x21-\x7e](?:[\x20-\x7e]*[\x21-\x7e])?")
_NOT_FOR_SECRETS = frozenset(
    {"connection", "content-length", "content-type", "host", "te", "trailer", "transfer-encoding", "upgrade"}
)
_MIN_SECRET: Final = 8
_MAX_VALUE: Final = 4096
_REDACTED: Final = b"[redacted]"


@dataclass(frozen=True, slots=True)
class BrokeredCredential:
    """What may be known of a stored credential."""

    name: str
    header: str
    origin: str
    version: int


@dataclass(frozen=True, slots=True)
class _Stored:
    shown: BrokeredCredential
    sealed: bytes


class SealedBroker:
    """Implements the enforcement room's `CredentialBroker` for static headers."""

    def __init__(self, control: ControlLog, sealer: Sealer) -> None:
        self._control = control
        self._sealer = sealer.derive("identity/broker")
        self._stored: dict[str, _Stored] = {}
        self._values: dict[str, str] = {}
        """Opened once each and kept in memory, where the request that carries them is as well."""
        for row in control.view.scan(rows.SECRET):
            self._fold(row.key, row.doc)
        control.subscribe(self._on_change)

    async def store(self, name: str, *, origin: str, header: str, value: str, actor: Actor) -> BrokeredCredential:
        """Store or replace a header for one origin (scheme, host, port).

        For a tool server that is started here, the origin is `stdio:` and its name, the header a variable.

        Raises:
            InvalidInputError: the name, origin, header or value cannot be accepted; the value is not repeated.
        """
        check_name(name, "credential")
        started = _STARTED.fullmatch(origin) is not None
        pinned = origin if started else _spelled(public_origin(origin))
        if started and not _VARIABLE.fullmatch(header):
            raise InvalidInputError(Code.UPSTREAM_CREDENTIAL, f"`{header[:60]}` is not a variable of an environment")
        if not started and (not _HEADER.fullmatch(header) or header.lower() in _NOT_FOR_SECRETS):
            raise InvalidInputError(Code.UPSTREAM_CREDENTIAL, f"`{header[:60]}` is not a header for a credential")
        if len(value) > _MAX_VALUE or not _VALUE.fullmatch(value) or len(_secret_of(value)) < _MIN_SECRET:
            raise InvalidInputError(
                Code.UPSTREAM_CREDENTIAL,
                f"the credential's value is not {_MIN_SECRET} to {_MAX_VALUE} characters of printable ASCII",
                hint="a shorter one could not be told apart from ordinary text when answers are scrubbed",
            )

        def build(view: StateView) -> Change:
            row = view.get(rows.SECRET, name)
            shown = BrokeredCredential(name, header, pinned, row.doc["version"] + 1 if row else 1)
            sealed = self._sealer.seal(value.encode(), belongs_to=_belonging(shown))
            doc = {
                "header": header,
                "origin": pinned,
                "sealed": b64encode(sealed).decode(),
                "version": shown.version,
            }
            return Change(
                Facts("secret.stored"),
                (Write(rows.SECRET, name, doc),),
                actor,
                {"name": name, "version": shown.version},
            )

        await self._control.transact(build)
        return self._stored[name].shown

    async def remove(self, name: str, *, actor: Actor) -> None:
        """Remove a stored credential; calls that need it are refused from then on.

        Raises:
            NotFoundError: there is none of that name.
        """

        def build(view: StateView) -> Change:
            if view.get(rows.SECRET, name) is None:
                raise NotFoundError(Code.NOT_FOUND, f"there is no credential `{name[:80]}`")
            write = Write(rows.SECRET, name, None)
            return Change(Facts("secret.removed"), (write,), actor, {"name": name}, narrowing=True)

        await self._control.transact(build)

    def credentials(self) -> tuple[BrokeredCredential, ...]:
        """What is stored, without the values."""
        return tuple(stored.shown for _, stored in sorted(self._stored.items()))

    def headers(self, server: ToolServer) -> Mapping[str, str]:
        """The headers to inject for that server, whose URL must have the origin the credential is pinned to.

        Raises:
            UnavailableError: the credential is missing, unproven, or pinned to another origin.
        """
        if server.credential is None:
            return {}
        stored, value = self._opened(server.credential)
        if server.launch is not None:
            # whoever stores a credential must not choose which variable of a program it becomes
            if (stored.shown.origin, stored.shown.header) != (server.url, server.launch.credential_variable):
                raise _unusable(server.credential, f"stored as {stored.shown.header} of {stored.shown.origin}")
            return {stored.shown.header: value}
        try:
            origin = _spelled(origin_of(server.url))
        except InvalidInputError as error:
            raise _unusable(server.credential, error.message) from error
        if origin != stored.shown.origin:
            raise _unusable(server.credential, f"pinned to {stored.shown.origin}, the server is at {origin}")
        return {stored.shown.header: value}

    def _opened(self, name: str) -> tuple[_Stored, str]:
        stored = self._stored.get(name)
        if stored is None or (rows.SECRET, name) in self._control.unproven:
            raise _unusable(name, "missing or unproven")
        opened = self._values.get(name)
        if opened is None:
            try:
                opened = self._sealer.open(stored.sealed, belongs_to=_belonging(stored.shown)).decode()
            except AccreditError as error:
                raise _unusable(name, error.cause) from error
            self._values[name] = opened
        return stored, opened

    def _on_change(self, change: Change) -> None:
        for write in change.writes:
            if write.kind == rows.SECRET:
                self._fold(write.key, write.doc)

    def _fold(self, name: str, doc: Mapping[str, Any] | None) -> None:
        self._values.pop(name, None)
        if doc is None:
            self._stored.pop(name, None)
            return
        shown = BrokeredCredential(name, doc["header"], doc["origin"], doc["version"])
        self._stored[name] = _Stored(shown, b64decode(doc["sealed"]))


def _belonging(shown: BrokeredCredential) -> bytes:
    # a row moved to another name, origin or header, or rolled back to an older version, does not open
    return canonical({"header": shown.header, "name": shown.name, "origin": shown.origin, "version": shown.version})


def _spelled(origin: tuple[str, str, int]) -> str:
    scheme, host, port = origin
    return f"{scheme}://{f'[{host}]' if ':' in host else host}:{port}"


def _unusable(name: str, cause: str) -> UnavailableError:
    return UnavailableError(
        Code.UPSTREAM_CREDENTIAL, f"the credential `{name[:80]}` cannot be used for this server", cause=cause
    )


def without_credential(headers: Mapping[str, str], answer: bytes) -> bytes:
    """What a tool server said without the credential it was sent, in any spelling that is likely to come back.

    Works on whole messages: a value split over two pieces of a stream is found only once they are joined.
    """
    for value in headers.values():
        for spelling in _spellings(value):
            if spelling in answer:
                answer = answer.replace(spelling, _REDACTED)
    return answer


def _secret_of(value: str) -> str:
    """Of `Bearer …` and its like what follows the scheme, else the whole value."""
    scheme, space, rest = value.partition(" ")
    return rest.strip() if space and scheme.isalpha() else value


@lru_cache(maxsize=64)  # a few credentials, every answer
def _spellings(value: str) -> tuple[bytes, ...]:
    """What to look for, longest first. A scheme in front changes only what base64 makes of it."""
    secret = _secret_of(value)
    in_json = json.dumps(secret)[1:-1]
    texts = {secret, in_json, in_json.replace("/", "\\/"), quote(secret, safe=""), quote(secret)}
    encoded = {b64encode(text.encode()).rstrip(b"=") for text in (value, secret)}
    return tuple(sorted({text.encode() for text in texts} | encoded, key=len, reverse=True))
