"""Every credential that is known anywhere to be an agent's, or to be used for it, and whether it still lets anybody in.

ours       this installation gave it out and ends it itself: keys of instances, opaque keys, join tokens
brokered   this installation keeps it and the agent never saw it: upstream credentials, tokens lent for it
elsewhere  somebody else gave it out: a key that a provider's export or a scan found. It can only be named
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from hashlib import sha256
from typing import Any, Final

from accredit.audit.ports import ControlLog
from accredit.identity import rows
from accredit.identity.broker import SealedBroker
from accredit.identity.model import Credential, CredentialState, Principal
from accredit.identity.state import IdentityState
from accredit.kernel.clock import Clock
from accredit.kernel.codes import Code
from accredit.kernel.ids import AgentId, CredentialId, ServerName
from accredit.lifecycle.discovery.keys import FoundKeys
from accredit.registry.catalogue import Catalogue
from accredit.registry.model import Agent, AgentState

__all__ = ["CredentialInventory", "CredentialKind", "CredentialReach", "KnownCredential"]

_GONE: Final = frozenset({AgentState.RETIRING, AgentState.RETIRED})
_NEVER_US: Final = 2**62


class CredentialKind(StrEnum):
    """What it is."""

    INSTANCE_KEY = "instance-key"
    OPAQUE_KEY = "opaque-key"
    JOIN_TOKEN = "join-token"  # noqa: S105 - the name of a kind, not a secret
    UPSTREAM_CREDENTIAL = "upstream-credential"
    LENT_TOKEN = "lent-token"  # noqa: S105 - the name of a kind, not a secret
    PROVIDER_KEY = "provider-key"
    STATIC_KEY = "static-key"


class CredentialReach(StrEnum):
    """Who can end it."""

    OURS = "ours"
    BROKERED = "brokered"
    ELSEWHERE = "elsewhere"


_REACH: Final[Mapping[CredentialKind, CredentialReach]] = {
    CredentialKind.INSTANCE_KEY: CredentialReach.OURS,
    CredentialKind.OPAQUE_KEY: CredentialReach.OURS,
    CredentialKind.JOIN_TOKEN: CredentialReach.OURS,
    CredentialKind.UPSTREAM_CREDENTIAL: CredentialReach.BROKERED,
    CredentialKind.LENT_TOKEN: CredentialReach.BROKERED,
    CredentialKind.PROVIDER_KEY: CredentialReach.ELSEWHERE,
    CredentialKind.STATIC_KEY: CredentialReach.ELSEWHERE,
}


@dataclass(frozen=True, slots=True)
class KnownCredential:
    """One credential, without any secret of it."""

    kind: CredentialKind
    id: str
    name: str
    """Where it is or what it is called: a thumbprint, an origin, a path below what was scanned."""
    state: str
    """`active`, `pending`, `locked`, `revoked`, `expired`; of what is not ours `known`."""
    shared: bool = False
    """Other agents that are not gone need it too."""
    evidence: Mapping[str, Any] = field(default_factory=dict)

    @property
    def reach(self) -> CredentialReach:
        return _REACH[self.kind]

    @property
    def alive(self) -> bool:
        """Whether it lets, or could let, anybody in."""
        return self.state not in {"revoked", "expired"}

    @property
    def unreachable(self) -> bool:
        """Whether retiring its agent leaves it to people: it is not ours to end, and nobody else needs it."""
        kept = self.kind is CredentialKind.UPSTREAM_CREDENTIAL and not self.shared
        return kept or self.reach is CredentialReach.ELSEWHERE

    def document(self) -> dict[str, Any]:
        """As plans and certificates name it."""
        return {"id": self.id, "kind": self.kind.value, "name": self.name, "reach": self.reach.value}


class CredentialInventory:
    """Knows them from memory. May be asked from any task of the event loop."""

    def __init__(
        self,
        control: ControlLog,
        identity: IdentityState,
        broker: SealedBroker,
        found: FoundKeys,
        catalogue: Callable[[], Catalogue],
        clock: Clock,
    ) -> None:
        self._control = control
        self._identity = identity
        self._broker = broker
        self._found = found
        self._catalogue = catalogue
        self._clock = clock

    def of(self, agent: Agent) -> tuple[KnownCredential, ...]:
        """Everything known of an agent, by kind and id; keys that were revoked are there too, spent join tokens not."""
        every = (*self._issued(agent.id), *self._join_tokens(agent.id), *self._upstream(agent), *self._lent(agent.id),
                 *self._elsewhere(agent.id))  # fmt: skip
        return tuple(sorted(every, key=lambda one: (one.kind, one.id)))

    def refusal(self, agent: AgentId, credential: KnownCredential) -> Code | None:
        """Why whoever presented it now would be turned away; None: they would be let in, or it is not ours to say.

        It is the very question that every call asks of a principal, put for one that is as current as can be.
        """
        match credential.kind:
            case CredentialKind.INSTANCE_KEY | CredentialKind.OPAQUE_KEY:
                presented = Principal(
                    agent, CredentialId(credential.id), self._identity.epoch(agent) or 0, _NEVER_US, "sha256:"
                )
                return self._identity.refusal(presented)
            case CredentialKind.JOIN_TOKEN:
                return None if credential.alive else Code.JOIN_TOKEN_INVALID
            case _:
                return None

    def there(self, credential: str) -> bool:
        """Whether something that is not ours to end is there as far as anybody knows; by its id."""
        name = credential.removeprefix("upstream:")
        if name != credential:
            return any(one.name == name for one in self._broker.credentials())
        return self._found.there(credential)

    def _issued(self, agent: AgentId) -> Iterable[KnownCredential]:
        now_us = self._clock.now().wall_us
        for one in self._identity.credentials_of(agent):
            kind = CredentialKind.INSTANCE_KEY if one.opaque is None else CredentialKind.OPAQUE_KEY
            evidence = {"enrolled_us": one.enrolled_us}
            yield KnownCredential(kind, one.id, _called(one), _state(one, now_us), evidence=evidence)

    def _join_tokens(self, agent: AgentId) -> Iterable[KnownCredential]:
        now_us = self._clock.now().wall_us
        for row in self._control.view.scan(rows.JOIN_TOKEN):
            # one that was used, or ran out by itself, is nothing any more
            spent = row.doc["credential"] is not None or 0 < row.doc["expires_us"] <= now_us
            if row.doc["agent"] == agent and not spent:
                # what it is called must not be what it is looked up by
                named = sha256(row.key.encode()).hexdigest()[:16]
                state = "revoked" if row.doc["expires_us"] == 0 else "active"
                yield KnownCredential(CredentialKind.JOIN_TOKEN, f"jtk_{named}", "", state)

    def _upstream(self, agent: Agent) -> Iterable[KnownCredential]:
        """What the tool servers and model providers that it may call are opened with."""
        mine = self._servers(agent)
        if not mine:
            return
        opened_with = {str(one.name): one.credential for one in self._catalogue().servers() if one.credential in mine}
        others: dict[str, int] = {}
        for one in self._catalogue().agents():
            if one.id != agent.id and one.state not in _GONE:
                for name in {opened_with.get(grant.tool.partition("/")[0]) for grant in one.version.every_grant}:
                    if name is not None:
                        others[name] = others.get(name, 0) + 1
        origins = {one.name: one.origin for one in self._broker.credentials()}
        for name in sorted(mine):
            if name in origins:
                evidence = {"other_agents": others.get(name, 0), "servers": sorted(mine[name])}
                yield KnownCredential(
                    CredentialKind.UPSTREAM_CREDENTIAL,
                    f"upstream:{name}",
                    f"{name} for {origins[name]}",
                    "known",
                    shared=name in others,
                    evidence=evidence,
                )

    def _servers(self, agent: Agent) -> dict[str, set[str]]:
        """Upstream credential -> the servers of this agent's grants that are opened with it."""
        catalogue, found = self._catalogue(), dict[str, set[str]]()
        for name in {grant.tool.partition("/")[0] for grant in agent.version.every_grant}:
            server = catalogue.server(ServerName(name))
            if server is not None and server.credential is not None:
                found.setdefault(server.credential, set()).add(name)
        return found

    def _lent(self, agent: AgentId) -> Iterable[KnownCredential]:
        for name in self._broker.lent_to(agent):
            yield KnownCredential(CredentialKind.LENT_TOKEN, f"lent:{name}", name, "active")

    def _elsewhere(self, agent: AgentId) -> Iterable[KnownCredential]:
        for one in self._found.of(agent):
            kind = CredentialKind.PROVIDER_KEY if one.exported else CredentialKind.STATIC_KEY
            evidence = {
                "by": one.by,
                "last_used": one.last_used,
                "place": one.place,
                "providers": list(one.providers),
                "secrets": list(one.secrets),
                "seen_us": one.seen_us,
                "source": one.source,
            }
            yield KnownCredential(kind, one.id, one.name, "known", evidence=evidence)


def _called(one: Credential) -> str:
    return one.thumbprint if one.opaque is None else one.opaque.audience or "every path"


def _state(one: Credential, now_us: int) -> str:
    over = one.opaque is not None and now_us >= one.opaque.expires_us
    return "expired" if over and one.state is CredentialState.ACTIVE else one.state.value
