"""What an agent was seen to do in the last days, and what of it counts against what is registered of it. Pure.

One sighting proves little: a number in a text may look like a card. So a data class counts once its values passed their
check digits three times, or belonged to two different persons; what is less is shown for somebody to look at. What
counts is judged against a version: what a mask takes away now, and a tool that is not granted any more, were seen and
are over. INVARIANT: what was observed is added to what is registered, and takes nothing away.

Follows research/compliance-lifecycle.md §5, "Under-reporting".
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any, Final

from accredit.kernel.ids import AgentId, ToolId
from accredit.registry.model import AgentVersion
from accredit.registry.tiering import GrantedTool, RiskFacts, data_level, levels_of

__all__ = [
    "CHECKED_HITS",
    "CONSEQUENTIAL",
    "DIFFERENT_SUBJECTS",
    "NOTHING_OBSERVED",
    "WINDOW_DAYS",
    "FactorSeen",
    "ObservedRisk",
    "ObservedUse",
    "SeenClass",
    "Sighted",
    "UsedCaller",
    "UsedTool",
    "factors_seen",
    "observed_risk",
    "reach_shown",
    "told_of",
    "with_observed",
]

WINDOW_DAYS: Final = (14, 30)
"""The last days that are looked at, today among them. What counts in the longer window raises a tier; the shorter one
says whether it is still so."""
CHECKED_HITS: Final = 3
DIFFERENT_SUBJECTS: Final = 2
_HANDED_ON: Final = 3
"""So many pieces of work from an agent make it one that this one hears from."""
_ALONE: Final = 3
"""So many calls that change things for others, none of them decided by a person, are no accident."""
_USERS: Final = ((250, 3), (25, 2), (2, 1))
"""At least so many users show at least this reach."""
CONSEQUENTIAL: Final = 3
"""From this effect on a call changes something for others."""


class Sighted(StrEnum):
    """How much a data class that was found in results proves."""

    COUNTS = "counts"
    ONCE = "once"
    """Too little to act on: somebody should look."""


@dataclass(frozen=True, slots=True)
class SeenClass:
    """A data class in what tools and models answered an agent."""

    data_class: str
    checked: int
    """Values whose check digits were right."""
    subjects: int
    """Different persons it was about, at least: different values in one result, or different tasks and users."""
    places: tuple[tuple[str, ToolId], ...]
    """(Version of the agent, tool or model) it came by."""
    records: tuple[int, ...]
    """Some of the records that show it, newest last."""

    @property
    def sighted(self) -> Sighted:
        """Whether it counts."""
        enough = self.checked >= CHECKED_HITS or self.subjects >= DIFFERENT_SUBJECTS
        return Sighted.COUNTS if enough else Sighted.ONCE


@dataclass(frozen=True, slots=True)
class UsedTool:
    """What an agent did with one tool under one version."""

    version: str
    tool: ToolId
    level: int
    """Its effect from 1 to 4, as it was registered when it was called."""
    executed: int
    """Calls that were sent."""
    alone: int
    """Consequential calls let through without anybody deciding on them."""
    attended: int
    """Consequential calls that a person granted."""
    records: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class UsedCaller:
    """An agent that handed work on to this one, at any place of the chain."""

    agent: AgentId
    times: int
    records: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class ObservedUse:
    """Everything that counts about what one agent did in some days."""

    days: int
    data: tuple[SeenClass, ...] = ()
    tools: tuple[UsedTool, ...] = ()
    callers: tuple[UsedCaller, ...] = ()
    users: int = 0
    """Different verified users, at least."""
    in_part: bool = False
    """There was more than is kept of one agent."""


@dataclass(frozen=True, slots=True)
class ObservedRisk:
    """What of it counts for a tier: no counts and no records, so it is the same until that changes."""

    data: frozenset[tuple[str, ToolId, str]] = frozenset()
    """(Version, tool or model, data class)."""
    callers: frozenset[AgentId] = frozenset()
    reach: int = 0


NOTHING_OBSERVED: Final = ObservedRisk()


def observed_risk(use: ObservedUse) -> ObservedRisk:
    """What of an agent's use counts."""
    return ObservedRisk(
        frozenset(
            (version, tool, one.data_class)
            for one in use.data
            if one.sighted is Sighted.COUNTS
            for version, tool in one.places
        ),
        frozenset(one.agent for one in use.callers if one.times >= _HANDED_ON),
        reach_shown(use.users),
    )


def reach_shown(users: int) -> int:
    """The reach that so many different users show at least."""
    return next((level for least, level in _USERS if users >= least), 0)


def with_observed(
    facts: RiskFacts,
    version: AgentVersion,
    seen: ObservedRisk,
    exposures: Callable[[AgentId], int] = lambda _: 0,
) -> RiskFacts:
    """The facts of a version with what was observed of its agent; `exposures` knows who other agents hear from.

    Of effects what is granted counts, used or not: no call passes without a grant, so nothing more can be observed.
    """
    if seen == NOTHING_OBSERVED:
        return facts
    models = {grant.tool for grant in version.models}
    return replace(
        facts,
        tools=tuple(replace(tool, seen=tool.seen | frozenset(_reaching(tool, version, seen))) for tool in facts.tools),
        answered=facts.answered | {kind for _, where, kind in seen.data if where in models},
        heard_from=max((facts.heard_from, *map(exposures, seen.callers))),
        served=max(facts.served, seen.reach),
    )


def _reaching(tool: GrantedTool, version: AgentVersion, seen: ObservedRisk) -> Iterator[str]:
    """Classes that it was seen to carry, and that nothing enforced keeps from reaching the agent now."""
    for under, name, kind in seen.data:
        # a mask that came with another version is a control; what got past this version's own is not held by it
        if name == tool.tool and not tool.closed and (under == version.digest or kind not in tool.masked):
            yield kind


def told_of(facts: RiskFacts) -> tuple[str, ...]:
    """In plain words, what of the facts was observed and is not registered; a bounded number."""
    granted = [(tool, kind) for tool in facts.tools for kind in sorted(tool.seen - facts.declared - tool.data)]
    words = [f"`{tool.tool}` carried `{kind}`" for tool, kind in granted]
    words += [f"its models answered `{kind}`" for kind in sorted(facts.answered - facts.declared)]
    said = levels_of(replace(facts, heard_from=0, served=0))
    if facts.heard_from > said.exposure:
        words.append(f"agents of exposure {facts.heard_from} handed work on to it")
    if facts.served > said.reach:
        words.append(f"its users are those of reach {facts.served}")
    if facts.workflow is not None:
        words.append(f"what it does one work with comes to tier {facts.workflow} together")
    return tuple(words[:_SHOWN])


# -- the explanation


@dataclass(frozen=True, slots=True)
class FactorSeen:
    """One factor as it is declared and enforced, against what was observed."""

    name: str
    declared: int
    observed: int | None
    """None: nothing was seen that says anything of it."""
    evidence: tuple[str, ...]
    """In plain words."""
    records: tuple[int, ...]
    """Of the log: some that show it."""

    @property
    def higher(self) -> bool:
        """Whether more was observed than is declared."""
        return self.observed is not None and self.observed > self.declared

    def document(self) -> dict[str, Any]:
        """Ready for JSON."""
        return {
            "declared": self.declared,
            "evidence": list(self.evidence),
            "higher": self.higher,
            "name": self.name,
            "observed": self.observed,
            "records": list(self.records),
        }


def factors_seen(
    registered: RiskFacts, use: ObservedUse, exposures: Callable[[AgentId], int] = lambda _: 0
) -> tuple[FactorSeen, ...]:
    """Each factor: what is `registered` without anything observed, against the use of some days."""
    levels = levels_of(registered)
    declared = dict(zip(("data", "effect", "autonomy", "exposure", "reach"), levels.vector, strict=True))
    told: Mapping[str, Iterable[tuple[int, str, tuple[int, ...]]]] = {
        "data": _data(use),
        "effect": _effects(use),
        "autonomy": _autonomy(use),
        "exposure": (
            (exposures(one.agent), f"`{one.agent}` handed work on to it {one.times} times", one.records)
            for one in use.callers
            if one.times >= _HANDED_ON
        ),
        "reach": [(reach_shown(use.users), f"users: at least {use.users}", ())] if use.users else (),
    }
    return tuple(_factor(name, declared[name], list(told[name])) for name in declared)


def _factor(name: str, declared: int, told: list[tuple[int, str, tuple[int, ...]]]) -> FactorSeen:
    top = max((level for level, _, _ in told), default=None)
    shown = [one for one in told if one[0] == top][:_SHOWN]
    records = sorted({record for _, _, found in shown for record in found})[-_SHOWN:]
    return FactorSeen(name, declared, top, tuple(words for _, words, _ in shown), tuple(records))


_SHOWN: Final = 12


def _data(use: ObservedUse) -> Iterator[tuple[int, str, tuple[int, ...]]]:
    for one in use.data:
        if one.sighted is Sighted.COUNTS:
            tools = ", ".join(f"`{name}`" for name in sorted({tool for _, tool in one.places})[:_SHOWN])
            how = f"{one.checked} checked values, at least {one.subjects} subjects"
            yield data_level(one.data_class), f"`{one.data_class}` by {tools}: {how}", one.records


def _effects(use: ObservedUse) -> Iterator[tuple[int, str, tuple[int, ...]]]:
    for one in use.tools:
        if one.executed:
            yield one.level, f"`{one.tool}` was executed {one.executed} times", one.records


def _autonomy(use: ObservedUse) -> Iterator[tuple[int, str, tuple[int, ...]]]:
    """One minus the share of the calls that matter on which a person decided; a few of them may be an accident."""
    acting = [one for one in use.tools if one.level >= CONSEQUENTIAL]
    alone, attended = sum(one.alone for one in acting), sum(one.attended for one in acting)
    if alone + attended:
        share = 100 * alone // (alone + attended)
        words = f"{alone} of {alone + attended} consequential calls ({share} %) without a person"
        records = tuple(sorted(record for one in acting if one.alone for record in one.records)[-_SHOWN:])
        yield (3 if alone >= _ALONE else 2), words, records
