"""The form of a risk assessment: from the fields of a page to the form the approvals room reads. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

__all__ = ["assessment_form", "rows_shown"]

_START: Final = 3
_MOST: Final = 50
_FIELDS: Final = ("risk", "likelihood", "impact", "policies", "measures", "residual")


def rows_shown(given: Mapping[str, str]) -> int:
    """How many rows of risks the page shows: what was given, and two more when asked for."""
    text = given.get("rows", "")
    rows = max(1, int(text[:3])) if text.isascii() and text.isdigit() else _START
    return min(rows + (2 if "more" in given else 0), _MOST)


def assessment_form(given: Mapping[str, str]) -> dict[str, Any]:
    """What was filled in, in the form of `/api/v1/schemas/assessment.json`; rows left empty are left out.

    What is wrong with it is said by whoever reads that form.
    """
    risks = []
    for number in range(rows_shown(given)):
        row = {name: given.get(f"{name}-{number}", "").strip() for name in _FIELDS}
        if not any((row["risk"], row["policies"], row["measures"])):
            continue
        mitigations = [{"policy": line} for line in _lines(row["policies"])]
        mitigations += [{"measure": line} for line in _lines(row["measures"])]
        risks.append(
            {
                "risk": row["risk"],
                "likelihood": _number(row["likelihood"]),
                "impact": _number(row["impact"]),
                "mitigations": mitigations,
                "residual": row["residual"],
            }
        )
    return {
        "risks": risks,
        "residual": given.get("residual", ""),
        "acceptedBy": given.get("accepted_by", ""),
    }


def _lines(text: str) -> list[str]:
    return [line.strip() for line in text.split("\n") if line.strip()]


def _number(text: str) -> int | str:
    return int(text) if text.isascii() and text.isdigit() and len(text) == 1 else text
