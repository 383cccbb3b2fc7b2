"""What a look at files and exports finds, as values. Every text in them was made fit to be shown (`shown.py`)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

__all__ = ["FoundSecret", "KeyUse", "MatchVerdict", "Matched", "ScanBounds", "ScanReport", "Trace", "TraceKind"]


class TraceKind(StrEnum):
    """What speaks of an agent."""

    CLIENT = "client"
    """An MCP client's configuration: a program that calls tools for somebody."""
    CODE = "code"
    """A program that makes an agent with a framework."""
    WORKFLOW = "workflow"
    """An agent drawn in a tool, exported."""
    CARD = "card"
    """A card with which an agent makes itself known."""
    DEPLOYMENT = "deployment"
    """Something deployed with a key to a provider of models."""
    KEY = "key"
    """A key to a provider of models that lies in a file."""
    MANIFEST = "manifest"
    """A manifest of ours."""
    USAGE = "usage"
    """Use of a provider of models, as the provider tells it."""


@dataclass(frozen=True, slots=True)
class FoundSecret:
    """A secret, by what it is and where it stands; the value is kept nowhere."""

    kind: str
    """By the detector (`openai_key`), else `named`: its name says that it is one."""
    name: str
    """Of the variable, header or field it stands in."""
    digest: str
    """HMAC-SHA-256 under the scan's salt: equal values have equal digests in one scan, and in all with that salt."""
    ours: str = ""
    """Of an opaque key of this product: the hash under which a server knows it. Such a key cannot be guessed."""


@dataclass(frozen=True, slots=True)
class Trace:
    """One thing in one file that speaks of an agent."""

    format: str
    """Of what: `claude-desktop`, `langgraph`, `dotenv`."""
    kind: TraceKind
    path: str
    """Below what was scanned, with `/`."""
    name: str = ""
    """What it is called there: a server, an agent, a crew."""
    line: int = 0
    """0: not known."""
    urls: tuple[str, ...] = ()
    """Without user, password, query and fragment."""
    command: str = ""
    """The program and the package it runs; no other argument."""
    providers: tuple[str, ...] = ()
    models: tuple[str, ...] = ()
    agent: str = ""
    """The id or environment/name of an agent of ours that it names."""
    secrets: tuple[FoundSecret, ...] = ()
    unread: str = ""
    """Why a file that is such a configuration by its name could not be read: then nothing else is known of it."""
    use: KeyUse | None = None
    """Of a line of a provider's export."""

    @property
    def place(self) -> tuple[str, str, str, int]:
        """Where it stands in every list."""
        return (self.path, self.format, self.name, self.line)


@dataclass(frozen=True, slots=True)
class KeyUse:
    """What a provider says a key was used for, added up over its export."""

    provider: str
    key: str
    """The provider's own id of the key; never the key."""
    project: str
    requests: int
    input_tokens: int
    output_tokens: int
    cost_nanos: int
    """Billionths of a US dollar; 0 where the export says nothing of cost."""
    first: str
    last: str
    """Days, as YYYY-MM-DD; empty where the export names none."""


@dataclass(frozen=True, slots=True)
class ScanBounds:
    """How much is looked at. What is beyond is counted, not read."""

    files: int = 200_000
    read: int = 50_000
    """Files whose content is looked at."""
    file_bytes: int = 2**20
    total_bytes: int = 2**30
    depth: int = 40
    traces: int = 10_000


@dataclass(frozen=True, slots=True)
class ScanReport:
    """What a scan found, and what it left out."""

    traces: tuple[Trace, ...]
    """By path, format, name and line."""
    files: int
    """Files met."""
    read: int
    """Files whose content was looked at."""
    skipped: Mapping[str, int] = field(default_factory=dict)
    """What was not looked at, by why."""
    whole: bool = True
    """False: a bound was reached, so there may be more."""


class MatchVerdict(StrEnum):
    """What a trace is to an installation."""

    REGISTERED = "registered"
    SHADOW = "shadow"
    """It reaches a registered tool server or provider past the gateway."""
    GHOST = "ghost"
    """It is of an agent that is retired."""
    UNREGISTERED = "unregistered"


@dataclass(frozen=True, slots=True)
class Matched:
    """What a trace is, and by what that was told."""

    verdict: MatchVerdict
    by: str
    agent: str = ""
    """Id of the agent it was matched to."""
    beside: str = ""
    """Of a key in a file that is matched to none: id of the agent whose manifest lies beside or above it."""
