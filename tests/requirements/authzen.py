"""Promises of the AuthZEN API and of policies for types of other applications."""

from __future__ import annotations

from tests.requirements import Requirement

REQUIREMENTS: tuple[Requirement, ...] = (
    Requirement("gateway:authzen:certification", "issue 4 §8", "Every test of the certification scenario passes."),
    Requirement("gateway:authzen:interop", "issue 4 §8", "Published interop scenarios come out pair by pair."),
)
