"""Keys that scans and providers' exports found with an agent, kept for its inventory of credentials (`found_key` rows).

A scan that matches a key to an agent opens no finding where the agent is registered, and the key would be forgotten.
Kept is what and where it is, never a value. It stays until a whole scan under the same name does not find it any more.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from accredit.audit.model import Facts
from accredit.audit.ports import Actor, Change, ControlLog, Write
from accredit.kernel.canonical import digest_value
from accredit.kernel.clock import Clock
from accredit.kernel.ids import AgentId, IdSource
from accredit.lifecycle.discovery.matching import Sighting
from accredit.lifecycle.discovery.model import Matched, TraceKind

__all__ = ["FOUND_KEY", "FoundKey", "FoundKeys", "keys_in"]

FOUND_KEY: Final = "found_key"
_MOST_EACH: Final = 200
"""Of one agent: beyond so many a list tells nobody anything."""
_AT_ONCE: Final = 100


@dataclass(frozen=True, slots=True)
class FoundKey:
    """A key that is an agent's by what it was matched by."""

    id: str
    agent: AgentId
    exported: bool
    """Told of by its provider's export of use; else it lies in a file."""
    name: str
    place: str
    providers: tuple[str, ...]
    secrets: tuple[str, ...]
    """Kinds of the secrets that were seen there."""
    by: str
    """What it was matched by."""
    source: str
    seen_us: int
    last_used: str
    """Of an export: the last day, as YYYY-MM-DD; empty if it is not known."""


def keys_in(
    sightings: Iterable[Sighting], matched: Iterable[Matched], source: str, *, now_us: int
) -> Iterator[FoundKey]:
    """The keys among what a scan found that are an agent's. Keys of ours are known better than by where they lie."""
    for it, found in zip(sightings, matched, strict=True):
        agent = found.agent or found.beside
        exported = it.kind is TraceKind.USAGE
        if not agent or not (exported or it.secrets):
            continue
        named = digest_value("found-key", [source, it.kind.value, it.format, it.path, it.name, agent])
        yield FoundKey(
            f"fky_{named.removeprefix('sha256:')[:32]}",
            AgentId(agent),
            exported,
            it.name or it.path,
            it.path,
            it.providers,
            it.secrets,
            found.by,
            source,
            now_us,
            it.last_used,
        )


class FoundKeys:
    """Every key that was found with an agent and is there as far as anybody knows."""

    def __init__(self, control: ControlLog, ids: IdSource, clock: Clock) -> None:
        self._control = control
        self._ids = ids
        self._clock = clock

    def of(self, agent: AgentId) -> tuple[FoundKey, ...]:
        """Those of an agent, by id."""
        found = (_key_from(row.key, row.doc) for row in self._control.view.scan(FOUND_KEY) if row.doc["agent"] == agent)
        return tuple(found)

    def by_agent(self) -> dict[AgentId, list[FoundKey]]:
        """All of them."""
        found: dict[AgentId, list[FoundKey]] = {}
        for row in self._control.view.scan(FOUND_KEY):
            one = _key_from(row.key, row.doc)
            found.setdefault(one.agent, []).append(one)
        return found

    def there(self, key: str) -> bool:
        """Whether a key is there as far as anybody knows."""
        return self._control.view.get(FOUND_KEY, key) is not None

    async def note(
        self, sightings: Iterable[Sighting], matched: Iterable[Matched], source: str, *, complete: bool
    ) -> None:
        """Keep what a scan found; if that is all there is under its name, forget what it did not find.

        Raises:
            UnavailableError: it could not be made durable; noting it again completes it.
        """
        seen = {one.id: one for one in keys_in(sightings, matched, source, now_us=self._clock.now().wall_us)}
        known = {row.key: _key_from(row.key, row.doc) for row in self._control.view.scan(FOUND_KEY)}
        counts: dict[AgentId, int] = {}
        for one in known.values():
            counts[one.agent] = counts.get(one.agent, 0) + 1
        writes: list[Write] = []
        for key, one in seen.items():
            before = known.get(key)
            if before is not None and replace(before, seen_us=one.seen_us) == one:
                continue
            if before is None:
                counts[one.agent] = counts.get(one.agent, 0) + 1
                if counts[one.agent] > _MOST_EACH:
                    continue
            writes.append(Write(FOUND_KEY, key, _key_doc(one, salt=self._ids.new("salt"))))
        if complete:
            gone = (one for one in known.values() if one.source == source and one.id not in seen)
            writes += [Write(FOUND_KEY, one.id, None) for one in gone]
        for start in range(0, len(writes), _AT_ONCE):
            part = tuple(writes[start : start + _AT_ONCE])
            change = Change(Facts("discovery.keys"), part, Actor(basis="system"), {"keys": len(part)})
            await self._control.transact(lambda _, change=change: change)  # type: ignore[misc] # bound by now


def _key_doc(one: FoundKey, *, salt: str) -> dict[str, Any]:
    return {
        "agent": one.agent,
        "by": one.by,
        "exported": one.exported,
        "last_used": one.last_used,
        "name": one.name,
        "place": one.place,
        "providers": list(one.providers),
        "salt": salt,
        "secrets": list(one.secrets),
        "seen_us": one.seen_us,
        "source": one.source,
    }


def _key_from(key: str, doc: Mapping[str, Any]) -> FoundKey:
    return FoundKey(
        id=key,
        agent=AgentId(doc["agent"]),
        exported=doc["exported"],
        name=doc["name"],
        place=doc["place"],
        providers=tuple(doc["providers"]),
        secrets=tuple(doc["secrets"]),
        by=doc["by"],
        source=doc["source"],
        seen_us=doc["seen_us"],
        last_used=doc["last_used"],
    )
