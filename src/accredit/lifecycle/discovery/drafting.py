"""The draft of a manifest for something that was found: what is known, and what its owner still has to say. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import yaml

from accredit.lifecycle.discovery.findings import AgentFinding
from accredit.lifecycle.discovery.matching import same_name

__all__ = ["draft", "drafted_name"]

_LONGEST_NAME: Final = 63
_UNKNOWN: Final = "say it here"
_MISSING: Final = (
    "spec.purpose, spec.data, spec.autonomy, spec.audience, spec.inputs, spec.reach, spec.use and spec.prompt are the "
    "most that can go wrong until you say otherwise."
)


def draft(finding: AgentFinding, *, owner: str, team: str) -> str:
    """A manifest in YAML, in development, that has to be read and completed before it is applied.

    What is not known is written as the gravest that it could be, so that nothing is lowered by not being looked at.
    """
    evidence = finding.seen.evidence
    document: Mapping[str, Any] = {
        "apiVersion": "accredit/v1",
        "kind": "Agent",
        "metadata": {"name": drafted_name(finding), "team": team or "your-team", "environment": "development"},
        "spec": {
            "purpose": _UNKNOWN,
            "owner": owner,
            "tools": [],
            "data": ["confidential"],
            "models": [],
            "prompt": {"digest": "sha256:" + "0" * 64},
            "autonomy": "acts-unattended",
            "audience": "public",
            "inputs": ["public"],
            "reach": "company",
            "use": {"annex3": False, "decidesOnPeople": False},
        },
    }
    told = [f"# Draft for finding {finding.id}: {_line(finding.seen.name)}"]
    told += [f"# {key}: {_line(evidence[key])}" for key in ("format", "path", "command") if evidence.get(key)]
    told += [
        f"# {key}: {_line(', '.join(evidence[key]))}" for key in ("urls", "providers", "models") if evidence.get(key)
    ]
    told += [f"# {_MISSING}", "# Register its tool servers and models first, then list them under tools and models."]
    return "\n".join(told) + "\n" + yaml.safe_dump(document, sort_keys=False, allow_unicode=False)


def _line(text: Any) -> str:
    """On one line: a comment ends where the line does."""
    return " ".join(str(text).split())[:300]


def drafted_name(finding: AgentFinding) -> str:
    """What the draft calls the agent: what was found, as a name that can be registered."""
    name = same_name(finding.seen.name)[:_LONGEST_NAME].strip("-")
    return name if name[:1].isalpha() else f"agent-{name}"[:_LONGEST_NAME].strip("-")
