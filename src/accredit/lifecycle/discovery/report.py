"""What a scan found, as data for programs: rows, and SARIF 2.1.0 for what shows findings beside code. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any, Final
from urllib.parse import quote

from accredit.lifecycle.discovery.model import Trace, TraceKind

__all__ = ["RULES", "sarif", "trace_row"]

RULES: Final[Mapping[TraceKind, str]] = {
    TraceKind.CLIENT: "An MCP client is configured here",
    TraceKind.CODE: "A program here makes an agent",
    TraceKind.WORKFLOW: "An agent was drawn in a tool and exported here",
    TraceKind.CARD: "An agent makes itself known here",
    TraceKind.DEPLOYMENT: "Something is deployed here with a key to a provider of models",
    TraceKind.KEY: "A key to a provider of models lies here",
    TraceKind.MANIFEST: "An agent is declared here",
    TraceKind.USAGE: "A provider of models tells of use",
}
_SCHEMA: Final = "https://json.schemastore.org/sarif-2.1.0.json"


def trace_row(one: Trace) -> dict[str, Any]:
    """A trace as JSON data; what it says nothing of is there, empty."""
    row = asdict(one)
    row["kind"] = one.kind.value
    for secret in row["secrets"]:
        del secret["ours"]  # for a server to look up, not to be passed on
    return row


def sarif(rows: Sequence[Mapping[str, Any]], version: str) -> dict[str, Any]:
    """Rows of a scan, with what they were matched to if they were, as one run of SARIF.

    What is registered is a note (`none`), what holds a secret or goes past the gateway an error, all else a warning.
    """
    return {
        "$schema": _SCHEMA,
        "version": "2.1.0",
        "runs": [
            {
                "tool": {
                    "driver": {
                        "name": "accredit",
                        "version": version,
                        "rules": [
                            {"id": kind.value, "shortDescription": {"text": text}} for kind, text in RULES.items()
                        ],
                    }
                },
                "results": [_result(row) for row in rows],
            }
        ],
    }


def _result(row: Mapping[str, Any]) -> dict[str, Any]:
    verdict = row.get("verdict", "")
    grave = bool(row["secrets"]) or verdict in {"shadow", "ghost"}
    level = "note" if verdict == "registered" else "error" if grave else "warning"
    told = [RULES[TraceKind(row["kind"])], f"({row['format']})", row["name"] and f"`{row['name']}`"]
    told += [verdict and f"{verdict}: {row.get('by', '')}", row["unread"] and f"not read: {row['unread']}"]
    place: dict[str, Any] = {"artifactLocation": {"uri": quote(row["path"])}}
    if row["line"]:
        place["region"] = {"startLine": row["line"]}
    return {
        "ruleId": row["kind"],
        "level": level,
        "message": {"text": " ".join(one for one in told if one)},
        "locations": [{"physicalLocation": place}],
    }
