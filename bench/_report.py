"""The last line every bench prints."""

from __future__ import annotations

import json
from collections.abc import Mapping

__all__ = ["report"]


def report(name: str, metrics: Mapping[str, float | int]) -> None:
    """Print the figures as one JSON line, rounded to what can be meant."""
    print(json.dumps({"bench": name, "metrics": {key: round(value, 4) for key, value in metrics.items()}}), flush=True)
