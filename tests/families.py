"""Families of slow cases: every run has some of them, `make thorough` the others."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import pytest

__all__ = ["family"]


def family(cases: Iterable[Any], always: Callable[[Any], bool]) -> list[Any]:
    """The cases as parameters; those that are not for every run are marked."""
    return [
        case
        if always(case)
        else pytest.param(*(case if isinstance(case, tuple) else (case,)), marks=pytest.mark.thorough)
        for case in cases
    ]
