"""What stores of memory and knowledge hold, what a purge of them does and what came of it, as values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from accredit.kernel.canonical import Digest, digest_value
from accredit.kernel.ids import AgentId

__all__ = [
    "Capabilities",
    "Disposition",
    "Finished",
    "Holding",
    "Item",
    "ItemPage",
    "Kept",
    "KeyDestroyed",
    "Purge",
    "PurgeCounts",
    "PurgeState",
    "ResidualBytes",
    "Residue",
    "Review",
    "ReviewVerdict",
    "Scan",
    "Selector",
    "StoreFinding",
    "StoreOutcome",
    "held_back",
    "key_waits",
]


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What can be done with a kind of store, said by its adapter."""

    filter_by: tuple[str, ...] = ()
    """What the store itself can find items by, of agent, user, session and time."""
    assign: bool = False
    """Whether an item can be given to another agent."""
    compact: bool = False
    drop: bool = False
    residual_probe: bool = False
    """Whether bytes that are left behind can be looked for."""
    encrypted_at_rest: bool = False
    snapshots: bool = False
    versions: bool = False


@dataclass(frozen=True, slots=True)
class Holding:
    """One namespace of a store."""

    namespace: str
    items: int
    bytes: int | None = None
    oldest_us: int | None = None
    newest_us: int | None = None
    owner_hint: str | None = None


@dataclass(frozen=True, slots=True)
class Item:
    """One thing that is kept."""

    id: str
    text: str
    fields: Mapping[str, str] = field(default_factory=dict)
    """What else it says about itself, as text."""
    created_us: int | None = None
    whole: bool = True
    """False: there is more of it than was read."""

    @property
    def digest(self) -> Digest:
        """Of all that was read."""
        return digest_value("stored-item", {"fields": dict(self.fields), "id": self.id, "text": self.text})


@dataclass(frozen=True, slots=True)
class ItemPage:
    """Some items, in the store's order, and where the next begin."""

    items: tuple[Item, ...]
    following: str | None


@dataclass(frozen=True, slots=True)
class Finished:
    """What was done so that deleted bytes go as well."""

    methods: tuple[str, ...]
    """Such as `vacuum`, `drop`."""
    copies: tuple[str, ...] = ()
    """Copies that an adapter cannot reach, in plain words: backups, snapshots, replicas."""


class ResidualBytes(StrEnum):
    """Whether bytes of what was deleted are left."""

    NONE = "none"
    FOUND = "found"
    NOT_CHECKABLE = "not_checkable"


@dataclass(frozen=True, slots=True)
class Residue:
    """What was found when deleted bytes were looked for, and how."""

    residual: ResidualBytes
    method: str
    where: tuple[str, ...] = ()
    """Of what was found: files, relative to the store."""


@dataclass(frozen=True, slots=True)
class KeyDestroyed:
    """What a key service said when asked to destroy a key."""

    scope: str
    fingerprint: str
    pending_until_us: int | None
    """None: it is gone."""


@dataclass(frozen=True, slots=True)
class Selector:
    """Whose items are meant, in one namespace of one store."""

    store: str
    namespace: str
    agent: AgentId
    agent_name: str
    kind: str
    """memory or knowledge."""
    shared: bool
    owner_field: str | None
    subject_field: str | None
    until_us: int
    """Items that say they were made later are left."""

    def document(self) -> dict[str, Any]:
        """The scope of a purge, as a receipt shows it."""
        return {
            "agent": self.agent,
            "agent_name": self.agent_name,
            "kind": self.kind,
            "namespace": self.namespace,
            "owner_field": self.owner_field,
            "shared": self.shared,
            "store": self.store,
            "subject_field": self.subject_field,
            "until_us": self.until_us,
        }


class Disposition(StrEnum):
    """What a purge does with one item."""

    DELETE = "delete"
    HELD = "held"
    """A legal hold keeps it."""
    UNKNOWN_OWNER = "unknown-owner"
    """Nobody can say whose it is."""
    OTHERS = "others"
    UNREVIEWED = "unreviewed"
    """Shared knowledge that no person has decided on."""
    KEPT = "kept"
    """A person decided to keep it, or gave it to another agent."""
    LATER = "later"
    """Made after the plan."""


class ReviewVerdict(StrEnum):
    """What a person says to an item of shared knowledge."""

    KEEP = "keep"
    DELETE = "delete"
    REASSIGN = "reassign"


@dataclass(frozen=True, slots=True)
class PurgeCounts:
    """How many items of each disposition."""

    of: Mapping[Disposition, int]

    def __getitem__(self, disposition: Disposition) -> int:
        return self.of.get(disposition, 0)

    @property
    def seen(self) -> int:
        return sum(self.of.values())


class PurgeState(StrEnum):
    """How far a purge is."""

    PLANNED = "planned"
    ASKED = "asked"
    """It waits for the sign-off of other persons."""
    RUNNING = "running"
    ENDED = "ended"
    REFUSED = "refused"
    """It was not signed off, or what was planned is not what is there any more; nothing was deleted."""


@dataclass(frozen=True, slots=True)
class StoreFinding:
    """How many items hold values of one kind."""

    kind: str
    data_class: str
    items: int
    values: int
    """Different ones within each item, added up."""


@dataclass(frozen=True, slots=True)
class Scan:
    """What a namespace was found to hold, and how far that is."""

    store: str
    namespace: str
    detector: str
    begun_us: int
    items: int
    flagged: int
    """Items with any finding."""
    findings: tuple[StoreFinding, ...]
    cursor: str | None
    ended_us: int | None = None
    cut: int = 0
    """Items of which not all was looked at."""


def held_back(items: int) -> str:
    """How it is told that legal holds keep items."""
    return f"{items} items are under legal hold"


def key_waits(scope: str) -> str:
    """How it is told that a key service destroys a key only after a while."""
    return f"the key {scope} is destroyed only later"


@dataclass(frozen=True, slots=True)
class StoreOutcome:
    """What became of what an agent kept in one place: the store's part of a certificate (NIST SP 800-88r2, 4.8)."""

    id: str
    agent: AgentId
    store: str
    """As the agent's manifest names it."""
    adapter: str
    adapter_version: str
    scope: Mapping[str, Any]
    plan: Digest | None
    items_before: int | None
    items_after: int | None
    """Of those to be deleted, as the store's own interface shows them afterwards."""
    deleted: int
    methods: tuple[str, ...]
    keys: tuple[KeyDestroyed, ...]
    api_absent: bool | None
    """Whether the store's own interface shows none of them; None: it was not asked."""
    residual: ResidualBytes
    residual_method: str
    skipped: Mapping[str, int]
    """Items left, by disposition."""
    holds: tuple[str, ...]
    """Ids of the legal holds that kept some."""
    unreachable: tuple[str, ...]
    """Copies and places that could not be reached, in plain words."""
    operator: str
    approvers: tuple[str, ...]
    begun_us: int
    ended_us: int

    @property
    def certified(self) -> bool:
        """Whether everything of the agent's is shown to be gone from the store itself."""
        kept = {name for name, count in self.skipped.items() if count} - {Disposition.OTHERS.value}
        return self.api_absent is True and self.residual is ResidualBytes.NONE and not kept

    @property
    def open(self) -> tuple[str, ...]:
        """What was not reached, checked or erased, in plain words."""
        found = [f"{self.store}: {each}" for each in self.unreachable]
        if self.api_absent is False:
            found.append(f"{self.store}: {self.items_after} items are still there after they were deleted")
        if self.api_absent is not None and self.residual is not ResidualBytes.NONE:
            said = (
                "bytes of deleted items were found"
                if self.residual is ResidualBytes.FOUND
                else "bytes were not looked for"
            )
            found.append(f"{self.store}: {said}: {self.residual_method}")
        words = {
            Disposition.UNKNOWN_OWNER.value: "do not say whose they are",
            Disposition.UNREVIEWED.value: "were not reviewed",
            Disposition.LATER.value: "were made after the plan",
        }
        if held := self.skipped.get(Disposition.HELD.value):
            found.append(f"{self.store}: {held_back(held)}")
        found += [
            f"{self.store}: {self.skipped[name]} items {how}" for name, how in words.items() if self.skipped.get(name)
        ]
        return tuple(found)


@dataclass(frozen=True, slots=True)
class Purge:
    """A planned, running or ended purge of one agent's items in one namespace."""

    id: str
    selector: Selector
    entry: str
    """As the agent's manifest is told of it."""
    plan: Digest
    """Over every item that would be deleted and what becomes of each other, in the store's order."""
    counts: PurgeCounts
    holds: tuple[str, ...]
    state: PurgeState
    by: str
    credential: str
    basis: str
    planned_us: int
    adapter: str
    adapter_version: str
    request: str | None = None
    approvers: tuple[str, ...] = ()
    begun_us: int | None = None
    deleted: int = 0
    why: str = ""
    """Of a refused one."""
    outcome: StoreOutcome | None = None
    procedure: str | None = None
    """The retirement it is part of."""
    failing_us: int | None = None
    """Since when the store cannot be reached, while it runs."""


@dataclass(frozen=True, slots=True)
class Kept:
    """A person's decision on one item, bound to what it said then."""

    item: Digest
    verdict: ReviewVerdict
    to: AgentId | None
    by: str
    at_us: int


@dataclass(frozen=True, slots=True)
class Review:
    """The review of one agent's part in shared knowledge."""

    id: str
    store: str
    namespace: str
    agent: AgentId
    kind: str
    by: str
    begun_us: int
    decided: int
    bulk: ReviewVerdict | None
    """For every item without findings that nobody decided on by itself."""
    bulk_to: AgentId | None
    bulk_us: int | None
    bulk_by: str | None
