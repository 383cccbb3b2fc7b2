"""How values are shown in answers: plain data, times as text, nothing secret."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Generic, TypeVar

from accredit.kernel.money import Money

__all__ = ["Items", "dated", "moment", "money", "optional_moment"]

_T = TypeVar("_T")
_TIME = "_us"


@dataclass(frozen=True, slots=True)
class Items(Generic[_T]):
    """A list, or a page of one."""

    items: list[_T]
    next: str | None = None
    """From where to go on (`after`; for records `before`); None: that was all."""


def moment(wall_us: int) -> str:
    """ISO 8601 in UTC."""
    return datetime.fromtimestamp(wall_us / 1_000_000, UTC).isoformat(timespec="milliseconds")


def optional_moment(wall_us: int | None) -> str | None:
    """The same of a time that may not have come."""
    return None if wall_us is None else moment(wall_us)


def money(amount: Money | None) -> str | None:
    """An amount with its currency."""
    return None if amount is None else str(amount)


def dated(value: Any) -> Any:
    """A document as JSON data, each time in it (`at_us`) as text under the plain name (`at`)."""
    if isinstance(value, Mapping):
        return {
            key.removesuffix(_TIME): optional_moment(one) if _is_time(key, one) else dated(one)
            for key, one in value.items()
        }
    if isinstance(value, (list, tuple)):
        return [dated(one) for one in value]
    return value


def _is_time(key: str, value: object) -> bool:
    return key.endswith(_TIME) and (value is None or type(value) is int)
