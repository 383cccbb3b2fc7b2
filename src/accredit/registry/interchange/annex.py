"""The technical documentation of Annex IV of Regulation (EU) 2024/1689, as far as records can fill it.

A skeleton, not a conformity document: each point has the facts that are on record, each with its record in the log, and
says what the provider has to write. A point of which nothing is on record says that, and is never left out.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from accredit.kernel.legible import visible
from accredit.registry.interchange.facts import AgentDocument, AgentFacts, ExchangeForm, moment

__all__ = ["POINTS", "RecordedFact", "annex_iv"]

_SCHEMA: Final = "accredit/annex-iv/v1"
_TO_BE_WRITTEN: Final = "To be written by the provider"
_MARKED: Final = re.compile(r"([\\`*_{}\[\]()<>#+!|~-])")


@dataclass(frozen=True, slots=True)
class RecordedFact:
    """One fact, and the record it rests on."""

    text: str
    record: int | None = None
    """Its seq in the log; None: it is what is registered now, and older than what was read of the log."""


@dataclass(frozen=True, slots=True)
class _Point:
    number: str
    title: str
    ask: str
    """What the provider writes, whatever is on record."""


POINTS: Final = (
    _Point("1(a)", "Intended purpose, provider, version and its relation to earlier versions",
           "the provider's name and address, and how the version relates to earlier ones on the market"),
    _Point("1(b)", "Interaction with hardware or software that is not part of the system",
           "systems it interacts with past the gateway"),
    _Point("1(c)", "Versions of software or firmware and requirements for updates", "the program's own releases"),
    _Point("1(d)", "Forms in which it is placed on the market or put into service", "packages, downloads, services"),
    _Point("1(e)", "Hardware on which it is intended to run", "the hardware"),
    _Point("1(f)", "Where it is a component of products: their external features", "photographs or illustrations"),
    _Point("1(g)", "User interface provided to the deployer", "a description of the interface"),
    _Point("1(h)", "Instructions for use for the deployer", "the instructions for use (Article 13)"),
    _Point("2(a)", "Methods and steps of development, and third-party models and tools",
           "how the system was developed, and how models of others were integrated or changed"),
    _Point("2(b)", "Design: logic, key choices, assumptions, what it optimises for",
           "the rationale, the persons it is meant for, and the trade-offs made"),
    _Point("2(c)", "System architecture and computational resources", "how components build on each other"),
    _Point("2(d)", "Data requirements: training, provenance, selection, labelling, cleaning",
           "data sheets for whatever was trained or tuned"),
    _Point("2(e)", "Human oversight under Article 14", "how overseers are enabled to understand its outputs"),
    _Point("2(f)", "Pre-determined changes", "changes assessed in advance, and how compliance stays ensured"),
    _Point("2(g)", "Validation and testing, metrics for accuracy, robustness and discriminatory impacts",
           "test logs and reports, dated and signed by those responsible"),
    _Point("2(h)", "Cybersecurity measures", "measures outside the gateway"),
    _Point("3", "Monitoring, functioning and control: capabilities, limitations, accuracy, foreseeable risks",
           "accuracy for the persons it is meant for, and foreseeable unintended outcomes"),
    _Point("4", "Appropriateness of the performance metrics", "why these metrics fit this system"),
    _Point("5", "Risk management system under Article 9", "the risk management system as a whole"),
    _Point("6", "Relevant changes made through its lifecycle", "changes outside of what is registered here"),
    _Point("7", "Harmonised standards applied, or the solutions adopted instead", "the list of standards"),
    _Point("8", "Copy of the EU declaration of conformity", "the declaration (Article 47)"),
    _Point("9", "Post-market monitoring under Article 72", "the post-market monitoring plan"),
)  # fmt: skip
"""The points of Annex IV, in its order."""


def annex_iv(facts: AgentFacts, known: Mapping[str, Sequence[RecordedFact]]) -> AgentDocument:
    """The skeleton; `known` has facts by the number of their point."""
    points = [
        {
            "point": point.number,
            "title": point.title,
            "facts": [{"record": one.record, "text": visible(one.text)} for one in known.get(point.number, ())],
            "to_be_written": point.ask,
            "on_record": bool(known.get(point.number)),
        }
        for point in POINTS
    ]
    body = {
        "schema": _SCHEMA,
        "regulation": "Regulation (EU) 2024/1689, Annex IV",
        "agent": facts.id,
        "name": facts.name,
        "version": facts.version,
        "at": moment(facts.at_us),
        "points": points,
    }
    empty = tuple(f"point {point.number}: nothing is on record" for point in POINTS if not known.get(point.number))
    return AgentDocument(
        ExchangeForm.ANNEX_IV, "application/json", body, (*facts.unsaid, *empty), text=_markdown(facts, points)
    )


def _markdown(facts: AgentFacts, points: Sequence[Mapping[str, Any]]) -> str:
    lines = [
        f"# Technical documentation of {_plain(facts.name)}",
        "",
        f"Regulation (EU) 2024/1689, Annex IV. Version {_plain(facts.version)}, as of {moment(facts.at_us)}.",
        "Facts are from the records of the control plane; the number behind each is that of its record in the log.",
        "",
    ]
    for point in points:
        lines += [f"## {point['point']} {point['title']}", ""]
        lines += [
            f"- {_plain(one['text'])} ({'registered' if one['record'] is None else 'record ' + str(one['record'])})"
            for one in point["facts"]
        ]
        lines += [""] if point["facts"] else []
        more = "" if not point["facts"] else ", besides"
        lines += [f"**{_TO_BE_WRITTEN}{more}:** {point['to_be_written']}.", ""]
    return "\n".join(lines)


def _plain(text: str) -> str:
    """A text from outside as Markdown shows it, unable to become part of the document's structure."""
    shown = visible(re.sub(r"[\x00-\x1f\x7f]+", " ", text))
    return _MARKED.sub(r"\\\1", shown)
