"""What agents cost."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from cyclopts import App, Parameter

from accredit.cli.asking import TABLE, Out, client, shown
from accredit.cli.output import Parts
from accredit.monitoring.costs import CostBy

__all__ = ["app"]

app = App()
cost = App(name="cost", help="What agents cost, and what the month will come to.")
app.command(cost)
_PARTS: Parts = {"rows": ("name", "calls", "errors", "cost"), "unusual": ("day", "cost", "usual")}
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


@cost.command(name="show")
def _cost_show(
    *, month: str | None = None, by: CostBy = CostBy.AGENT, agent: str | None = None, output: Out = TABLE
) -> None:
    """Show what a month cost so far, what it will come to, and days unlike the others.

    Args:
        month: Such as 2026-11; this one if left out.
        by: agent, team, tool or day.
        agent: One agent alone.
    """
    with client() as api:
        shown(api, api.get("/api/v1/costs", month=month, by=by.value, agent=agent), output, parts=_PARTS)


@cost.command(name="export")
def _cost_export(
    *,
    month: str | None = None,
    by: CostBy = CostBy.AGENT,
    form: Annotated[Literal["csv", "json"], Parameter(name="--format")] = "csv",
    file: Path | None = None,
) -> None:
    """Write a month's costs for whoever charges them on; the last row of CSV is the total.

    Args:
        month: Such as 2026-11; this one if left out.
        by: agent, team, tool or day.
        form: csv or json.
        file: Where to; stdout if left out.
    """
    with client() as api:
        found = api.get("/api/v1/costs", month=month, by=by.value)
    text = json.dumps(found, indent=2) + "\n" if form == "json" else _csv(found)
    if file is None:
        print(text, end="")
    else:
        file.write_text(text, encoding="utf-8")


def _csv(found: Mapping[str, Any]) -> str:
    out = io.StringIO()
    rows = csv.writer(out, lineterminator="\n")
    rows.writerow(["month", found["by"], "name", "calls", "errors", "cost"])
    for row in found["rows"]:
        rows.writerow([found["month"], *[_cell(row[name]) for name in ("key", "name", "calls", "errors", "cost")]])
    calls, errors = (sum(row[name] for row in found["rows"]) for name in ("calls", "errors"))
    rows.writerow([found["month"], "", "total", calls, errors, found["total"]])
    return out.getvalue()


def _cell(value: object) -> object:
    """What a spreadsheet would take for a formula is text."""
    return f"'{value}" if isinstance(value, str) and value.startswith(_FORMULA) else value
