"""A finished session as detectors see it: what was called, of which shape, and numbers. None of it is text of anybody.

The session is the statistical unit (DESIGN §7): calls within one depend on each other, sessions do so less.
A profile is a pure function of the records of its session, so all profiles can be made again from the log.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType

from accredit.kernel.canonical import Digest
from accredit.kernel.ids import AgentId

__all__ = ["CallOutcome", "Feature", "ProfiledCall", "ProfiledValue", "SessionProfile"]


class CallOutcome(StrEnum):
    """How one call came out."""

    OK = "ok"
    ERROR = "error"
    DENIED = "denied"
    HELD = "held"
    UNKNOWN = "unknown"
    """It never returned: its effect may have happened."""


class Feature(StrEnum):
    """The numbers a profile may have; one that was not measured is not there, and is never 0 instead.

    Scores of evaluators are features too, named `score:` and the evaluator's name.
    """

    CALLS = "calls"
    TOOLS = "tools"
    """Different ones."""
    REPEATS = "repeats"
    """Calls of a tool with arguments that it was called with before in the session."""
    ERRORS = "errors"
    """Share of the calls that were carried out."""
    DENIED = "denied"
    HELD = "held"
    ARGUMENT_BYTES = "argument-bytes"
    RESULT_BYTES = "result-bytes"
    COST = "cost"
    """In units of the currency."""
    TOKENS = "tokens"
    """Of models: read and written."""
    ANSWER_BYTES = "answer-bytes"
    """The text of the last answer of a model."""
    LATENCY = "latency"
    """Seconds in tools and models, all calls together."""
    SECONDS = "seconds"
    """From the first call to the end of the last."""
    HOUR = "hour"
    """Of its first call, UTC, with a fraction; a circle of 24."""
    DATA_CLASSES = "data-classes"
    """Different ones that its calls touched."""
    REASONING_BYTES = "reasoning-bytes"
    """What models said that they think."""
    REASONED = "reasoned"
    """Share of the calls of tools that follow from a model's answer on record."""
    REFUSALS = "refusals"
    """Answers in which a model declines, as a share."""
    EMPTY = "empty"
    """Answers without text or call, as a share."""
    TRUNCATED = "truncated"
    """Answers cut short by a limit, as a share."""
    INVALID = "invalid"
    """Structured answers that do not suit the schema asked for, as a share."""
    FEEDBACK = "feedback"
    """What users said of it, from -1 to 1, the mean."""
    OFF_TASK = "off-task"
    """Calls with an effect whose tool shares no word with what the user asked."""
    TAINTED = "tainted"
    """Identifying values in calls with an effect that were seen in results alone."""


@dataclass(frozen=True, slots=True)
class ProfiledValue:
    """One value in the arguments of a call: where it stood, and of which class it is."""

    path: str
    """Keys above it, joined by points; `[]` for any place in a list. No key that the pinned schema does not name."""
    kind: str
    """The class: an order of magnitude, a length, a choice, a domain. What could name somebody is a keyed hash."""


@dataclass(frozen=True, slots=True)
class ProfiledCall:
    """One call of the session, in the order they were decided."""

    tool: str
    """The id of the tool or model; empty: no registered one."""
    outcome: CallOutcome
    values: tuple[ProfiledValue, ...] = ()
    """Of the arguments, at most 64 of a call; none where they were erased."""


@dataclass(frozen=True, slots=True)
class SessionProfile:
    """A finished session."""

    agent: AgentId
    session: str
    version: Digest | None
    """The version that its first call was judged under."""
    first: int
    """Seq of its first record."""
    last: int
    """Seq of its last record."""
    began_us: int
    ended_us: int
    calls: tuple[ProfiledCall, ...]
    """At most 512; `features` count them all."""
    features: Mapping[str, float] = field(default_factory=lambda: MappingProxyType({}))
    """By `Feature`, or `score:` and an evaluator's name. Each is finite."""
    in_part: bool = False
    """Something of it was erased or could not be opened: features that rest on it are not there."""
