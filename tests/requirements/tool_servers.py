"""Promises of the ways that tool servers are spoken to."""

from __future__ import annotations

from tests.requirements import Requirement

REQUIREMENTS: tuple[Requirement, ...] = (
    Requirement(
        "gateway:tool-servers:one-port",
        "DESIGN §2, issue 5 §1",
        "Whichever way a tool server is spoken to, a request gets its own answer, complete and in order.",
    ),
    Requirement(
        "gateway:tool-servers:re-check",
        "DESIGN §3.12",
        "In every way the re-check stands right before the request is written, each time it is.",
    ),
    Requirement(
        "gateway:tool-servers:cancelled",
        "issue 5 §1",
        "A call that is left is cancelled at the tool server in the manner of its era.",
    ),
    Requirement("gateway:tool-servers:bounded", "DESIGN §11", "An answer larger than the setting fails its own call."),
    Requirement(
        "gateway:tool-servers:ended",
        "issue 5 §1",
        "What was kept open to a server ends when it is not registered so any more, and begins anew when needed.",
    ),
    Requirement(
        "gateway:tool-servers:asks",
        "MCP 2025-11-25 Lifecycle",
        "A ping is answered; what needs a capability that we never declared is refused, without end it fails the call.",
    ),
    Requirement(
        "gateway:tool-servers:era-found",
        "MCP 2026-07-28 Backward Compatibility",
        "The era is found by server/discover, then initialize; one that could not be asked is not taken for older.",
    ),
    Requirement(
        "gateway:tool-servers:era-recorded",
        "issue 5 §1",
        "The revision found at registration is recorded and kept; another one takes two persons.",
    ),
    Requirement(
        "gateway:server-sessions:shared",
        "issue 5 §1",
        "Calls share one session for each server and credential, which is ended in the end.",
    ),
    Requirement(
        "gateway:server-sessions:lost",
        "MCP 2025-11-25 Session Management",
        "A session answered with 404 is begun anew, and only what met the 404 is sent again, once, re-checked.",
    ),
    Requirement(
        "gateway:server-sessions:no-downgrade",
        "issue 5 §1",
        "A session of an older revision than was registered is refused before any call.",
    ),
    Requirement(
        "gateway:server-sessions:begin",
        "DESIGN §11",
        "What goes wrong while a session begins fails those who waited and nobody after.",
    ),
    Requirement(
        "gateway:server-sessions:sdk", "issue 5 §1", "Servers built with the SDK are called in every revision we speak."
    ),
    Requirement(
        "gateway:stdio:answers-of-others",
        "issue 5, bad input",
        "An answer under an id that is not waiting, was used, or of another type reaches nobody.",
    ),
    Requirement(
        "gateway:stdio:faults",
        "issue 5, bad input",
        "A program that dies, floods, stalls or does not read fails its calls within bounds and is ended.",
    ),
    Requirement(
        "gateway:stdio:supervised",
        "issue 5 §1",
        "Programs are started again, later and later if they keep ending, and none outlives us.",
    ),
    Requirement("gateway:stdio:ended", "issue 5 §1", "With a program ends everything that it started."),
    Requirement(
        "gateway:stdio:isolated",
        "issue 5 §1",
        "A program has a user, an environment and a directory of its own; it is not run if it could read ours.",
    ),
    Requirement(
        "gateway:stdio:namespaces",
        "ADR 16",
        "A program sees no process and no memory but its own, writes nowhere else, and reaches the data by no way.",
    ),
    Requirement(
        "gateway:stdio:filtered",
        "issue 5 §1",
        "Where the kernel can, a program is refused calls that reach deep into it, and sockets of unusual families.",
    ),
    Requirement("gateway:stdio:network", "ADR 16", "A program has no network, or that of the machine as signed off."),
    Requirement(
        "gateway:stdio:unisolated", "ADR 16", "Where a program cannot be kept apart it is not run, and it is told why."
    ),
    Requirement("gateway:stdio:limits", "issue 5 §1", "A program has limits of memory, time and files."),
    Requirement(
        "gateway:stdio:words",
        "DESIGN §11",
        "What a program writes to its error output is logged, bounded, escaped and without its credential.",
    ),
    Requirement(
        "gateway:stdio:enabled", "issue 5 §1", "Where it is not enabled no program is started; with replicas it is not."
    ),
    Requirement(
        "gateway:stdio:two-persons",
        "issue 5 §1",
        "A program is started only in the way that two persons signed off; another way is another approval.",
    ),
    Requirement(
        "gateway:stdio:credential",
        "DESIGN §4",
        "A credential becomes the one variable that was signed off, of the one server it was stored for.",
    ),
    Requirement("gateway:stdio:real", "issue 5 §1", "Published servers are called as programs, in both eras."),
)
