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
    Requirement("sessions:counters:cap", "issue 4 §6", "Counters cap calls and sums, also of calls fired at once."),
    Requirement("sessions:counters:typed", "issue 4 §6", "Policies are checked by the types of what is measured."),
    Requirement("sessions:taint:egress", "DESIGN §3.15", "What an instance read limits what it may send, for good."),
    Requirement("sessions:order:checked", "issue 4 §6", "Only what ended well counts as done before."),
    Requirement("sessions:restart:fold", "DESIGN §3.13", "A restart forgets nothing that a policy reads of a session."),
    Requirement("sessions:origin:verified", "DESIGN §3.6", "Origins go by whole words, and results verify nothing."),
)
