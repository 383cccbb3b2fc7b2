"""Promises of the demo: that every control on the path is needed, and seen to be."""

from __future__ import annotations

from tests.requirements import Requirement

REQUIREMENTS: tuple[Requirement, ...] = (
    Requirement("demo:story:holds", "issue 2 §8", "the sample fleet meets every refusal with its exact code"),
    Requirement("demo:controls:needed", "issue 2 §8", "without one control the demo fails at exactly its step"),
)
