"""What two runs of the same checks say, where they differ, and which differences are known. Pure.

`differences.toml` is the list of the known ones. Each entry names a target, scenarios and one reason; it must be seen
in a run, or it is stale. docs/divergences.md shows the list; a test keeps both equal.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

__all__ = ["Check", "Difference", "Known", "Outcome", "compared", "judged", "known_of", "rows_of"]


@dataclass(frozen=True, slots=True)
class Check:
    """One check of a scenario and how it came out."""

    id: str
    name: str
    status: str
    said: str = ""


Outcome = Mapping[str, Sequence[Check]]
"""Scenario -> its checks."""


@dataclass(frozen=True, slots=True)
class Difference:
    """One check that came out differently."""

    target: str
    scenario: str
    check: str
    direct: str
    through: str
    said: str

    def __str__(self) -> str:
        return f"{self.target}: {self.scenario}: {self.check}: {self.direct} -> {self.through} ({self.said})"


@dataclass(frozen=True, slots=True)
class Known:
    """A difference that is meant, or that goes with a piece of work that is not there yet."""

    target: str
    """The tool server, whatever the kit."""
    scenarios: tuple[str, ...]
    reason: str
    checks: tuple[str, ...] = ()
    """Ids of the checks meant; empty: all of the scenarios."""
    pending: str = ""
    """What it goes with; empty: it stays."""
    better: bool = False
    """The gateway passes what the server itself does not."""

    def covers(self, difference: Difference) -> bool:
        """Whether this is that difference."""
        return (
            difference.target.partition(",")[0] == self.target
            and difference.scenario in self.scenarios
            and (not self.checks or difference.check in self.checks)
            and (not self.better or difference.through == "SUCCESS")
        )


def known_of(text: str) -> tuple[Known, ...]:
    """Read the list.

    Raises:
        ValueError: an entry has a key that is not one, or names no scenario or reason.
    """
    found = []
    for entry in tomllib.loads(text)["difference"]:
        named: dict[str, Any] = {**entry, **{key: tuple(entry.get(key, ())) for key in ("scenarios", "checks")}}
        try:
            known = Known(**named)
        except TypeError as error:
            raise ValueError(f"not an entry: {entry}") from error
        if not (known.scenarios and known.reason and known.target):
            raise ValueError(f"incomplete: {entry}")
        found.append(known)
    return tuple(found)


def rows_of(known: Iterable[Known]) -> list[str]:
    """The rows of the document, one an entry."""
    rows = []
    for one in known:
        which = ", ".join(f"`{name}`" for name in one.scenarios)
        checks = f" (checks {', '.join(f'`{name}`' for name in one.checks)})" if one.checks else ""
        until = f"; goes with {one.pending}" if one.pending else ""
        rows.append(f"| {one.target} | {which}{checks} | {one.reason}{until} |")
    return rows


def _statuses(checks: Iterable[Check]) -> dict[str, list[Check]]:
    by_id: dict[str, list[Check]] = {}
    for check in checks:
        if check.status != "INFO":  # what was sent and received, for a reader
            by_id.setdefault(check.id, []).append(check)
    return by_id


def compared(target: str, direct: Outcome, through: Outcome) -> list[Difference]:
    """Every check whose results are not the same ones, as many times and in the same order."""
    found = []
    for scenario in sorted({*direct, *through}):
        here, there = _statuses(direct.get(scenario, ())), _statuses(through.get(scenario, ()))
        for check in sorted({*here, *there}):
            one, other = here.get(check, []), there.get(check, [])
            if [(each.name, each.status) for each in one] == [(each.name, each.status) for each in other]:
                continue
            said = next((each.said for each in (*other, *one) if each.status not in {"SUCCESS", "SKIPPED"}), "")
            found.append(
                Difference(target, scenario, check, _summed(one), _summed(other), said.replace("\n", " ")[:160])
            )
    return found


def _summed(checks: Sequence[Check]) -> str:
    """One word for the results of one check: the worst."""
    worst = ("FAILURE", "WARNING", "SKIPPED", "SUCCESS")
    return min((check.status for check in checks), key=worst.index, default="absent")


def judged(differences: Sequence[Difference], known: Sequence[Known]) -> tuple[list[Difference], list[str]]:
    """The differences nobody knows of, and what the list says that was not seen."""
    unknown = [one for one in differences if not any(entry.covers(one) for entry in known)]
    stale = [
        f"{entry.target}: {scenario}: {entry.reason}"
        for entry in known
        for scenario in entry.scenarios
        if not any(one.scenario == scenario and entry.covers(one) for one in differences)
    ]
    return unknown, stale
