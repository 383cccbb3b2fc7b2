"""Promises of the command line."""

from __future__ import annotations

from tests.requirements import Requirement

REQUIREMENTS: tuple[Requirement, ...] = (
    Requirement("cli:output:formats", "DESIGN §8", "every list and view comes as table, JSON and YAML"),
    Requirement("cli:output:escaped", "DESIGN §11", "text of others is escaped before a terminal sees it"),
    Requirement("cli:agent:answers", "DESIGN §6", "one view answers the five questions about an agent"),
    Requirement("cli:apply:all", "issue 2 §1", "apply takes files and directories, all or nothing"),
    Requirement(
        "cli:errors:expected", "DESIGN §8", "expected failures have a hint, a code of their kind, no traceback"
    ),
    Requirement(
        "cli:profile:private", "DESIGN §4", "tokens stand in files only their owner reads and are never printed"
    ),
    Requirement("cli:credential:stdin", "DESIGN §11", "an upstream credential comes from standard input alone"),
    Requirement("cli:policy:findings", "issue 2 §3", "lint and publish show every finding; lint ends with 1"),
    Requirement("cli:hold:view", "DESIGN §11", "what is approved is exactly the text shown, and a person is asked"),
    Requirement(
        "cli:vote:view", "DESIGN §11", "whoever votes is shown all they judge, and asked; the digest travels with it"
    ),
    Requirement("cli:life:whole", "issue 3 §7", "an agent's whole life by commands alone, each person as themselves"),
    Requirement("cli:exit:pending", "DESIGN §8", "what waits for a second person's sign-off says so and ends with 3"),
    Requirement("cli:watch:acts", "issue 3 §5", "agents are narrowed, flagged and looked after by commands"),
    Requirement("cli:people:acts", "issue 3 §2", "people are named by their addresses, in tables and in arguments"),
    Requirement("cli:output:pages", "DESIGN §8", "a list that goes on says how"),
    Requirement("cli:help:nothing", "DESIGN §11", "help and version start nothing"),
    Requirement("cli:revoke:now", "DESIGN §4", "revocations owe a reason and name what they reach"),
    Requirement(
        "cli:offline:beside", "DESIGN §2", "verify, export and doctor work beside a server; repair needs the lock"
    ),
    Requirement("cli:offline:export", "issue 2 §1", "an export verifies anywhere and says `single-admin`"),
    Requirement("cli:offline:truncated", "DESIGN §5", "a log cut short is found against the checkpoint in the profile"),
    Requirement("cli:offline:prove", "DESIGN §5", "a record's proof is one file"),
    Requirement("cli:documented:all", "STYLE §7", "every command is documented as it describes itself"),
    Requirement("cli:parity:api", "DESIGN §8", "whatever the API can change a command can"),
    Requirement("cli:newcomer:readme", "issue 2 Done means", "README's own-agent section works as it is written"),
    Requirement("cli:newcomer:survives", "DESIGN §11", "a stopped installation goes on where it was"),
    Requirement("cli:newcomer:demo", "issue 2 §8", "`up --demo` prints a line per decision and ends cleanly"),
    Requirement("cli:policy:rehearsed", "issue 4 §1", "What is published was tested and simulated as it stands."),
    Requirement(
        "cli:policy:mode", "issue 4 §1", "A policy is observed before it is enforced, by a release of its own."
    ),
    Requirement("cli:policy:init", "issue 4 §9", "The starter policies are there to begin with, and pass their tests."),
)
