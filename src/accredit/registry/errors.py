"""What is wrong with a set of manifests, all of it at once.

InvalidInputError
└── ManifestError    one or more faults, each with its place; `code` is their common code, else `manifest_invalid`
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from accredit.kernel.codes import Code
from accredit.kernel.errors import InvalidInputError

__all__ = ["ManifestError", "ManifestFault"]

_MAX_FAULTS = 100


@dataclass(frozen=True, slots=True)
class ManifestFault:
    """One thing wrong, where, and what would put it right."""

    document: str
    """Which document: `Agent support-copilot`, or `document 2` if it says no name."""
    path: str
    """Where in it: `spec.tools[0].when.sameAs`; empty for the whole."""
    message: str
    hint: str = ""
    code: Code = Code.MANIFEST_INVALID
    line: int | None = None
    """In the file, if it was YAML."""

    def __str__(self) -> str:
        at = ": ".join(part for part in (self.document, self.path) if part)
        line = f" (line {self.line})" if self.line else ""
        return f"{at}{line}: {self.message}"


class ManifestError(InvalidInputError):
    """Manifests that are refused as they are; nothing of them was applied."""

    def __init__(self, faults: Iterable[ManifestFault]) -> None:
        every = tuple(faults)
        self.faults = every[:_MAX_FAULTS]
        codes = {fault.code for fault in every}
        more = f" (and {len(every) - 1} more)" if len(every) > 1 else ""
        first = every[0]
        super().__init__(codes.pop() if len(codes) == 1 else Code.MANIFEST_INVALID, f"{first}{more}", hint=first.hint)
