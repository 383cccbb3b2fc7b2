"""Small pictures in pages: numbers drawn as SVG, each with the same in words. Everything in one is a number of ours."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

from markupsafe import Markup

from accredit.kernel.legible import visible

__all__ = ["bar", "line"]

_WIDE, _HIGH = 240, 48
_BAR_WIDE, _BAR_HIGH = 120, 10
_EDGE: Final = 2


def line(numbers: Sequence[float], threshold: float | None, what: str) -> Markup:
    """Numbers from left to right, with a level that they are held against; nothing of fewer than two."""
    drawn = [max(number, 0.0) for number in numbers if math.isfinite(number)]
    if len(drawn) < 2:
        return Markup("")
    level = threshold if threshold is not None and math.isfinite(threshold) and threshold > 0 else None
    top = max(*drawn, level or 0.0, 1e-9)
    step = (_WIDE - 2 * _EDGE) / (len(drawn) - 1)
    points = " ".join(f"{_EDGE + at * step:.1f},{_height(number, top):.1f}" for at, number in enumerate(drawn))
    mark = Markup("")
    if level is not None:
        high = f"{_height(level, top):.1f}"
        mark = Markup(
            '<line class="level" x1="0" y1="{}" x2="{}" y2="{}" stroke="currentColor" stroke-dasharray="4 3"/>'
        ).format(high, _WIDE, high)
    said = f"{what}: {drawn[0]:.3g} to {drawn[-1]:.3g} over {len(drawn)} sessions, at most {max(drawn):.3g}"
    said += f", threshold {level:.3g}" if level is not None else ""
    return Markup(
        '<svg class="plot" role="img" aria-label="{}" viewBox="0 0 {} {}" width="{}" height="{}">{}'
        '<polyline points="{}" fill="none" stroke="currentColor" stroke-width="2"/></svg>'
    ).format(visible(said), _WIDE, _HIGH, _WIDE, _HIGH, mark, points)


def bar(number: float, most: float | None, what: str) -> Markup:
    """How far a number is on the way to another."""
    share = min(max(number, 0.0) / most, 1.0) if most and math.isfinite(number) and most > 0 else 0.0
    return Markup(
        '<svg class="plot" role="img" aria-label="{}" viewBox="0 0 {} {}" width="{}" height="{}">'
        '<rect width="{:.1f}" height="{}" fill="currentColor"/></svg>'
    ).format(visible(f"{what}: {number:.3g}"), _BAR_WIDE, _BAR_HIGH, _BAR_WIDE, _BAR_HIGH, share * _BAR_WIDE, _BAR_HIGH)


def _height(number: float, top: float) -> float:
    return _HIGH - _EDGE - number / top * (_HIGH - 2 * _EDGE)
