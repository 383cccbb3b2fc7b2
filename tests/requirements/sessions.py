"""Promises of the session ledger."""

from __future__ import annotations

from tests.requirements import Requirement

REQUIREMENTS: tuple[Requirement, ...] = (
    Requirement("sessions:key", "DESIGN §3.15", "a session is keyed by agent, verified user and verified task alone"),
    Requirement(
        "sessions:window:idle", "DESIGN §3.15", "a session ends after idle time; refused calls do not extend it"
    ),
    Requirement(
        "sessions:counts:in-flight", "DESIGN §3.3", "facts count the call being decided and every call in flight"
    ),
    Requirement("sessions:counts:give-back", "DESIGN §3.3", "a refused or failed call gives its counts back, once"),
    Requirement("sessions:run-time", "DESIGN §3.13", "the run timeout is measured from the session's first call"),
    Requirement("sessions:instance", "DESIGN §3.15", "each credential instance is counted across users and tasks"),
    Requirement("sessions:bounded", "DESIGN §11", "sessions are kept in bounded memory and no live one is forgotten"),
)
