"""What one record of the log tells of its session. Pure, but for the parts, which the caller opens.

Read are decisions and their outcomes, and the advice that an agent's own program asked for before it ran a tool by
itself. What others report is none of it: it is a claim, and feeds no profile. What is sealed is asked for only where
something rests on it: arguments for their classes, results where what the user asked is known, answers of models for
what they say of themselves.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from accredit.audit.model import StoredRecord
from accredit.audit.records import body_of, header_of
from accredit.enforcement.model import CallEnd
from accredit.enforcement.records import classes_seen
from accredit.kernel.canonical import Digest
from accredit.kernel.ids import AgentId, DecisionId

__all__ = ["ModelAnswer", "Opened", "SeenAsk", "SeenEnd", "answer_of", "step_in"]

Opened = Callable[[str], Mapping[str, Any] | None]
"""Opens a part of the record at hand; None: it has none, or it was erased or cut."""

_MODEL: Final = "llm/"
_WELL: Final = frozenset({CallEnd.OK.value, CallEnd.INPUT_REQUIRED.value})
_DECLINED: Final = frozenset({"refusal", "content_filter"})
"""Why an answer ended, by the names of the providers; so below."""
_CUT: Final = frozenset({"length", "max_tokens", "max_output_tokens", "model_context_window_exceeded"})
_ACTS: Final = frozenset({"write", "external", "irreversible", "administer"})


@dataclass(frozen=True, slots=True)
class SeenAsk:
    """A call was decided."""

    position: int
    time_us: int
    agent: AgentId
    version: Digest | None
    decision: DecisionId
    outcome: str
    """allow, deny or hold."""
    tool: str
    """Its id; empty: no registered one."""
    definition: Digest | None
    """What it was pinned to."""
    session: str | None
    user: str | None
    task: str | None
    data: tuple[str, ...]
    model: bool
    """It asks a language model."""
    acts: bool
    """Its tool has an effect."""
    reasoned: bool
    """It follows from a model's answer on record."""
    ran_elsewhere: bool
    """The agent's own program asked, and runs the tool itself: no outcome will follow."""
    arguments: Mapping[str, Any] | None
    """None: they cannot be opened any more."""


@dataclass(frozen=True, slots=True)
class ModelAnswer:
    """What a language model answered, in numbers."""

    text_bytes: int
    reasoning_bytes: int
    declined: bool
    calls: int
    """That it asks for."""
    cut: bool
    """A limit ended it."""
    tokens: int | None
    """Read and written, as its provider counted; None: it did not say."""


@dataclass(frozen=True, slots=True)
class SeenEnd:
    """A call ended."""

    position: int
    time_us: int
    decision: DecisionId
    well: bool
    duration_us: int
    size: int
    cost_nanos: int
    data: tuple[str, ...]
    """Classes found in what came back."""
    result: Callable[[], Mapping[str, Any] | None] = field(repr=False)
    """Opens what came back, if something rests on it."""


def step_in(record: StoredRecord, opened: Opened) -> SeenAsk | SeenEnd | None:
    """What a record tells of a session, if it does."""
    header = header_of(record)
    match header["kind"]:
        case "decision" if header["agent"]:
            return _asked(record, header, body_of(record), opened, elsewhere=False)
        case "advice" if header["agent"]:
            body = body_of(record)
            own = body.get("asked_by") == header["agent"] and "session" in body
            return _asked(record, header, body, opened, elsewhere=True) if own else None
        case "outcome":
            return _ended(record, header, body_of(record), opened)
        case _:
            return None


def _asked(
    record: StoredRecord, header: Mapping[str, Any], body: Mapping[str, Any], opened: Opened, *, elsewhere: bool
) -> SeenAsk:
    return SeenAsk(
        position=record.seq,
        time_us=header["time"],
        agent=AgentId(header["agent"]),
        version=header["version"],
        decision=DecisionId(body["decision_id"]),
        outcome=header["decision"],
        tool=header["tool"] or "",
        # what a release before this one did not record is not known
        definition=body.get("definition"),
        session=body.get("session"),
        user=body.get("user"),
        task=body.get("task"),
        data=tuple(header["data_classes"] or ()),
        model=str(body.get("protocol", "")).startswith(_MODEL),
        acts=header["effect"] in _ACTS,
        reasoned=body.get("reason") is not None,
        ran_elsewhere=elsewhere,
        arguments=opened("arguments"),
    )


def _ended(record: StoredRecord, header: Mapping[str, Any], body: Mapping[str, Any], opened: Opened) -> SeenEnd:
    settled, end = body.get("settled"), body["end"]
    return SeenEnd(
        position=record.seq,
        time_us=header["time"],
        decision=DecisionId(body["decision_id"]),
        well=end in _WELL,
        duration_us=max(body.get("duration_us") or 0, 0),
        size=body.get("size") or 0,
        cost_nanos=settled["cost"] if settled else 0,
        data=tuple(sorted(classes_seen(body))),
        result=lambda: opened("result"),
    )


def answer_of(result: Mapping[str, Any]) -> ModelAnswer:
    """What is on record of a model's answer, in numbers; nothing of what it said."""
    usage, tools = result.get("usage"), result.get("tools")
    tokens = [usage.get(side) for side in ("input", "output")] if isinstance(usage, Mapping) else [None]
    counted = [one for one in tokens if isinstance(one, int) and one >= 0]
    stop = result.get("stop")
    return ModelAnswer(
        text_bytes=_bytes_of(result.get("text")),
        reasoning_bytes=_bytes_of(result.get("reasoning")),
        declined=bool(result.get("declined")) or stop in _DECLINED,
        calls=len(tools) if isinstance(tools, list) else 0,
        cut=stop in _CUT,
        tokens=sum(counted) if len(counted) == len(tokens) else None,
    )


def _bytes_of(text: object) -> int:
    return len(text.encode(errors="replace")) if isinstance(text, str) else 0
