"""Promises of the tier under observation."""

from __future__ import annotations

from tests.requirements import Requirement

_SOURCE = "issue 6 §4"
REQUIREMENTS: tuple[Requirement, ...] = (
    Requirement("observed:raises", _SOURCE, "What is observed can raise a factor and lowers none."),
    Requirement("observed:counts", _SOURCE, "A data class counts by checked values or different subjects, else not."),
    Requirement("observed:over", _SOURCE, "What is masked, closed or not granted any more does not count any more."),
    Requirement("observed:executed", _SOURCE, "Of effects what is granted counts; what was executed is shown."),
    Requirement("observed:exposure", _SOURCE, "Work that is handed on brings the exposure of whoever had it before."),
    Requirement("observed:reach", _SOURCE, "The number of users shows a reach, and is never counted too high."),
    Requirement("observed:explained", _SOURCE, "Declared and observed stand side by side, by factor, with records."),
    Requirement("observed:together", _SOURCE, "An aggregate comes to no less than each of its parts."),
    Requirement("observed:split", _SOURCE, "Work that is split over low agents is held to the tier of the whole."),
    Requirement("observed:folded", _SOURCE, "What was observed is the same however the log was read, and bounded."),
    Requirement("observed:restart", _SOURCE, "A start takes nothing back that was observed before it."),
    Requirement("observed:answered", _SOURCE, "More than declared: held at once, found, told of, then suspended."),
    Requirement("observed:reminded", _SOURCE, "Whoever owns a risen agent is told at once, at 50 % and at 80 %."),
    Requirement("observed:triage", _SOURCE, "What was seen once is for people to look at, and raises nothing."),
    Requirement("observed:hints", _SOURCE, "A purpose that does not fit and a score just under a tier are findings."),
)
