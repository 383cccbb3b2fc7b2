"""Promises of discovery: what is found in files and in what runs, and what becomes of it."""

from __future__ import annotations

from tests.requirements import Requirement

REQUIREMENTS: tuple[Requirement, ...] = (
    Requirement("discovery:scan:formats", "issue 6 §6", "every client and framework format is found, and no decoy is"),
    Requirement("discovery:scan:secrets", "DESIGN §11", "a secret that is found is told by kind and digest alone"),
    Requirement("discovery:scan:hostile", "issue 6, bad input", "nothing scanned is run, followed or endless"),
    Requirement("discovery:scan:bounds", "DESIGN §11", "what a scan leaves out is said"),
)
