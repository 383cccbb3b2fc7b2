"""Promises about what monitoring tells at once."""

from __future__ import annotations

from tests.requirements import Requirement

REQUIREMENTS: tuple[Requirement, ...] = (
    Requirement(
        "events:match:off-task", "issue 7 §5", "a call with an effect that the request does not speak of is told apart"
    ),
    Requirement(
        "events:match:tainted", "issue 7 §5", "a value that names something and came from results alone is told apart"
    ),
    Requirement(
        "events:match:silent", "DESIGN §7", "where no request is known, or none that can be read, nothing counts"
    ),
    Requirement(
        "events:denials", "issue 7 §5", "a share of refusals beyond the agent's own history is a burst, told once"
    ),
    Requirement("events:errors", "issue 7 §5", "failing and repeated calls beyond the agent's own history are told of"),
    Requirement("events:rate", "issue 7 §5", "a rise has the false-alarm rate that is stated for it"),
    Requirement("events:loop", "issue 7 §5", "the same call, or calls in a circle, over and over in one session"),
    Requirement(
        "events:hours", "issue 7 §5", "work at an hour at which a well-known agent never worked is told of once"
    ),
    Requirement("events:places", "issue 7 §5", "one key in two networks by turns is told of; one that moved is not"),
    Requirement("events:revoked", "issue 7 §5", "what was revoked, or is of a stopped agent, and is still in use"),
    Requirement("events:forgotten", "issue 7 §2", "nothing is remembered of an agent that is retired"),
    Requirement("events:killed", "threat crash", "killed anywhere, an event is told of once"),
    Requirement("events:first-use", "issue 7 §5", "the approved use of a model is no new destination, elsewhere it is"),
    Requirement("events:forecast", "issue 7 §5", "a budget that will be gone early is told of once for each window"),
    Requirement("events:mismatch", "issue 7 §5", "what the user did not ask for, about what only a result names"),
    Requirement("events:mismatch:bounded", "threat flood", "how many parts of records a round opens is bounded"),
    Requirement("events:ordinary", "threat flood", "ordinary work, bursts, restarts and bad clocks open no event"),
    Requirement("events:endpoint", "issue 7 §3", "a tool server or provider that moved is found without a call"),
    Requirement("events:instructions", "issue 7 §3", "a model that is told something else than the approved prompt"),
    Requirement("events:answer", "issue 7 §3", "another model than the one called that answered is found at once"),
    Requirement("events:match:bounded", "threat flood", "however long requests, results and sessions are"),
)
