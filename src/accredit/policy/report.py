"""A simulation report for people: text for a terminal, Markdown for a pull request, HTML to send around.

All three are made from the report's document, so whoever has that has them. Names and texts come from agents, tools and
policy authors: they are shown with what deceives the eye spelled out, and escaped for the form they stand in. The HTML
has no script and asks for nothing.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from html import escape
from typing import Any, Final

from accredit.kernel.legible import visible
from accredit.policy.entities import DELEGATE

__all__ = ["html_report", "markdown_report", "text_report"]

_SHOWN: Final = 20
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f]")
_STYLE: Final = (
    "body{font:15px/1.5 system-ui,sans-serif;max-width:70rem;margin:2rem auto;padding:0 1rem;color:#1a1a1a}"
    "table{border-collapse:collapse;width:100%;margin:.5rem 0 1.5rem}"
    "th,td{text-align:left;padding:.25rem .6rem;border-bottom:1px solid #ddd;vertical-align:top}"
    "code{font-size:.9em;overflow-wrap:anywhere}.verdict{font-size:1.15rem;font-weight:600}"
)

_Section = tuple[str, Sequence[str], list[list[str]], int]
"""Title, column heads, rows, and how many rows there are in all."""


def _said(value: Any) -> str:
    return _CONTROL.sub(lambda match: f"\\x{ord(match[0]):02x}", visible(str(value)))


def _when(wall_us: int) -> str:
    return datetime.fromtimestamp(wall_us / 1_000_000, UTC).strftime("%Y-%m-%d %H:%M UTC")


def _verdict(report: Mapping[str, Any]) -> str:
    if report["denies_everything"]:
        return "This candidate denies everything: no recorded call that went through would go through any more."
    if report["breaks"]:
        return "This candidate would break what agents do today."
    changed = report["denied"] + report["allowed"] + report["held"] + report["failing"]
    if changed:
        return "Nothing that went through would stop; other calls would come out otherwise."
    if report["slices_total"]:
        return "Rules change, and no recorded call would come out otherwise."
    return "Nothing changes for any agent."


def _counts(report: Mapping[str, Any]) -> list[str]:
    since, until = _when(report["since_us"]), f"{report['until_seq']:,}"
    lines = [
        f"compared with {report['base'][:19]}, candidate {report['candidate'][:19]}",
        f"recorded decisions since {since}, up to record {until}: {report['calls']:,}",
        f"under the same rules {report['untouched']:,}, judged by the candidate {report['replayed']:,}",
        f"newly denied {report['denied']:,}, held {report['held']:,}, failing {report['failing']:,}",
        f"newly allowed {report['allowed']:,}",
        f"runs that would break {report['breaking']:,}",
        f"pairs of agent and tool, or hand-overs, whose rules change {report['slices_total']:,}",
        f"agents affected {len(report['agents']):,}",
    ]
    for reason, count in report["unrepeatable"].items():
        lines.append(f"not judged again: {count:,} ({reason})")
    for fact, count in report["missing"].items():
        lines.append(f"not recorded: {fact}, which the candidate reads of {count:,} of these calls")
    return lines


def _sections(report: Mapping[str, Any], called: Callable[[str], str]) -> Iterator[_Section]:
    impacts, flows = report["impacts"], report["workflows"]
    yield (
        "Calls that would come out otherwise",
        ("calls", "agent", "tool", "asked by", "before", "after", "code", "policies", "example"),
        [
            [
                f"{one['calls']:,}",
                called(one["agent"]),
                _operation(one["tool"], called),
                called(one["asked_by"]),
                one["before"],
                one["after"],
                one["code"],
                ", ".join(one["policies"]) or "by default",
                one["example"],
            ]
            for one in impacts[:_SHOWN]
        ],
        len(impacts),
    )
    yield (
        "Runs that went through and would break, by kind of task (agent and tools used)",
        ("runs", "of", "agent", "tools", "example"),
        [
            [
                f"{one['runs']:,}",
                f"{one['of']:,}",
                called(one["agent"]),
                ", ".join(_operation(tool, called) for tool in one["tools"]),
                one["example"],
            ]
            for one in flows[:_SHOWN]
        ],
        len(flows),
    )
    yield (
        "Agents affected, and whom to tell",
        ("agent", "owner", "tools", "hand-overs", "calls", "breaking runs"),
        [
            [called(one["agent"]), ", ".join(called(who) for who in (one["owner"], one["backup_owner"]) if who),
             f"{one['tools']:,}", f"{one['chains']:,}", f"{one['calls']:,}", f"{one['breaking']:,}"]
            for one in report["agents"][:_SHOWN]
        ],
        len(report["agents"]),
    )  # fmt: skip
    yield (
        "Rules that change",
        ("agent", "tool", "handed on to", "handed on by", "before", "after", "added", "removed", "mode"),
        [
            [called(one["agent"]), one["tool"], ", ".join(map(called, filter(None, (one["callee"], *one["onward"])))),
             ", ".join(map(called, one["through"])), _reach(one["before"]), _reach(one["after"]),
             ", ".join(one["added"]), ", ".join(one["removed"]), ", ".join(one["observed"])]
            for one in report["slices"][:_SHOWN]
        ],
        report["slices_total"],
    )  # fmt: skip
    yield (
        "Permissions that would be left unused",
        ("agent", "tool"),
        [[called(agent), _operation(tool, called)] for agent, tool in report["unused"][:_SHOWN]],
        len(report["unused"]),
    )


def _operation(tool: str, called: Callable[[str], str]) -> str:
    """A tool, or `@delegate` and whom work is handed on to."""
    operation, _, agent = tool.partition(" ")
    return f"{operation} {called(agent)}" if operation == DELEGATE else tool


def _reach(reach: Mapping[str, Any]) -> str:
    on = ", ".join(reach["depends"][:6])
    return f"{reach['outcome']} ({on})" if on else reach["outcome"]


def _names(report: Mapping[str, Any], people: Mapping[str, str]) -> Callable[[str], str]:
    known = {**people, **{one["agent"]: one["name"] for one in report["agents"] if one["name"]}}
    return lambda name: known.get(name, name)


def text_report(report: Mapping[str, Any], people: Mapping[str, str] | None = None) -> str:
    """The report as plain text. `people` maps the ids of persons to how they are called."""
    lines = [_verdict(report), "", *map(_said, _counts(report))]
    for title, heads, rows, total in _sections(report, _names(report, people or {})):
        if not rows:
            continue
        lines += ["", f"{title}:"]
        cells = [[head.upper() for head in heads], *([_said(cell) for cell in row] for row in rows)]
        widths = [max(len(row[at]) for row in cells) for at in range(len(heads))]
        lines += ["  " + "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
                  for row in cells]  # fmt: skip
        lines += _more(rows, total, "  ")
    return "\n".join([*lines, ""])


def markdown_report(report: Mapping[str, Any], people: Mapping[str, str] | None = None) -> str:
    """The report as Markdown, for a pull request."""
    lines = ["## Policy simulation", "", f"**{_verdict(report)}**", ""]
    lines += [f"- {_marked(line)}" for line in _counts(report)]
    for title, heads, rows, total in _sections(report, _names(report, people or {})):
        if not rows:
            continue
        lines += ["", f"### {title}", "", _row(heads), _row(["---"] * len(heads))]
        lines += [_row([_marked(cell) for cell in row]) for row in rows]
        lines += _more(rows, total, "")
    return "\n".join([*lines, ""])


def _row(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _marked(text: Any) -> str:
    """Text that Markdown renders as it stands: no link, image, mention or markup comes out of it."""
    return re.sub(r"([\\`*_{}\[\]()#+!|<>~@:&-])", lambda match: f"&#{ord(match[1])};", _said(text))


def html_report(report: Mapping[str, Any], people: Mapping[str, str] | None = None) -> str:
    """The report as one HTML file that needs nothing else."""
    parts = [
        "<!doctype html>",
        '<html lang="en"><head><meta charset="utf-8"><title>Policy simulation</title>',
        "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">",
        f"<style>{_STYLE}</style></head><body>",
        f'<h1>Policy simulation</h1><p class="verdict">{_shown(_verdict(report))}</p><ul>',
        *(f"<li>{_shown(line)}</li>" for line in _counts(report)),
        "</ul>",
    ]
    for title, heads, rows, total in _sections(report, _names(report, people or {})):
        if not rows:
            continue
        parts.append(f"<h2>{_shown(title)}</h2><table><thead><tr>")
        parts += [f'<th scope="col">{_shown(head)}</th>' for head in heads]
        parts.append("</tr></thead><tbody>")
        for row in rows:
            parts.append(f"<tr>{''.join(f'<td><code>{_shown(cell)}</code></td>' for cell in row)}</tr>")
        parts.append("</tbody></table>")
        parts += [f"<p>{_shown(line)}</p>" for line in _more(rows, total, "")]
    return "\n".join([*parts, "</body></html>", ""])


def _shown(text: Any) -> str:
    return escape(_said(text))


def _more(rows: Sequence[Any], total: int, indent: str) -> list[str]:
    return [f"{indent}and {total - len(rows):,} more"] if total > len(rows) else []
