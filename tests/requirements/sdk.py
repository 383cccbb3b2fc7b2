"""Promises of the client that asks before a tool is run."""

from __future__ import annotations

from tests.requirements import Requirement

REQUIREMENTS: tuple[Requirement, ...] = (
    Requirement("sdk:local:asked", "issue 5 §1", "Functions of a program are granted and asked about like tools."),
    Requirement(
        "sdk:local:never-called", "DESIGN §3.1", "No route of the gateway calls or lists a program's function."
    ),
    Requirement(
        "sdk:local:signature",
        "issue 5 §1 and §10",
        "A function that takes something else than the registered tool is refused, or found, by tier.",
    ),
    Requirement("sdk:local:pinned", "issue 5 §1", "Their definitions are pinned, looked at, and changed by applying."),
    Requirement(
        "sdk:guard:answer",
        "issue 5 §10",
        "`check(tool, args)` says what the same call would come to, for the user its token names, and is on record.",
    ),
    Requirement(
        "sdk:guard:approval",
        "issue 5 §10, access request profile",
        "A check can wait for a person; what was approved lets exactly that call through, once.",
    ),
    Requirement("sdk:guard:closed", "issue 5 §10", "Any exception, and any answer that is not a plain yes, is a no."),
    Requirement(
        "sdk:adapters:checked",
        "issue 5 §10",
        "Every tool call of a framework's agent is asked about before it runs, streamed or not; a no is told.",
    ),
    Requirement(
        "sdk:adapters:closed",
        "issue 5 §10",
        "No time-out, no failure on the way and no exception of the check itself lets a framework run a tool.",
    ),
    Requirement(
        "sdk:run:clients", "issue 5 §10", "Official clients started by `accredit run` reach their models governed."
    ),
    Requirement(
        "sdk:run:frameworks",
        "issue 5 §10",
        "Known frameworks are governed under `accredit run` with no change of code.",
    ),
    Requirement(
        "sdk:run:closed", "issue 5 §10", "What cannot be governed is not imported, and its program not started."
    ),
    Requirement(
        "sdk:run:credential",
        "issue 5 §10",
        "The program is given a secret of its run alone; without an accepted credential nothing starts.",
    ),
    Requirement("sdk:run:transparent", "issue 5 §10", "Signals reach the program, and its exit code is the command's."),
    Requirement(
        "sdk:guarded:names",
        "issue 5 §10",
        "A framework's tool is the one it was said to be, and refused if it is none.",
    ),
    Requirement(
        "sdk:guarded:environment",
        "issue 5 §10",
        "What governs is read from the environment, with one credential in it.",
    ),
)
