"""Promises of control state: rows proven by the log, the reserve, the data directory, the doctor."""

from __future__ import annotations

from tests.requirements import Requirement

REQUIREMENTS: tuple[Requirement, ...] = (
    Requirement(
        "state:change:visible-when-acknowledged", "DESIGN §5", "An acknowledged change is in the view, as a whole."
    ),
    Requirement("state:change:one-at-a-time", "DESIGN §3.2", "Changes are built alone, against the present state."),
    Requirement("state:change:refusal-changes-nothing", "DESIGN §5", "A build that raises changes nothing."),
    Requirement("state:change:bounded", "DESIGN §11", "What could not be recorded is refused before anything happens."),
    Requirement("state:change:survives-restart", "DESIGN §3.2", "State survives a restart, and only as recorded."),
    Requirement(
        "state:change:durable-before-visible",
        "DESIGN §5",
        "A widening change is visible and acknowledged only once its record is durable.",
    ),
    Requirement("state:change:cancelled-caller", "DESIGN §11", "A caller that goes away does not lose the change."),
    Requirement(
        "state:change:log-refuses",
        "DESIGN §5",
        "A change the log refuses is not in force, holds up later ones, and comes into force whole or not at all.",
    ),
    Requirement("state:record:complete-and-sealed", "DESIGN §5", "The record holds all of a change, docs sealed."),
    Requirement(
        "state:record:names-its-predecessor",
        "DESIGN §5",
        "Each control record names the one before it, so that none can be hidden from the proof.",
    ),
    Requirement("state:view:docs-are-immutable", "STYLE §3", "No reader can modify a doc of control state."),
    Requirement("state:narrowing:at-once", "DESIGN §4", "A narrowing change is in force before anything is written."),
    Requirement(
        "state:narrowing:survives-log-failure",
        "DESIGN §4",
        "A narrowing change that cannot be recorded stays in force, over restarts too, and is recorded later.",
    ),
    Requirement("state:narrowing:full-disk", "DESIGN §4", "A revocation on a full disk survives a restart."),
    Requirement(
        "state:narrowing:not-undone-by-older",
        "DESIGN §4",
        "An older change that is recorded late does not undo a revocation.",
    ),
    Requirement("state:reserve:in-place", "DESIGN §4", "The reserve is only ever written in place."),
    Requirement(
        "state:proof:exactly-the-tampered",
        "DESIGN §3.2",
        "Exactly the rows edited, rolled back, deleted, resurrected, inserted or swapped are unproven and not shown.",
    ),
    Requirement(
        "state:proof:records-checked",
        "DESIGN §3.2",
        "Control records that were changed, dropped, hidden or swapped stop the start.",
    ),
    Requirement(
        "state:proof:foreign-outbox",
        "threat: write access to the database",
        "A change slipped into outbox or reserve is never recorded.",
    ),
    Requirement("state:directory:private", "DESIGN §11", "The data directory and all in it are the owner's alone."),
    Requirement(
        "state:directory:one-holder", "DESIGN §2", "One process holds the directory, and it names its address."
    ),
    Requirement(
        "state:directory:refuses-unsafe", "DESIGN §11", "A key file or directory open to others refuses to start."
    ),
    Requirement(
        "state:directory:no-second-key", "DESIGN §11", "A missing root key beside data is never replaced by a new one."
    ),
    Requirement(
        "state:doctor:finds", "DESIGN §2", "The doctor names every row that is not what the log says, and why."
    ),
    Requirement("state:doctor:repairs", "DESIGN §3.2", "A repair makes the state what the log says."),
    Requirement("state:doctor:log-alone-suffices", "DESIGN §3.2", "The whole state is rebuilt from the log alone."),
    Requirement(
        "state:doctor:crash-leftovers",
        "DESIGN §2",
        "What a crash left on its way into the log is no fault and outlives a repair.",
    ),
    Requirement(
        "state:kill:every-step",
        "issue 2, faults",
        "Killed at any step of a change, and again while recovering, nothing acknowledged is lost or there by half.",
    ),
    Requirement("state:kill:any-moment", "issue 2, faults", "The same at any moment, over and over."),
)
