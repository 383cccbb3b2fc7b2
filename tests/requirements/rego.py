"""Promises of Rego as the second engine."""

from __future__ import annotations

from tests.requirements import Requirement

REQUIREMENTS: tuple[Requirement, ...] = (
    Requirement("policy:rego:cases", "issue 4 §7", "One case table comes out alike in both engines."),
    Requirement("policy:rego:fails-closed", "issue 4 §7", "Undefined, an error or no engine at all refuses."),
    Requirement("policy:rego:never-widens", "DESIGN §3.7", "Rego takes away and never gives, on random calls."),
    Requirement("policy:rego:threads", "trap policy-engines §3.11", "Each thread has an engine of its own."),
    Requirement("policy:rego:lint", "issue 4 §2", "What could not refuse, or answers in two ways, is not loaded."),
    Requirement("policy:rego:allowed", "issue 4 §2", "What a module calls is listed, pure, and bounded in cost."),
    Requirement("policy:rego:any-text", "threat: native stack", "Any text is read or refused; none ends the process."),
    Requirement("policy:rego:tests", "issue 4 §7", "Tests, coverage and mutation take Rego as they take Cedar."),
)
