"""The built-in detector as scans of stores ask for it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

from accredit.kernel.detector import LOCALES, Detector, Sensitive

__all__ = ["BuiltInDetector"]

_MOST: Final = 1_100_000
"""Characters of one item that are looked at: all that an adapter reads, and its fields."""


class BuiltInDetector:
    """`kernel.detector` behind the port `FindsPersonal`."""

    name = "built-in"

    def __init__(self, locales: Iterable[str] = tuple(LOCALES)) -> None:
        """`locales` are the countries whose own identifiers are looked for."""
        self._detector = Detector(most_text=_MOST, locales=locales)

    def seen(self, text: str) -> tuple[Mapping[str, int], bool]:
        found = self._detector.count(text)
        return {kind.value: count for kind, count in found.counts.items()}, found.whole

    def data_class(self, kind: str) -> str:
        return Sensitive(kind).data_class
