"""Promises about bad input and faults (issue 2), each with a clear error and no call that should not go through."""

from __future__ import annotations

from tests.requirements import Requirement

_SOURCE = "issue 2, bad input and faults"

REQUIREMENTS: tuple[Requirement, ...] = (
    Requirement("faults:bodies", _SOURCE, "malformed, oversized, deep or ambiguous JSON is refused by name"),
    Requirement("faults:headers", _SOURCE, "headers that differ from the body are refused"),
    Requirement("faults:sessions", _SOURCE, "a session id that was never given out is refused"),
    Requirement("faults:manifests:unknown-keys", _SOURCE, "an unknown manifest key is refused with its path"),
    Requirement("faults:names:refused", _SOURCE, "names of agents and servers outside the grammar are refused"),
    Requirement("faults:names:tools", _SOURCE, "tools whose names have `. - /` and unicode work end to end"),
    Requirement("faults:agents:one-name", _SOURCE, "of two agents of one name exactly one comes to be"),
    Requirement("faults:policies:publish", _SOURCE, "Cedar that cannot hold is refused with its file and a fix"),
    Requirement("faults:policies:runtime", "DESIGN §3.10", "a forbid that errors at run time denies, by its own code"),
    Requirement("faults:servers:answers", _SOURCE, "an answer that is none ends the call, named and recorded"),
    Requirement("faults:servers:swapped", _SOURCE, "an answer to another call reaches neither agent"),
    Requirement("faults:servers:memory", _SOURCE, "of an endless answer no more is taken than a result may have"),
    Requirement("faults:clients:vanish", _SOURCE, "a client that vanishes ends its call at the tool server too"),
    Requirement("faults:bodies:megabyte", _SOURCE, "a megabyte of arguments goes through whole, a byte more does not"),
    Requirement("faults:bodies:smuggled", _SOURCE, "what two readers could read apart is refused, or is one call"),
    Requirement("faults:servers:slow", _SOURCE, "a slow tool server is cut off after the agent's own time"),
    Requirement("faults:servers:down", _SOURCE, "a tool server that is down is named and costs nothing"),
    Requirement("faults:servers:lies", _SOURCE, "a tool server that lies about its tools is not called"),
    Requirement("faults:servers:registration", _SOURCE, "a tool server that lies is not registered"),
    Requirement(
        "faults:state:changed", "DESIGN §3.2", "a row changed, rolled back or deleted by hand denies what rests on it"
    ),
    Requirement("faults:state:added", "DESIGN §3.2", "a row added by hand grants nothing"),
    Requirement("faults:state:doctor", "DESIGN §2", "doctor names each such row and `--repair` puts it right"),
    Requirement(
        "faults:life:untouched", "issue 3, faults", "untouched, what people were asked goes on after a restart"
    ),
    Requirement("faults:life:edited", "issue 3, faults", "a row of an agent's life edited by hand helps nobody"),
    Requirement("faults:life:deleted", "issue 3, faults", "a row of it deleted by hand approves and revives nothing"),
    Requirement("faults:life:rolled-back", "issue 3, faults", "a row of it put back brings back nothing that ended"),
    Requirement("faults:life:added", "issue 3, faults", "a row of it added by hand approves and appoints nobody"),
    Requirement("faults:log:tampered", "DESIGN §5", "a server does not start on a log that does not verify"),
    Requirement("faults:disk:full", _SOURCE, "on a full disk no call goes through, a revocation does, and space heals"),
    Requirement(
        "faults:kill:load",
        _SOURCE,
        "kill -9 under load loses nothing that was answered, and nothing was sent without its record",
    ),
    Requirement(
        "faults:matrix:documented",
        "issue 5, faults",
        "what an agent of each tier is told while one control is down is what docs/faults.md says",
    ),
    Requirement(
        "faults:matrix:closed",
        "DESIGN §3.10",
        "with a control down that a call needs, nothing reaches the tool; a higher tier is told no more than a lower",
    ),
    Requirement("faults:matrix:over", "issue 5, faults", "once it is up again calls go through, and none is left open"),
)
