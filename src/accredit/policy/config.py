"""`accredit.toml` of a policy directory: what is set about its policies as a whole, and published with them.

`[observe]` names files, or single policies by id, each with a moment: until then these are evaluated beside the
enforced policies and change nothing, from then on they are enforced.

`[counters.NAME]` declares a fact that is measured by us and read as `context.session.NAME`: over the calls of `tools`,
the sum of the argument `sum` (without it, how many), within `window` (such as `"1h"`; without it as long as the session
lasts), `per` session or task; a task needs a window.

`[[remediation]]` says what answers an alert by itself, beside what is built in (`monitoring/remedy.py`): `on` kinds of
alert, of agents of some `tiers`, in one `environment`, `do` one of throttle (`calls_per_minute`), hold (`role`),
drop-tool, read-only, quarantine, suspend, for a time (`for`). What has no `mode = "act"` only puts on record what it
would have done. What rests on a statistic alone may slow an agent down and ask people, and stop nothing.
"""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from enum import StrEnum
from types import MappingProxyType
from typing import Any

from accredit.kernel.codes import Code
from accredit.kernel.errors import InvalidInputError
from accredit.kernel.ids import ToolId

__all__ = [
    "ANSWERED",
    "BUILT_IN",
    "CONFIG_FILE",
    "STATISTICAL",
    "AutomaticAnswer",
    "Counter",
    "CounterScope",
    "PolicyConfig",
    "RemediationRule",
    "read_config",
    "with_mode",
]

CONFIG_FILE = "accredit.toml"
_NAME = re.compile(r"[a-z][a-z0-9_]{0,62}")
_WINDOW = re.compile(r"([1-9][0-9]{0,5})([smhd])")
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
_MAX_WINDOW_S = 7 * 86_400
_MAX_COUNTERS = 32
_MAX_TOOLS = 200
_MAX_OBSERVED = 1000
BUILT_IN = frozenset({"id", "calls", "calls_of_tool", "denied", "seconds", "since_last", "used", "data", "spend"})
"""What `context.session` always tells: no counter may take one of these names."""


class CounterScope(StrEnum):
    """Over what a counter is kept. The agent can choose neither."""

    SESSION = "session"
    TASK = "task"


@dataclass(frozen=True, slots=True)
class Counter:
    """One fact measured over an agent's calls of some tools, the call being decided and those in flight included."""

    name: str
    tools: frozenset[ToolId]
    sum: str | None = None
    """The top-level argument whose values are added up; None counts calls."""
    window_us: int | None = None
    """Calls older than this do not count any more; None: as long as the session lasts."""
    per: CounterScope = CounterScope.SESSION


STATISTICAL = frozenset(
    {"behaviour-drift", "denial-burst", "error-rise", "retry-rise", "spend-forecast", "task-mismatch"}
)
"""Kinds of alert that rest on a statistic or an estimate alone: no rule may have them stop an agent."""
ANSWERED = frozenset(
    {
        "finding-overdue",
        "first-denial",
        "ghost",
        "loop",
        "new-data-class",
        "new-destination",
        "new-hours",
        "new-tool",
        "ownerless",
        "posture-answer",
        "posture-definition",
        "posture-endpoint",
        "posture-instructions",
        "posture-model",
        "posture-prompt",
        "posture-tier",
        "posture-version",
        "review",
        "revoked-use",
        "right-lost",
        "shared-key",
        *STATISTICAL,
    }
)
"""Kinds of alert that rules can answer: all that are about an agent of ours and no mere report of somebody's."""


class AutomaticAnswer(StrEnum):
    """What a rule does, the mildest first. Each is reversible and ends by itself, or by whoever resumes the agent."""

    THROTTLE = "throttle"
    HOLD = "hold"
    READ_ONLY = "read-only"
    DROP_TOOL = "drop-tool"
    QUARANTINE = "quarantine"
    SUSPEND = "suspend"


_STOPS = frozenset({AutomaticAnswer.DROP_TOOL, AutomaticAnswer.QUARANTINE, AutomaticAnswer.SUSPEND})
_LONGEST_ANSWER_S = 7 * 86_400
_MAX_RULES = 64
_ENVIRONMENTS = frozenset({"production", "staging", "development"})
_TIERS = frozenset({"low", "medium", "high"})
_ROLES = frozenset({"security", "compliance", "team-lead", "business-owner", "operator"})
_REMEDIATION_KEYS = frozenset({"on", "tiers", "environment", "do", "calls_per_minute", "role", "for", "mode"})


@dataclass(frozen=True, slots=True)
class RemediationRule:
    """What answers an alert by itself."""

    on: frozenset[str]
    do: AutomaticAnswer
    for_s: int
    acts: bool
    """False: it only puts on record what it would have done."""
    environment: str = "production"
    tiers: frozenset[str] = _TIERS
    calls_per_minute: int | None = None
    """Of a throttle."""
    role: str | None = None
    """Of a hold: whose grant a call needs."""


@dataclass(frozen=True, slots=True)
class PolicyConfig:
    """What a policy directory sets beside its policies."""

    observe: Mapping[str, int] = field(default_factory=lambda: MappingProxyType({}))
    """Policy ids and paths of policy files that are only observed, and until when (Unix time in µs)."""
    counters: tuple[Counter, ...] = ()
    """By name."""
    remediations: tuple[RemediationRule, ...] = ()
    """As they stand there."""


def read_config(text: str) -> tuple[PolicyConfig, tuple[tuple[str, str], ...]]:
    """The settings and every fault of the text, as (message, fix)."""
    try:
        document = tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        return PolicyConfig(), ((f"is not TOML: {str(error)[:200]}", "correct the text where the parser points"),)
    faults: list[tuple[str, str]] = [
        (f"`{key[:60]}` is not known", "use [observe], [counters.NAME] and [[remediation]]")
        for key in sorted(document.keys() - _TABLES)
    ]
    observe = dict(_observed(document.get("observe", {}), faults))
    counters = tuple(_counters(document.get("counters", {}), faults))
    remediations = tuple(_remediations(document.get("remediation", []), faults))
    return PolicyConfig(MappingProxyType(observe), counters, remediations), tuple(faults)


_TABLES = {"observe", "counters", "remediation"}
_OBSERVE_TABLE = re.compile(
    r"^[ \t]*\[[ \t]*observe[ \t]*\][^\n]*\n(?:[ \t]*(?![ \t\[#])[^\n]*(?:\n|\Z))*", re.MULTILINE
)


def with_mode(text: str, name: str, until_us: int | None) -> str:
    """The text with a policy or file observed until a moment, or (None) enforced; everything else stays as it is.

    Raises:
        InvalidInputError: the text cannot be changed so with certainty.
    """
    before, faults = read_config(text)
    observe = {**before.observe}
    observe.pop(name, None)
    if until_us is not None:
        observe[name] = until_us
    lines = [
        f"{_quoted(one)} = {datetime.fromtimestamp(at // 1_000_000, UTC):%Y-%m-%dT%H:%M:%SZ}\n"
        for one, at in sorted(observe.items())
    ]
    table = "".join(["[observe]\n", *lines]) if lines else ""
    rest = _OBSERVE_TABLE.sub("", text if text.endswith("\n") or not text else f"{text}\n")
    changed = (
        f"{rest.rstrip()}\n\n{table}".lstrip() if table and rest.strip() else f"{table}{rest.strip()}".strip() + "\n"
    )
    after, more = read_config(changed)
    kept = (after.counters, after.remediations) == (before.counters, before.remediations)
    if faults or more or not kept or dict(after.observe) != observe:
        raise InvalidInputError(
            Code.POLICY_INVALID,
            f"`{CONFIG_FILE}` cannot be changed by this command as it is written",
            hint=f"change [observe] in `{CONFIG_FILE}` yourself and publish it",
        )
    return changed


def _quoted(text: str) -> str:
    """A basic string of TOML."""
    return json.dumps(text, ensure_ascii=True)


def _observed(table: Any, faults: list[tuple[str, str]]) -> Iterator[tuple[str, int]]:
    if not isinstance(table, dict) or len(table) > _MAX_OBSERVED:
        message = f"[observe] is no table of at most {_MAX_OBSERVED} entries"
        faults.append((message, 'write `"org/NAME.cedar" = MOMENT`'))
        return
    for name, moment in sorted(table.items()):
        until = datetime(moment.year, moment.month, moment.day, tzinfo=UTC) if type(moment) is date else moment
        if not isinstance(until, datetime) or until.tzinfo is None:
            faults.append((f"`{name[:120]}` is not observed until a moment", "write a date, or a time with its offset"))
            continue
        yield name, int(until.timestamp()) * 1_000_000


def _counters(tables: Any, faults: list[tuple[str, str]]) -> Iterator[Counter]:
    if not isinstance(tables, dict) or len(tables) > _MAX_COUNTERS:
        faults.append((f"there are more than {_MAX_COUNTERS} counters, or none is a table", "write `[counters.NAME]`"))
        return
    for name, table in sorted(tables.items()):
        found = _counter(name, table)
        if isinstance(found, Counter):
            yield found
        else:
            faults.append((f"counter `{name[:60]}` {found[0]}", found[1]))


def _counter(name: str, table: Any) -> Counter | tuple[str, str]:
    if not _NAME.fullmatch(name) or name in BUILT_IN:
        return "has no name that is free", "use lower-case letters, digits and `_`, and none of the facts always told"
    if not isinstance(table, dict) or not table.keys() <= {"tools", "sum", "window", "per"}:
        return "has a key that is not known", "use tools, sum, window and per"
    tools = table.get("tools")
    if not isinstance(tools, list) or not 0 < len(tools) <= _MAX_TOOLS or not all(type(one) is str for one in tools):
        return "names no tools", 'write `tools = ["server/tool"]`'
    summed, window, per = table.get("sum"), table.get("window"), table.get("per", "session")
    if summed is not None and (type(summed) is not str or not 0 < len(summed) <= 128):
        return "sums no argument", 'write `sum = "amount"`: the name of an argument'
    window_us = None
    if window is not None:
        seconds = _seconds(window)
        if not 0 < seconds <= _MAX_WINDOW_S:
            return "has no window of at most seven days", 'write `window = "1h"`: a number and s, m, h or d'
        window_us = seconds * 1_000_000
    if per == CounterScope.TASK and window_us is None:
        return "is kept over a task without a window", 'write `window = "24h"`: a task has no end that we see'
    if per not in set(CounterScope):
        return "is kept over neither a session nor a task", 'write `per = "session"` or `per = "task"`'
    return Counter(name, frozenset(ToolId(one) for one in tools), summed, window_us, CounterScope(per))


def _remediations(tables: Any, faults: list[tuple[str, str]]) -> Iterator[RemediationRule]:
    if not isinstance(tables, list) or len(tables) > _MAX_RULES:
        faults.append(
            (f"[[remediation]] is no list of at most {_MAX_RULES}", "write `[[remediation]]` before each rule")
        )
        return
    for number, table in enumerate(tables, 1):
        found = _remediation(table)
        if isinstance(found, RemediationRule):
            yield found
        else:
            faults.append((f"remediation {number} {found[0]}", found[1]))


def _remediation(table: Any) -> RemediationRule | tuple[str, str]:
    if not isinstance(table, dict) or not table.keys() <= _REMEDIATION_KEYS:
        return "has a key that is not known", f"use {', '.join(sorted(_REMEDIATION_KEYS))}"
    on = _names(table.get("on"), ANSWERED)
    if on is None:
        return (
            "answers no known kind of alert",
            f'write `on = ["{min(STATISTICAL)}"]`, or another of {", ".join(sorted(ANSWERED))}',
        )
    tiers = _names(table.get("tiers", sorted(_TIERS)), _TIERS)
    environment, do, mode = table.get("environment", "production"), table.get("do"), table.get("mode", "dry-run")
    if tiers is None or environment not in _ENVIRONMENTS:
        return "is for no known tier or environment", 'write `tiers = ["high"]`, `environment = "production"`'
    if do not in set(AutomaticAnswer) or mode not in {"dry-run", "act"}:
        return (
            "does nothing that is known",
            f'write `do = "hold"`, or another of {", ".join(AutomaticAnswer)}; `mode = "act"` or "dry-run"',
        )
    if do in _STOPS and on & STATISTICAL:
        return "stops an agent on a statistic alone", "use throttle, hold or read-only, and let people stop it"
    seconds = _seconds(table.get("for", "24h"))
    if not 0 < seconds <= _LONGEST_ANSWER_S:
        return "has no end within seven days", 'write `for = "4h"`: a number and s, m, h or d'
    slowed, role = table.get("calls_per_minute"), table.get("role")
    if (do == AutomaticAnswer.THROTTLE) is not (slowed is not None) or not (
        slowed is None or (type(slowed) is int and 0 < slowed <= 60_000)
    ):
        return (
            "has no rate, or one that it does not take",
            "a throttle, and nothing else, has `calls_per_minute`, a whole number",
        )
    if (do == AutomaticAnswer.HOLD) is not (role is not None) or not (role is None or role in _ROLES):
        return (
            "has no role, or one that it does not take",
            f"a hold, and nothing else, has a `role`: {', '.join(sorted(_ROLES))}",
        )
    return RemediationRule(on, AutomaticAnswer(do), seconds, mode == "act", environment, tiers, slowed, role)


def _names(value: Any, known: frozenset[str]) -> frozenset[str] | None:
    found = [value] if isinstance(value, str) else value
    if not isinstance(found, list) or not found or not all(isinstance(one, str) and one in known for one in found):
        return None
    return frozenset(found)


def _seconds(value: Any) -> int:
    match = _WINDOW.fullmatch(value) if type(value) is str else None
    return int(match[1]) * _UNITS[match[2]] if match else 0
