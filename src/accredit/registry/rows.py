"""The kinds of control state this room stores, each a document under a key.

kind         key                 document
person       person id           {email, salt?}; the salt keeps the row's digest in the log from being guessed
team         team id             {name, zones}
issuer       name                {name, use, issuer, jwks, audience, claims, token_type, roles_claim, role_names:
                                 [[theirs, ours]], status_url, revoked?}; read by identity, which alone sets `revoked`
server       name                {environment, url, credential, tools: [{name, effect, scope, data, price, fields,
                                 allow_undeclared}]}: what the operator says, sorted by name
tool         tool id             {definition, pinned_us}: the digest pinned; outlives the tool's place in the manifest
definition   digest              {text}: canonical text; may be shared; never removed
agent        agent id            {name, environment, team, state, owner, backup_owner, version, history}
agent_name   environment/name    {agent}: the one agent of that name there
version      digest              {digest, manifest, facets}: written once

Keys are ids, digests and names an operator chose;
no key is personal.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from accredit.audit.ports import Row, StateView, Write
from accredit.kernel.canonical import digest_value
from accredit.kernel.codes import Code
from accredit.kernel.errors import UnavailableError

__all__ = [
    "AGENT",
    "AGENT_NAME",
    "DEFINITION",
    "ISSUER",
    "PERSON",
    "SERVER",
    "TEAM",
    "TOOL",
    "VERSION",
    "Overlay",
    "ProvenRows",
]

AGENT = "agent"
AGENT_NAME = "agent_name"
DEFINITION = "definition"
ISSUER = "issuer"
PERSON = "person"
SERVER = "server"
TEAM = "team"
TOOL = "tool"
VERSION = "version"


class Overlay:
    """A state with some writes on top: what it will be, or what a narrowing in force made of it already."""

    def __init__(self, view: StateView) -> None:
        self._view = view
        self._rows: dict[str, dict[str, Row | None]] = {}

    def put(self, writes: tuple[Write, ...]) -> None:
        for write in writes:
            row = None
            if write.doc is not None:
                row = Row(write.kind, write.key, write.doc, digest_value("state", write.doc))
            self._rows.setdefault(write.kind, {})[write.key] = row

    def get(self, kind: str, key: str) -> Row | None:
        own: Mapping[str, Row | None] = self._rows.get(kind, {})
        return own[key] if key in own else self._view.get(kind, key)

    def scan(self, kind: str) -> Iterator[Row]:
        own = self._rows.get(kind, {})
        yield from (row for row in self._view.scan(kind) if row.key not in own)
        yield from (row for row in own.values() if row is not None)


class ProvenRows:
    """A state in which an unproven row is an outage, not an absence: nothing may be registered over it."""

    def __init__(self, view: StateView, unproven: frozenset[tuple[str, str]]) -> None:
        self._view = view
        self._unproven = unproven
        self._kinds = {kind for kind, _ in unproven}

    def get(self, kind: str, key: str) -> Row | None:
        if (kind, key) in self._unproven:
            raise UnavailableError(Code.STATE_UNPROVEN, f"the stored {kind} is not what the audit log proves")
        return self._view.get(kind, key)

    def scan(self, kind: str) -> Iterator[Row]:
        if kind in self._kinds:
            raise UnavailableError(Code.STATE_UNPROVEN, f"a stored {kind} is not what the audit log proves")
        return self._view.scan(kind)
