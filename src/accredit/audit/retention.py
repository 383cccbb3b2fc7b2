"""How long each class of record is kept, from the schedule and what the operator says of it. Pure.

Of all minimums in force the longest counts; a maximum in force is a privacy rule and caps it. An operator may keep
longer, or shorter down to the minimum, and never beyond the cap.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from importlib import resources
from typing import Any, Final

import yaml

from accredit.kernel.codes import Code
from accredit.kernel.errors import InvalidInputError

__all__ = [
    "Expiry",
    "KeptFor",
    "RecordClass",
    "Rule",
    "Schedule",
    "class_of",
    "kept",
    "the_schedule",
]

ALWAYS: Final = "always"
_MAX_FILE: Final = 65_536


class Expiry(StrEnum):
    """What goes when the time is over."""

    PARTS = "parts"
    NEVER = "never"


@dataclass(frozen=True, slots=True)
class Rule:
    """What one framework asks of a class."""

    framework: str
    source: str
    minimum: int | None = None
    maximum: int | None = None


@dataclass(frozen=True, slots=True)
class RecordClass:
    """One line of the schedule; times in days."""

    name: str
    what: str
    expires: Expiry
    kinds: frozenset[str]
    default: int
    minimum: int
    maximum: int | None
    rules: tuple[Rule, ...]


@dataclass(frozen=True, slots=True)
class Schedule:
    """The lines, and what the operator says: which frameworks are in force, and days of their own by class."""

    classes: tuple[RecordClass, ...]
    frameworks: frozenset[str] = frozenset()
    days: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class KeptFor:
    """How long a class is kept, between which bounds, and what says so."""

    days: int
    minimum: int
    maximum: int | None
    because: tuple[str, ...]


def kept(one: RecordClass, schedule: Schedule) -> KeptFor:
    """How long.

    Raises:
        InvalidInputError: the operator's own days are not between the bounds.
    """
    in_force = [rule for rule in one.rules if rule.framework == ALWAYS or rule.framework in schedule.frameworks]
    minimum = max([one.minimum, *(rule.minimum for rule in in_force if rule.minimum is not None)])
    caps = [rule.maximum for rule in in_force if rule.maximum is not None]
    maximum = min([*caps, *([one.maximum] if one.maximum is not None else [])], default=None)
    if maximum is not None:
        minimum = min(minimum, maximum)  # a privacy rule beats what would be kept longer
    own = schedule.days.get(one.name)
    if own is not None and not (minimum <= own and (maximum is None or own <= maximum)):
        upper = "any number of" if maximum is None else f"at most {maximum}"
        raise InvalidInputError(
            Code.SETTING_INVALID, f"`{one.name}` is kept at least {minimum} and {upper} days, not {own}",
            hint="see `accredit retention show`",
        )  # fmt: skip
    days = max(one.default, minimum) if own is None else own
    if maximum is not None:
        days = min(days, maximum)
    because = [rule.source for rule in in_force if days in {rule.minimum, rule.maximum}]
    if own is not None:
        because.insert(0, "the operator's file")
    return KeptFor(days, minimum, maximum, tuple(because or ["the default"]))


def class_of(kind: str, schedule: Schedule) -> RecordClass:
    """The class that the parts of a record of this kind, which is not control, belong to."""
    expiring = [one for one in schedule.classes if one.expires is Expiry.PARTS]
    return next((one for one in expiring if kind in one.kinds), next(one for one in expiring if not one.kinds))


def the_schedule(own: bytes | None = None) -> Schedule:
    """The schedule that comes with this release, with what an operator's file says of it.

    Raises:
        InvalidInputError: the file is no YAML, or says what it may not.
    """
    shipped = resources.files("accredit.audit").joinpath("retention.yaml").read_bytes()
    schedule = _shipped(yaml.safe_load(shipped))
    if own is None:
        return schedule
    try:
        said = yaml.safe_load(own[:_MAX_FILE])
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError) as error:
        raise _wrong("it is no YAML") from error
    return _with_own(schedule, said)


def _shipped(doc: Mapping[str, Any]) -> Schedule:
    """The schedule that comes with this release: its form is checked by its tests."""
    return Schedule(
        tuple(
            RecordClass(
                name,
                one["what"],
                Expiry(one["expires"]),
                frozenset(one.get("kinds", ())),
                one["default"],
                one["minimum"],
                one.get("maximum"),
                tuple(Rule(**rule) for rule in one["rules"]),
            )
            for name, one in doc["classes"].items()
        )
    )


def _with_own(schedule: Schedule, doc: Any) -> Schedule:
    """The same with what an operator's file says: `frameworks: [...]` and `days: {class: days}`.

    Raises:
        InvalidInputError: it says something else, names what is not there, or days beyond the bounds.
    """
    known = {one.name for one in schedule.classes}
    named = {rule.framework for one in schedule.classes for rule in one.rules} - {ALWAYS}
    if not isinstance(doc, dict) or not doc.keys() <= {"frameworks", "days"}:
        raise _wrong("it has only `frameworks` and `days`")
    frameworks, days = doc.get("frameworks", []), doc.get("days", {})
    if not isinstance(frameworks, list) or not all(isinstance(one, str) and one in named for one in frameworks):
        raise _wrong(f"`frameworks` is a list of {', '.join(sorted(named))}")
    if not isinstance(days, dict) or not all(one in known and type(count) is int for one, count in days.items()):
        raise _wrong(f"`days` gives whole days to {', '.join(sorted(known))}")
    own = Schedule(schedule.classes, frozenset(frameworks), days)
    for one in own.classes:
        kept(one, own)
    return own


def _wrong(what: str) -> InvalidInputError:
    return InvalidInputError(Code.SETTING_INVALID, f"the file of `retention_file` is not of its form: {what}")
