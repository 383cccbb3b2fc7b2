"""Promises of the path of one call."""

from __future__ import annotations

from tests.requirements import Requirement

REQUIREMENTS: tuple[Requirement, ...] = (
    Requirement("enforcement:task-lapsed", "DESIGN §4", "a closed or stale task is named as the reason"),
    Requirement(
        "enforcement:give-back:refused",
        "DESIGN §3.3, §3.13",
        "whatever control fails, the call is refused with its reason and gives back rate, concurrency, money and "
        "its place in the session",
    ),
    Requirement(
        "enforcement:give-back:cancelled",
        "DESIGN §3.3, §3.13",
        "a caller that goes away at any wait leaves nothing taken, and no outcome without its decision",
    ),
    Requirement(
        "enforcement:durable-before-admitted", "DESIGN §3.12", "nothing is admitted before its record is durable"
    ),
    Requirement("enforcement:record:refusals", "DESIGN §5", "every refusal is a record with the code that was told"),
    Requirement("enforcement:record:flood", "DESIGN §5", "beyond 60 equal refusals a minute one record counts them"),
    Requirement(
        "enforcement:record:no-clear-text",
        "DESIGN §5",
        "unknown tool names, run labels, claims, users and tasks stand nowhere in clear text",
    ),
    Requirement("enforcement:record:pseudonyms", "DESIGN §5", "users and tasks keep their random names over restarts"),
    Requirement("enforcement:restart:folds", "DESIGN §3.13", "a start folds rate and budget; open calls count in full"),
    Requirement(
        "enforcement:restart:closes-once",
        "DESIGN §3.12",
        "a call that never returned is closed as unknown exactly once, also if closing is interrupted",
    ),
    Requirement("enforcement:settle:once", "DESIGN §3.13", "a call is settled once; what was not sent costs nothing"),
    Requirement(
        "enforcement:recheck",
        "DESIGN §3.12",
        "a revocation, a re-pin, a new version or a moved server between decision and first byte stops the call",
    ),
    Requirement(
        "enforcement:restriction:in-force",
        "DESIGN §1, §11",
        "a restriction hides and denies what it names until its end by a clock that is trusted",
    ),
    Requirement("enforcement:restriction:recorded", "DESIGN §5", "a decision's record names the restrictions in force"),
    Requirement(
        "enforcement:restriction:hold", "DESIGN §3.11", "a restriction's hold is answered by its role, for one call"
    ),
    Requirement(
        "enforcement:restriction:throttle", "DESIGN §3.13", "a throttle slows calls, also over a restart of the process"
    ),
    Requirement(
        "enforcement:restriction:unproven",
        "DESIGN §3.2",
        "while a restriction is missing or changed by hand, whoever it could have been on is denied",
    ),
    Requirement(
        "enforcement:halt:in-flight",
        "DESIGN §4, §6",
        "suspending, quarantining, retiring and dropping a tool stop what was admitted, sent or not, each call once",
    ),
    Requirement(
        "enforcement:mask",
        "DESIGN §6, §3.7",
        "a masked class reaches neither agent nor record, and a mask that places nothing takes the tool away",
    ),
    Requirement(
        "enforcement:hold:barred", "DESIGN §3.11", "the user served and an agent's owners may not answer its holds"
    ),
    Requirement("enforcement:revoke:in-flight", "DESIGN §4", "a revocation cancels what is in flight, each call once"),
    Requirement(
        "enforcement:clock:step", "DESIGN §11", "after a clock step, what depends on the hour denies until confirmed"
    ),
    Requirement("enforcement:run-timeout", "DESIGN §3.13", "a session may run only as long as its agent's limit"),
    Requirement("enforcement:concurrency", "DESIGN §3.13", "calls at once are admitted up to the limit"),
    Requirement("enforcement:budget", "DESIGN §3.13", "no order of calls spends more than the budget"),
    Requirement(
        "enforcement:one-path", "DESIGN §3.1", "every route of the gateway that reaches a tool passes the one path"
    ),
    Requirement(
        "enforcement:unproven",
        "DESIGN §3.2",
        "a call that rests on a row the log contradicts is refused, and the reason says so",
    ),
)
