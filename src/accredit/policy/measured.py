"""The facts measured by us, as types: what `context.session`, `context.instance` and `context.origin` hold.

Counters are declared by a release (`config.py`); an argument that is summed has one numeric type over all tools of its
counter, and that is the type of the sum.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from decimal import Decimal
from typing import Any, Final

from accredit.kernel.codes import Code
from accredit.kernel.errors import InvalidInputError
from accredit.kernel.ids import ToolId
from accredit.policy.arguments import ArgumentKind, ArgumentType, input_type
from accredit.policy.config import Counter
from accredit.registry.model import Tool

__all__ = [
    "INSTANCE_TYPE",
    "ORIGINS",
    "amount_of",
    "counter_faults",
    "counter_kind",
    "fact_of",
    "nothing_measured",
    "session_type",
]

ORIGINS: Final = ("constant", "tool_result", "unknown", "user_declared", "user_verified")
"""What `context.origin.<argument>` may say."""
_LONG: Final = ArgumentType(ArgumentKind.LONG)
_STRING: Final = ArgumentType(ArgumentKind.STRING)
_STRINGS: Final = ArgumentType(ArgumentKind.SET, element=_STRING)
_SESSION: Final[Mapping[str, ArgumentType]] = {
    "calls": _LONG,
    "calls_of_tool": _LONG,
    "data": _STRINGS,
    "denied": _LONG,
    "id": _STRING,
    "seconds": _LONG,
    "since_last": _LONG,
    "spend": ArgumentType(ArgumentKind.DECIMAL),
    "used": _STRINGS,
}
_OPTIONAL: Final = frozenset({"since_last"})
INSTANCE_TYPE: Final = ArgumentType(
    ArgumentKind.RECORD, fields={"calls": _LONG, "data": _STRINGS}, required=frozenset({"calls", "data"})
)
_PLACES: Final = Decimal("0.0001")
_LARGEST: Final = Decimal("922337203685477.5807")


def nothing_measured(measured: ArgumentType) -> dict[str, Any]:
    """The facts of that type before anything happened."""
    zero: Mapping[ArgumentKind, Any] = {
        ArgumentKind.LONG: 0,
        ArgumentKind.SET: [],
        ArgumentKind.STRING: "",
        ArgumentKind.DECIMAL: fact_of(Decimal(0)),
    }
    return {name: zero[measured.fields[name].kind] for name in sorted(measured.required)}


def counter_kind(counter: Counter, tools: Mapping[ToolId, Tool]) -> ArgumentKind | None:
    """`Long` or `decimal`; None if the counter's tools disagree, or the argument is no number at one of them."""
    if counter.sum is None:
        return ArgumentKind.LONG
    kinds = set()
    for name in counter.tools:
        tool = tools.get(name)
        declared = input_type(tool.definition).fields.get(counter.sum) if tool is not None else None
        kinds.add(declared.kind if declared is not None else None)
    found = kinds.pop() if len(kinds) == 1 else None
    return found if found in {ArgumentKind.LONG, ArgumentKind.DECIMAL} else None


def counter_faults(counters: Iterable[Counter], tools: Mapping[ToolId, Tool]) -> Iterator[tuple[str, str]]:
    """What is wrong with counters where these tools are registered: (message, fix)."""
    for counter in counters:
        for name in sorted(counter.tools - tools.keys()):
            yield f"counter `{counter.name}` is over `{name[:120]}`, which is not registered", "name a registered tool"
        if counter.tools <= tools.keys() and counter_kind(counter, tools) is None:
            yield (
                f"counter `{counter.name}` sums `{counter.sum}`, which is not one kind of number at all its tools",
                "sum an argument whose schema says `integer` or `number`, the same at each of them",
            )


def session_type(counters: Iterable[Counter], tools: Mapping[ToolId, Tool]) -> ArgumentType:
    """The type of `context.session` under these counters. All of it is always there but `since_last`."""
    fields = dict(_SESSION)
    for counter in counters:
        kind = counter_kind(counter, tools)
        if kind is not None:
            fields[counter.name] = ArgumentType(kind)
    return ArgumentType(ArgumentKind.RECORD, fields=fields, required=frozenset(fields) - _OPTIONAL)


def amount_of(counter: Counter, arguments: Mapping[str, Any]) -> Decimal:
    """What one call adds to a counter.

    Raises:
        InvalidInputError: the argument is no number that fits exactly; such a call cannot be counted, so it is refused.
    """
    if counter.sum is None:
        return Decimal(1)
    value = arguments.get(counter.sum)
    if value is None:
        return Decimal(0)
    amount = Decimal(repr(value)) if type(value) in {int, float} else None
    if amount is None or not amount.is_finite() or abs(amount) > _LARGEST or amount != amount.quantize(_PLACES):
        raise InvalidInputError(
            Code.UNENCODABLE_INPUT, f"`input.{counter.sum[:80]}` cannot be counted: it fits no decimal of four places"
        )
    return amount


def fact_of(total: Decimal) -> int | float:
    """A total as the context carries it: whole numbers as integers, others as the shortest number of the same value.

    Raises:
        InvalidInputError: it does not fit exactly.
    """
    if total == total.to_integral_value() and abs(total) < 2**53:
        return int(total)
    shown = float(total)
    if Decimal(repr(shown)) != total:
        raise InvalidInputError(Code.UNENCODABLE_INPUT, "a counter's total fits no number exactly")
    return shown
