"""Facts about users and tasks that neither token says: asked of whom an operator registered, and typed as registered.

Asked while a call's facts are gathered, never while it is decided: bounded in time, size and number, one question for
however many calls want the same facts, and kept no longer than the registration says. What goes wrong leaves the facts
absent and is noted: a permit or `unless` that needs them does not hold then, and nothing older takes their place.

A provider knows the users, or tasks, of one issuer alone: the same name at another issuer is somebody else. It is told
whom it is asked about, and nothing about the call or the agent.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

import orjson

from accredit.audit.ports import Change, ControlLog
from accredit.identity.claims import fits
from accredit.identity.model import ClaimType, IssuerKind, Principal
from accredit.identity.ports import AgentDirectory
from accredit.identity.state import IdentityState
from accredit.identity.tokens import reserved_key
from accredit.kernel.clock import Clock, Deadline, Instant
from accredit.kernel.codes import Code
from accredit.kernel.errors import AccreditError, InvalidInputError, UnavailableError
from accredit.kernel.strictjson import parse_strict
from accredit.registry import rows
from accredit.registry.model import Environment

__all__ = ["ContextProvider", "ContextProviders", "CredentialSource", "FactFetch", "ProvidedFacts"]

AGE: Final = "age_s"
"""Under this name each provider's facts carry how many seconds ago they were asked for."""
_CAPACITY: Final = 20_000
_AT_ONCE: Final = 32
_FAILED_S: Final = 2
"""A provider that failed is not asked about the same subject again for that long."""
_MAX_DEPTH: Final = 8


@dataclass(frozen=True, slots=True)
class ContextProvider:
    """Somebody whose word about the users, or tasks, of one issuer counts."""

    name: str
    kind: IssuerKind
    issuer: str
    """The registration whose subjects it knows."""
    url: str
    facts: Mapping[str, ClaimType]
    credential: str | None
    """Name of a stored upstream credential."""
    ttl_s: int
    timeout_s: float
    max_bytes: int
    off: bool
    approved: bool
    """Whether two persons signed it off; else its word counts for agents in development alone."""


@dataclass(frozen=True, slots=True)
class ProvidedFacts:
    """What providers say of one call's user and task, each under the provider's name."""

    user: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    task: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    absent: tuple[tuple[str, Code], ...] = ()
    """Providers that were asked and whose facts are not there: name, and why."""


class FactFetch(Protocol):
    """Puts one question to a registered address."""

    async def ready(self) -> None:
        """Load what the first question needs, beside the event loop: none of it counts as the provider's time."""
        ...

    async def __call__(self, url: str, body: bytes, headers: Mapping[str, str], *, max_bytes: int) -> bytes:
        """The body of a 200 answer to a POST: no redirects, no proxies, no more bytes than that.

        Raises:
            UnavailableError: there was no such answer.
        """
        ...


class CredentialSource(Protocol):
    """Gives the headers of a stored credential to the origin it is pinned to."""

    async def __call__(self, credential: str | None, url: str) -> Mapping[str, str]:
        """Raises UnavailableError: it is missing, or pinned to another origin."""
        ...


@dataclass(slots=True)
class _Known:
    facts: Mapping[str, Any] | None
    why: Code | None
    asked: Instant
    until: Deadline


class ContextProviders:
    """Keeps what providers said, and asks them."""

    def __init__(
        self,
        control: ControlLog,
        state: IdentityState,
        fetch: FactFetch,
        credentials: CredentialSource,
        agents: AgentDirectory,
        *,
        clock: Clock,
        capacity: int = _CAPACITY,
    ) -> None:
        self._control = control
        self._state = state
        self._fetch = fetch
        self._credentials = credentials
        self._agents = agents
        self._clock = clock
        self._capacity = capacity
        self._providers: dict[str, ContextProvider] = {}
        self._known: OrderedDict[tuple[str, str], _Known] = OrderedDict()
        self._asking: dict[tuple[str, str], asyncio.Task[_Known]] = {}
        self._room: dict[str, asyncio.Semaphore] = {}
        for row in control.view.scan(rows.CONTEXT_PROVIDER):
            self._fold(row.key, row.doc)
        control.subscribe(self._follow)

    def all(self) -> tuple[ContextProvider, ...]:
        """Every registration, by name."""
        return tuple(one for _, one in sorted(self._providers.items()))

    def fact_types(self, kind: IssuerKind) -> dict[str, Mapping[str, ClaimType]]:
        """The typed facts that users or tasks can have, by provider: what a policy may compare with."""
        return {
            one.name: {**one.facts, AGE: ClaimType.INTEGER} for one in self.all() if one.kind is kind and not one.off
        }

    async def of(self, principal: Principal, wanted: Iterable[tuple[str, str]] | None) -> ProvidedFacts:
        """What is known of that user and task, asking for what is not; None wants everything. Never raises to say no.

        `wanted` has pairs of `user` or `task` and a provider's name.
        """
        subjects = self._subjects(principal)
        only = None if wanted is None else frozenset(wanted)
        asked = [
            (one, subjects[one.kind][1])
            for one in self.all()
            if not one.off
            and one.kind in subjects
            and subjects[one.kind][0] == one.issuer
            and (only is None or (one.kind.value, one.name) in only)
        ]
        agent = self._agents.get(principal.agent)
        developing = agent is not None and agent.environment is Environment.DEVELOPMENT
        absent = [(one.name, Code.ISSUER_UNAPPROVED) for one, _ in asked if not (one.approved or developing)]
        asked = [(one, subject) for one, subject in asked if one.approved or developing]
        if not asked:
            return ProvidedFacts(absent=tuple(absent))
        found = await asyncio.gather(*(self._of(one, subject) for one, subject in asked))
        told: dict[IssuerKind, dict[str, Mapping[str, Any]]] = {IssuerKind.USER: {}, IssuerKind.TASK: {}}
        now = self._clock.now()
        for (one, _), known in zip(asked, found, strict=True):
            if known.facts is None:
                absent.append((one.name, known.why or Code.PROVIDER_UNAVAILABLE))
            else:
                age_us = max(now.wall_us - known.asked.wall_us, now.boot_us - known.asked.boot_us, 0)
                told[one.kind][one.name] = {**known.facts, AGE: age_us // 1_000_000}
        return ProvidedFacts(told[IssuerKind.USER], told[IssuerKind.TASK], tuple(absent))

    async def aclose(self) -> None:
        """Give up what is being asked."""
        running = tuple(self._asking.values())
        for each in running:
            each.cancel()
        await asyncio.gather(*running, return_exceptions=True)

    def _subjects(self, principal: Principal) -> dict[IssuerKind, tuple[str, str]]:
        """The registration and the name of whom or what there is to ask about."""
        found: dict[IssuerKind, tuple[str, str]] = {}
        if principal.user is not None and principal.registrations:
            found[IssuerKind.USER] = principal.registrations[0], principal.user.subject
        if principal.task is not None and len(principal.registrations) > 1:
            found[IssuerKind.TASK] = principal.registrations[1], principal.task.id
        return found

    async def _of(self, provider: ContextProvider, subject: str) -> _Known:
        now = self._clock.now()
        if (rows.CONTEXT_PROVIDER, provider.name) in self._control.unproven:
            return _Known(None, Code.STATE_UNPROVEN, now, Deadline(0, 0))
        key = (provider.name, subject)
        known = self._known.get(key)
        if known is not None and not known.until.passed(now):
            self._known.move_to_end(key)
            return known
        running = self._asking.get(key)
        if running is None:
            running = self._asking[key] = asyncio.ensure_future(self._ask(provider, subject))
            running.add_done_callback(lambda _: self._asking.pop(key, None))
        return await asyncio.shield(running)  # whoever gives up leaves the answer to the others

    async def _ask(self, provider: ContextProvider, subject: str) -> _Known:
        asked = self._clock.now()  # the facts are as old as the question
        facts: Mapping[str, Any] | None = None
        why: Code | None = None
        try:
            room = self._room.get(provider.name) or asyncio.Semaphore(1)  # it may have gone meanwhile
            await self._fetch.ready()
            async with asyncio.timeout(provider.timeout_s), room:
                headers = await self._credentials(provider.credential, provider.url)
                body = orjson.dumps({"for": provider.kind.value, "id": subject, "issuer": self._url(provider)})
                answer = await self._fetch(provider.url, body, headers, max_bytes=provider.max_bytes)
            facts = _read(answer, provider)
        except InvalidInputError:
            why = Code.PROVIDER_INVALID
        except (AccreditError, OSError, TimeoutError):
            why = Code.PROVIDER_UNAVAILABLE
        life_s = provider.ttl_s if facts is not None else min(_FAILED_S, provider.ttl_s)
        known = _Known(facts, why, asked, Deadline.after(asked, life_s))
        if self._providers.get(provider.name) is provider:  # else it was registered anew meanwhile
            self._known[provider.name, subject] = known
            self._known.move_to_end((provider.name, subject))
            if len(self._known) > self._capacity:
                self._known.popitem(last=False)
        return known

    def _url(self, provider: ContextProvider) -> str:
        issuer = self._state.issuer(provider.issuer)
        if issuer is None or issuer.revoked:
            raise UnavailableError(Code.PROVIDER_UNAVAILABLE, "its issuer does not count any more")
        return issuer.url

    def _follow(self, change: Change) -> None:
        for write in change.writes:
            if write.kind == rows.CONTEXT_PROVIDER:
                self._fold(write.key, write.doc)

    def _fold(self, name: str, doc: Mapping[str, Any] | None) -> None:
        for key in [key for key in self._known if key[0] == name]:
            del self._known[key]
        for key in [key for key in self._asking if key[0] == name]:
            del self._asking[key]
        self._providers.pop(name, None)
        self._room.pop(name, None)
        if doc is not None:
            self._providers[name] = _provider(name, doc)
            self._room[name] = asyncio.Semaphore(_AT_ONCE)


def _provider(name: str, doc: Mapping[str, Any]) -> ContextProvider:
    return ContextProvider(
        name=name,
        kind=IssuerKind(doc["for"]),
        issuer=doc["issuer"],
        url=doc["url"],
        facts={fact: ClaimType(kind) for fact, kind in doc["facts"].items()},
        credential=doc["credential"],
        ttl_s=doc["ttl_ms"] // 1_000,
        timeout_s=doc["timeout_ms"] / 1_000,
        max_bytes=doc["max_bytes"],
        off=doc["off"],
        approved="enacted" in doc,
    )


def _read(answer: bytes, provider: ContextProvider) -> Mapping[str, Any]:
    """The registered facts of an answer; those that are not registered are dropped, absent ones stay absent.

    Raises:
        InvalidInputError: it is no JSON object, has a key reserved for the policy engine at any depth, or a fact of
            another type.
    """
    said = parse_strict(answer, max_bytes=provider.max_bytes, max_depth=_MAX_DEPTH)
    if not isinstance(said, dict) or reserved_key(said):
        raise InvalidInputError(Code.PROVIDER_INVALID, "the answer is no object of facts")
    facts = {name: said[name] for name in provider.facts if said.get(name) is not None}
    if not all(fits(value, provider.facts[name]) for name, value in facts.items()):
        raise InvalidInputError(Code.PROVIDER_INVALID, "a fact is not of its registered type")
    return facts
