"""Families of slow cases: every run has some of them, `make thorough` the others."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import pytest

__all__ = ["every_third", "family"]


def family(cases: Iterable[Any], always: Callable[[Any], bool]) -> list[Any]:
    """The cases as parameters; those that are not for every run are marked."""
    return [case if always(case) else _left(case) for case in cases]


def every_third(cases: Iterable[Any]) -> list[Any]:
    """The same, where none of the cases is more than the others: the first, fourth, seventh... are for every run."""
    return [_left(case) if number % 3 else case for number, case in enumerate(cases)]


def _left(case: Any) -> Any:
    return pytest.param(*(case if isinstance(case, tuple) else (case,)), marks=pytest.mark.thorough)
