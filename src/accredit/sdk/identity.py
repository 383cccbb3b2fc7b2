"""An agent's identity as its program uses it: enrol once, then ask for access tokens, which are kept until near expiry.

`AgentIdentity` blocks, `AsyncAgentIdentity` does not; what they send and how they read it is one (`wire`).
`AgentKey` and `AsyncAgentKey` stand for an instance that was given an opaque key instead.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Final, Self

from accredit.kernel.clock import Clock, Deadline, SystemClock
from accredit.kernel.codes import Code
from accredit.kernel.errors import InvalidInputError, UnavailableError
from accredit.kernel.ids import AgentId, CredentialId, IdSource, RandomIds
from accredit.kernel.tls import program_trust
from accredit.sdk.keyring import InstanceKey, Keyring
from accredit.sdk.wire import (
    GrantedToken,
    ReportedPosture,
    WireAnswer,
    WireRequest,
    delegation_request,
    enrol_request,
    exchange_request,
    read_enrolment,
    read_token,
    token_request,
)

__all__ = [
    "AgentIdentity",
    "AgentKey",
    "AsyncAgentIdentity",
    "AsyncAgentKey",
    "AsyncSend",
    "Send",
    "send",
    "send_async",
]

Send = Callable[[WireRequest], WireAnswer]
AsyncSend = Callable[[WireRequest], Awaitable[WireAnswer]]

_TIMEOUT_S: Final = 10.0
_MARGIN_S: Final = 30
"""A token is renewed this long before it expires, or at half its life if that is shorter."""
_KEPT: Final = 256


def _unreachable(request: WireRequest, error: Exception) -> UnavailableError:
    return UnavailableError(Code.UPSTREAM_UNREACHABLE, f"`{request.url[:120]}` cannot be reached", cause=repr(error))


def send(request: WireRequest) -> WireAnswer:
    """Send one request and wait; no redirects are followed.

    Raises:
        UnavailableError: there was no answer.
    """
    import httpx2  # noqa: PLC0415 - programs that bring their own transport do not pay for this one

    try:
        with httpx2.Client(follow_redirects=False, timeout=_TIMEOUT_S, verify=program_trust()) as client:
            answer = client.request(request.method, request.url, content=request.content, headers=request.headers)
            return WireAnswer(answer.status_code, answer.content)
    except (httpx2.HTTPError, httpx2.InvalidURL) as error:
        raise _unreachable(request, error) from error


async def send_async(request: WireRequest) -> WireAnswer:
    """Send one request; no redirects are followed.

    Raises:
        UnavailableError: there was no answer.
    """
    import httpx2  # noqa: PLC0415 - programs that bring their own transport do not pay for this one

    try:
        async with httpx2.AsyncClient(follow_redirects=False, timeout=_TIMEOUT_S, verify=program_trust()) as client:
            answer = await client.request(request.method, request.url, content=request.content, headers=request.headers)
            return WireAnswer(answer.status_code, answer.content)
    except (httpx2.HTTPError, httpx2.InvalidURL) as error:
        raise _unreachable(request, error) from error


class _Tokens:
    """Tokens by what they were asked for; those near their end are not given out any more. For any thread."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._kept: OrderedDict[tuple[str, ...], tuple[str, Deadline]] = OrderedDict()

    @staticmethod
    def key(resource: str, subject_token: str = "", task_token: str | None = None) -> tuple[str, ...]:
        # hashes: what is kept as a key is not one more copy of somebody's token
        return resource, *(sha256(token.encode()).hexdigest() for token in (subject_token, task_token or ""))

    def find(self, key: tuple[str, ...]) -> str | None:
        with self._lock:
            found = self._kept.get(key)
            if found is None or found[1].passed(self._clock.now()):
                self._kept.pop(key, None)
                return None
            self._kept.move_to_end(key)
            return found[0]

    def keep(self, key: tuple[str, ...], granted: GrantedToken) -> str:
        margin_s = min(_MARGIN_S, granted.expires_in / 2)
        with self._lock:
            self._kept[key] = (granted.access_token, Deadline.after(self._clock.now(), granted.expires_in - margin_s))
            if len(self._kept) > _KEPT:
                self._kept.popitem(last=False)
        return granted.access_token

    def forget(self) -> None:
        with self._lock:
            self._kept.clear()


class _Identity:
    """What both clients share: the keyring, and no sending."""

    def __init__(
        self, keyring: Keyring, *, clock: Clock | None, ids: IdSource | None, posture: ReportedPosture | None
    ) -> None:
        self._keyring = keyring
        self._posture = posture
        self._clock = clock or SystemClock()
        self._ids = ids or RandomIds()
        self._tokens = _Tokens(self._clock)

    @property
    def agent(self) -> AgentId:
        return self._keyring.agent

    @property
    def credential(self) -> CredentialId:
        return self._keyring.credential

    @property
    def thumbprint(self) -> str:
        """Of the key: what the owner of a production agent confirms."""
        return self._keyring.key.thumbprint()

    def report(self, posture: ReportedPosture) -> None:
        """Say from now on what this instance runs, beginning with the next token, which is a new one."""
        self._posture = posture
        self._tokens.forget()

    def forget_tokens(self) -> None:
        """Drop every token kept: after a 401 the next one is a new one."""
        self._tokens.forget()

    def save(self, path: Path) -> None:
        """Keep the identity in a file of mode 0600.

        Raises:
            UnavailableError: the file cannot be written.
        """
        self._keyring.save(path)

    def _token_request(self, resource: str) -> WireRequest:
        return token_request(self._keyring, resource, now=self._clock.now(), ids=self._ids, posture=self._posture)

    def _delegation_request(self, callee: str, access_token: str, resource: str | None) -> WireRequest:
        return delegation_request(
            self._keyring,
            callee,
            access_token=access_token,
            resource=resource,
            now=self._clock.now(),
            ids=self._ids,
            posture=self._posture,
        )

    def _exchange_request(self, resource: str, subject_token: str, task_token: str | None) -> WireRequest:
        return exchange_request(
            self._keyring,
            resource,
            subject_token=subject_token,
            task_token=task_token,
            now=self._clock.now(),
            ids=self._ids,
            posture=self._posture,
        )


class AgentIdentity(_Identity):
    """An enrolled identity for programs that block."""

    def __init__(
        self,
        keyring: Keyring,
        *,
        clock: Clock | None = None,
        ids: IdSource | None = None,
        posture: ReportedPosture | None = None,
        send: Send = send,
    ) -> None:
        super().__init__(keyring, clock=clock, ids=ids, posture=posture)
        self._send = send

    @classmethod
    def enrol(
        cls,
        base_url: str,
        join_token: str,
        *,
        key: InstanceKey | None = None,
        clock: Clock | None = None,
        ids: IdSource | None = None,
        posture: ReportedPosture | None = None,
        send: Send = send,
    ) -> Self:
        """Generate a key (or take the one a join token is pinned to) and enrol its public half.

        In production the key may get no token (`credential_pending`) until the agent's owner confirmed its
        `thumbprint`.

        Raises:
            AccreditError: the server refused, with the server's code, or cannot be reached.
        """
        key = key or InstanceKey.generate()
        keyring = read_enrolment(send(enrol_request(base_url, join_token, key)), key)
        return cls(keyring, clock=clock, ids=ids, posture=posture, send=send)

    def access_token(self, resource: str) -> str:
        """A token for one resource, from memory while it lasts.

        Raises:
            AccreditError: the server refused, with the server's code, or cannot be reached.
        """
        key = self._tokens.key(resource)
        if (kept := self._tokens.find(key)) is not None:
            return kept
        return self._tokens.keep(key, read_token(self._send(self._token_request(resource))))

    def exchange(self, resource: str, *, subject_token: str, task_token: str | None = None) -> str:
        """A token for one resource on behalf of a user, for a task if one is given, from memory while it lasts.

        Raises:
            AccreditError: the server refused, with the server's code, or cannot be reached.
        """
        key = self._tokens.key(resource, subject_token, task_token)
        if (kept := self._tokens.find(key)) is not None:
            return kept
        answer = self._send(self._exchange_request(resource, subject_token, task_token))
        return self._tokens.keep(key, read_token(answer))

    def hand_on(self, callee: str, *, access_token: str, resource: str | None = None) -> str:
        """A token that hands on to another agent what this one does with one of its access tokens.

        It is for that agent alone, which exchanges it (`exchange`, as the subject) for its own access token; neither
        reaches beyond `resource`, or without it beyond what the access token is for. Never kept: one per hand-over.

        Raises:
            AccreditError: the server refused, with the server's code, or cannot be reached.
        """
        return read_token(self._send(self._delegation_request(callee, access_token, resource))).access_token


class AsyncAgentIdentity(_Identity):
    """An enrolled identity for programs that await."""

    def __init__(
        self,
        keyring: Keyring,
        *,
        clock: Clock | None = None,
        ids: IdSource | None = None,
        posture: ReportedPosture | None = None,
        send: AsyncSend = send_async,
    ) -> None:
        super().__init__(keyring, clock=clock, ids=ids, posture=posture)
        self._send = send

    @classmethod
    async def enrol(
        cls,
        base_url: str,
        join_token: str,
        *,
        key: InstanceKey | None = None,
        clock: Clock | None = None,
        ids: IdSource | None = None,
        posture: ReportedPosture | None = None,
        send: AsyncSend = send_async,
    ) -> Self:
        """Generate a key (or take the one a join token is pinned to) and enrol its public half.

        In production the key may get no token (`credential_pending`) until the agent's owner confirmed its
        `thumbprint`.

        Raises:
            AccreditError: the server refused, with the server's code, or cannot be reached.
        """
        key = key or InstanceKey.generate()
        keyring = read_enrolment(await send(enrol_request(base_url, join_token, key)), key)
        return cls(keyring, clock=clock, ids=ids, posture=posture, send=send)

    async def access_token(self, resource: str) -> str:
        """A token for one resource, from memory while it lasts.

        Raises:
            AccreditError: the server refused, with the server's code, or cannot be reached.
        """
        key = self._tokens.key(resource)
        if (kept := self._tokens.find(key)) is not None:
            return kept
        return self._tokens.keep(key, read_token(await self._send(self._token_request(resource))))

    async def exchange(self, resource: str, *, subject_token: str, task_token: str | None = None) -> str:
        """A token for one resource on behalf of a user, for a task if one is given, from memory while it lasts.

        Raises:
            AccreditError: the server refused, with the server's code, or cannot be reached.
        """
        key = self._tokens.key(resource, subject_token, task_token)
        if (kept := self._tokens.find(key)) is not None:
            return kept
        answer = await self._send(self._exchange_request(resource, subject_token, task_token))
        return self._tokens.keep(key, read_token(answer))

    async def hand_on(self, callee: str, *, access_token: str, resource: str | None = None) -> str:
        """A token that hands on to another agent what this one does with one of its access tokens.

        It is for that agent alone, which exchanges it (`exchange`, as the subject) for its own access token; neither
        reaches beyond `resource`, or without it beyond what the access token is for. Never kept: one per hand-over.

        Raises:
            AccreditError: the server refused, with the server's code, or cannot be reached.
        """
        return read_token(await self._send(self._delegation_request(callee, access_token, resource))).access_token


@dataclass(frozen=True, slots=True)
class AgentKey:
    """An opaque key (`accredit agent key`) in place of an enrolled identity: good everywhere that its path covers."""

    agent: AgentId
    """The agent's id, `environment/name`, or name."""
    key: str = field(repr=False)

    def access_token(self, resource: str) -> str:  # noqa: ARG002 - the server holds it against the key's path
        """The key itself."""
        return self.key

    def exchange(self, resource: str, *, subject_token: str, task_token: str | None = None) -> str:  # noqa: ARG002
        """Never: a key acts for no user.

        Raises:
            InvalidInputError: always.
        """
        raise _no_exchange()


@dataclass(frozen=True, slots=True)
class AsyncAgentKey:
    """As `AgentKey`, for programs that await."""

    agent: AgentId
    key: str = field(repr=False)

    async def access_token(self, resource: str) -> str:  # noqa: ARG002 - the server holds it against the key's path
        """The key itself."""
        return self.key

    async def exchange(self, resource: str, *, subject_token: str, task_token: str | None = None) -> str:  # noqa: ARG002
        """As `AgentKey.exchange`."""
        raise _no_exchange()


def _no_exchange() -> InvalidInputError:
    return InvalidInputError(
        Code.SETTING_INVALID, "an opaque key acts for no user", hint="enrol the instance: `accredit agent enrol`"
    )
