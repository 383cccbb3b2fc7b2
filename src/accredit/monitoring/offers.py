"""What tool servers list and nobody registered: something that was not there before is a finding. Pure.

Nothing of it reaches an agent: what is not registered is neither listed nor called, whatever a server says. A server
that adds a tool, or gives another name to one, may still be about to do something that its operator wants to hear of.

What was there when a server was first looked at is no finding; from then on a name is told of once. Fingerprints of
names are kept, not names: there may be many of them, and they are a server's words.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from accredit.kernel.errors import InvalidInputError
from accredit.kernel.ids import ToolId, tool_id
from accredit.monitoring.model import AlertKind, Deviation
from accredit.registry.items import ItemKind, item_kind
from accredit.registry.model import Tool, ToolServer
from accredit.registry.pinning import compare, same_but_for_name

__all__ = ["MOST_KNOWN", "SeenOffer", "findings_of_offer", "known_after", "seen_offer"]

MOST_KNOWN: Final = 2_000
"""Names of a kind at one server; where there are more, nobody can look into each that is new."""
_MOST_TOLD: Final = 20
"""Of one look: further ones are one finding."""


@dataclass(frozen=True, slots=True)
class SeenOffer:
    """One look at what a server lists."""

    names: Mapping[str, frozenset[str]]
    """By kind, fingerprints of all that was listed."""
    added: tuple[tuple[str, str, ToolId, ToolId | None], ...]
    """(kind, fingerprint, id, id of the registered one that is missing and is this but for its name), sorted."""
    at_us: int


def seen_offer(
    server: ToolServer,
    offered: Mapping[str, Mapping[str, Any]],
    kinds: frozenset[ItemKind | None],
    at_us: int,
) -> SeenOffer:
    """What is to be remembered of a look; `kinds` are those of which there was a list."""
    drift = compare(server.tools, offered)
    missing = [server.tools[name] for name in drift.missing]
    names: dict[str, set[str]] = {_kind(kind): set() for kind in kinds}
    for name in offered:
        names.setdefault(_kind(item_kind(name)), set()).add(_fingerprint(name))
    added = tuple(
        (_kind(item_kind(name)), _fingerprint(name), tool_id(server.name, name), _renamed(offered[name], missing))
        for name in drift.added
    )
    return SeenOffer({kind: frozenset(found) for kind, found in names.items()}, added, at_us)


def findings_of_offer(server: ToolServer, seen: SeenOffer, known: Mapping[str, Any]) -> Iterator[Deviation]:
    """What people should look into; `known` is what was seen before, by kind."""
    new = [
        (own, before)
        for kind, fingerprint, own, before in seen.added
        if known.get(kind) is not None and fingerprint not in known[kind]
    ]
    for own, before in new[:_MOST_TOLD]:
        evidence: dict[str, Any] = {"seen": own, "server": server.name}
        if before is not None:
            evidence["renamed_from"] = before
        yield Deviation(None, AlertKind.NEW_OFFER, own, evidence, seen.at_us)
    if len(new) > _MOST_TOLD:
        evidence = {"more": len(new) - _MOST_TOLD, "seen": new[_MOST_TOLD][0], "server": server.name}
        yield Deviation(None, AlertKind.NEW_OFFER, server.name, evidence, seen.at_us)


def known_after(known: Mapping[str, Any], seen: SeenOffer) -> dict[str, list[str] | None]:
    """By kind, what is known once a look was told of; None: too much, and it stays so."""
    after: dict[str, list[str] | None] = {**known}
    for kind, found in seen.names.items():
        before = known.get(kind, [])
        together = None if before is None else sorted({*before, *found})
        after[kind] = None if together is None or len(together) > MOST_KNOWN else together
    return after


def _renamed(definition: Mapping[str, Any], missing: list[Tool]) -> ToolId | None:
    for tool in missing:
        try:
            if same_but_for_name(definition, tool.definition):
                return tool.id
        except InvalidInputError:
            return None
    return None


def _kind(item: ItemKind | None) -> str:
    return "tool" if item is None else item.value


def _fingerprint(name: str) -> str:
    return hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()[:16]
