"""`accredit.toml` of a policy directory: what is set about its policies as a whole, and published with them.

`[observe]` names files, or single policies by id, each with a moment: until then these are evaluated beside the
enforced policies and change nothing, from then on they are enforced.

`[counters.NAME]` declares a fact that is measured by us and read as `context.session.NAME`: over the calls of `tools`,
the sum of the argument `sum` (without it, how many), within `window` (such as `"1h"`; without it as long as the session
lasts), `per` session or task; a task needs a window.
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

__all__ = ["BUILT_IN", "CONFIG_FILE", "Counter", "CounterScope", "PolicyConfig", "read_config", "with_mode"]

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


@dataclass(frozen=True, slots=True)
class PolicyConfig:
    """What a policy directory sets beside its policies."""

    observe: Mapping[str, int] = field(default_factory=lambda: MappingProxyType({}))
    """Policy ids and paths of policy files that are only observed, and until when (Unix time in µs)."""
    counters: tuple[Counter, ...] = ()
    """By name."""


def read_config(text: str) -> tuple[PolicyConfig, tuple[tuple[str, str], ...]]:
    """The settings and every fault of the text, as (message, fix)."""
    try:
        document = tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        return PolicyConfig(), ((f"is not TOML: {str(error)[:200]}", "correct the text where the parser points"),)
    faults: list[tuple[str, str]] = [
        (f"`{key[:60]}` is not known", "use [observe] and [counters.NAME]") for key in sorted(document.keys() - _TABLES)
    ]
    observe = dict(_observed(document.get("observe", {}), faults))
    counters = tuple(_counters(document.get("counters", {}), faults))
    return PolicyConfig(MappingProxyType(observe), counters), tuple(faults)


_TABLES = {"observe", "counters"}
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
    if faults or more or after.counters != before.counters or dict(after.observe) != observe:
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
        match = _WINDOW.fullmatch(window) if type(window) is str else None
        seconds = int(match[1]) * _UNITS[match[2]] if match else 0
        if not 0 < seconds <= _MAX_WINDOW_S:
            return "has no window of at most seven days", 'write `window = "1h"`: a number and s, m, h or d'
        window_us = seconds * 1_000_000
    if per == CounterScope.TASK and window_us is None:
        return "is kept over a task without a window", 'write `window = "24h"`: a task has no end that we see'
    if per not in set(CounterScope):
        return "is kept over neither a session nor a task", 'write `per = "session"` or `per = "task"`'
    return Counter(name, frozenset(ToolId(one) for one in tools), summed, window_us, CounterScope(per))
