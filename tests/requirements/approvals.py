"""Promises of the approvals room: holds, duties, gates and sign-off."""

from __future__ import annotations

from tests.requirements import Requirement

REQUIREMENTS: tuple[Requirement, ...] = (
    Requirement(
        "holds:request:exact", "DESIGN §3.11", "a grant is for one agent, version, user, task, tool and arguments"
    ),
    Requirement("holds:request:encoding", "trap NaN written as null", "a value without one JSON text has no digest"),
    Requirement("holds:open:merged", "DESIGN §3.11", "equal open holds are one, also when asked for at once"),
    Requirement("holds:open:limit", "DESIGN §3.11", "an agent has at most five open holds"),
    Requirement("holds:open:denied", "DESIGN §3.11", "a denied call is not asked again while its hold lasts"),
    Requirement(
        "holds:approver:served", "DESIGN §3.11", "the user served and barred persons never answer, unless named"
    ),
    Requirement(
        "holds:approver:single-admin", "issue 2 §1", "until roles exist one admin answers, in development, on record"
    ),
    Requirement("holds:approver:roles", "DESIGN §3.11", "every need has a grant by its own role"),
    Requirement("holds:approver:at-once", "DESIGN §3.11", "of two answers at once one counts"),
    Requirement("holds:denied:ends", "DESIGN §3.11", "one denial ends a hold"),
    Requirement(
        "holds:expiry", "DESIGN §11", "holds and grants expire by whichever clock says so first, restarts included"
    ),
    Requirement(
        "holds:view:raw", "DESIGN §11", "the approver is shown the raw values, and nothing that deceives the eye"
    ),
    Requirement(
        "holds:view:digest", "DESIGN §11", "a grant names the digest of the view shown; another view is refused"
    ),
    Requirement(
        "holds:grant:once", "DESIGN §3.11", "a grant is used exactly once under concurrency and across restarts"
    ),
    Requirement("holds:grant:unknown", "DESIGN §3.10", "a use that fails half-way leaves no usable grant"),
    Requirement("holds:grant:recorded", "DESIGN §3.11", "a use is a durable control change before the decision record"),
    Requirement(
        "holds:state", "DESIGN §3.11", "a client that comes back is told where its own hold for that call stands"
    ),
    Requirement(
        "holds:state:sealed", "DESIGN §3.11", "sealed state opens for its agent, user and request, until it expires"
    ),
    Requirement("holds:record:clear", "DESIGN §5", "no argument and no guessable digest stands in clear in a record"),
    Requirement("holds:kept", "DESIGN §11", "what is over loses its raw values at once and is forgotten later"),
    # -- who may vote
    Requirement(
        "duties:law:second-implementation", "issue 3 §3", "over 10,000 random organisations a naive answer agrees"
    ),
    Requirement("duties:law:nobody-asking", "DESIGN §6", "nobody on the asking side ever votes, by any path"),
    Requirement("duties:law:monotone", "DESIGN §6", "more parties or ties never let anybody in who was out"),
    Requirement("duties:role:held", "DESIGN §4", "only a live grant for the team lets somebody vote in a role"),
    Requirement("duties:role:before", "DESIGN §4", "a role granted after the request opened does not count"),
    Requirement("duties:role:hands", "DESIGN §4", "a role that a barred person had a hand in does not count"),
    Requirement("duties:groups:cyclic", "issue 3", "groups that contain each other are resolved, and end"),
    Requirement("duties:parties:barred", "DESIGN §6", "requester, authors, owners and beneficiaries do not vote"),
    Requirement("duties:bots", "DESIGN §6", "bots do not vote, nor do those behind a bot that is a party"),
    Requirement("duties:left", "issue 3", "whoever left does not vote, nor anybody in their place"),
    Requirement("duties:delegation:direct", "research compliance §4.2.6", "a delegation lends one role for a time"),
    Requirement("duties:delegation:chain", "research compliance §4.2.6", "a delegation is not passed on"),
    Requirement("duties:delegation:barred", "DESIGN §6", "delegates of a party, in either direction, do not vote"),
    Requirement("duties:ties", "DESIGN §4", "whoever made an account counts for 30 days as the same person"),
    Requirement("duties:once", "DESIGN §6", "one person fills one role"),
    Requirement("duties:again", "DESIGN §6", "a vote is judged again whenever anything rests on it"),
)
