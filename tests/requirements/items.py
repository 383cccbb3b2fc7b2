"""Promises of resources, templates of resources, prompts and completion."""

from __future__ import annotations

from tests.requirements import Requirement

REQUIREMENTS: tuple[Requirement, ...] = (
    Requirement(
        "items:read",
        "issue 5 §1, DESIGN §3.1, §3.12",
        "Reading a resource or prompt, and completing its arguments, is decided and on record before it is sent.",
    ),
    Requirement(
        "items:nothing-else",
        "DESIGN §3.7, §3.16",
        "What is not registered and granted is not listed and not readable, and is refused like what does not exist.",
    ),
    Requirement(
        "items:uris",
        "issue 5 §1, RFC 6570",
        "A URI is a registered one, or an instance of one template in one way: no value leaves its place.",
    ),
    Requirement(
        "items:headers", "MCP 2026-07-28, Request Metadata", "`Mcp-Name` repeats the URI or the prompt's name."
    ),
    Requirement(
        "items:policies",
        "DESIGN §3.5, §3.6",
        "Policies, grants, cases and questions name items, and read the URI, a template's variables and the arguments.",
    ),
    Requirement(
        "items:arguments", "DESIGN §3.4", "Arguments are those of the pinned definition, and only they are sent."
    ),
    Requirement(
        "items:pinned",
        "issue 5 §1",
        "Lists show the pinned definitions; an item whose definition changed is blocked until it is pinned anew.",
    ),
    Requirement("items:hold", "DESIGN §3.11", "A read can be held, and goes through once for the approved arguments."),
    Requirement(
        "items:answers",
        "issue 5 §8",
        "What is read is checked, bounded and looked at like a result, and may be kept by nobody.",
    ),
    Requirement("items:aggregate", "issue 5 §1", "At `/mcp` a prompt's name and a URI mean one item of one server."),
    Requirement("items:capabilities", "MCP", "Only what there is something of is announced."),
    Requirement(
        "items:register",
        "issue 5 §1, DESIGN §6",
        "Only items that a server offers can be registered, and their data classes count as those of tools do.",
    ),
)
