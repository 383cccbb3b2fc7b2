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
    # -- quorum, obligations, abstentions
    Requirement("gates:rule:stricter", "ADR 17", "an organisation's rule takes nothing from a built-in gate"),
    Requirement("gates:rule:now", "ADR 17", "a stricter rule holds at once, a looser one for what is asked afterwards"),
    Requirement("gates:rule:two-persons", "ADR 17", "what a gate asks for is changed by two persons"),
    Requirement("gates:quorum", "issue 6 §1", "a role can need several distinct persons"),
    Requirement("signoff:abstain", "issue 6 §1", "an abstention answers, approves nothing and frees the role"),
    Requirement("signoff:outlook", "issue 6 faults", "where nobody can approve, that is said, and who could"),
    Requirement("signoff:votes:stale", "issue 6 faults", "a vote on a superseded digest counts nowhere"),
    Requirement("obligations:stricter", "issue 6 §1", "of several obligations the stricter wins"),
    Requirement("obligations:part", "issue 6 §1", "obligations are part of what is approved and shown to later voters"),
    Requirement("obligations:in-force", "issue 6 §1", "obligations come into force with the activation"),
    Requirement("obligations:carried", "issue 6 §1", "a carried vote stays under what it was given under"),
    Requirement("obligations:checked", "issue 6 §1", "an obligation that cannot be kept to is refused"),
    Requirement("obligations:kept", "issue 6 §1", "only a new approval ends an obligation"),
    Requirement("obligations:canary", "issue 6 §1", "a canary lets its share of sessions through, whole sessions each"),
    Requirement(
        "reminders:stages", "issue 6 §1", "at 50, 80, 90 and 95 percent of the term people are told, once each"
    ),
    Requirement("reminders:escalate", "issue 6 §1", "reminders go to voters, then to backups, then to heads"),
    Requirement("reminders:never-approve", "issue 6 §1", "a reminder counts no vote, ends nothing and gives no vote"),
    Requirement(
        "templates:lead-alone", "issue 6 §1", "within an approved template a team lead is enough, never nobody"
    ),
    Requirement(
        "templates:bounds", "issue 6 §1", "a template bounds all that its approvers judged; beyond is the gate"
    ),
    Requirement("templates:duties", "issue 6 §1", "a template approved by the asking side spares nobody's word"),
    Requirement("templates:again", "issue 6 §1", "a template is asked again at activation, as is what it pinned"),
    Requirement("templates:stated", "issue 6 §3", "gates and templates are exported, compared and applied again"),
    Requirement(
        "break-glass:narrow", "issue 6 §1", "break-glass lifts named holds of named tools, for at most 8 hours"
    ),
    Requirement(
        "break-glass:duties", "issue 6 §1", "nobody breaks glass for, or reviews, what they stand on a side of"
    ),
    Requirement("break-glass:review", "issue 6 §1", "each is reviewed within 3 days, or its breaker breaks no other"),
    # -- who may vote
    Requirement(
        "duties:law:second-implementation", "issue 3 §3", "over 10,000 random organisations a naive answer agrees"
    ),
    Requirement("duties:law:nobody-asking", "DESIGN §6", "nobody on the asking side ever votes, by any path"),
    Requirement(
        "duties:law:any-path", "issue 6 numbers", "no self-approval by quorum, template, delegate, group, bot or glass"
    ),
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
    # -- sign-off
    Requirement("gates:tiers", "DESIGN §6", "each tier and kind of subject has its gate"),
    Requirement("gates:facets", "issue 3 §3", "every facet is judged by at least one role at every tier"),
    Requirement("signoff:clearance:voters", "DESIGN §2", "a clearance names what, the voters and their credentials"),
    Requirement("signoff:clearance:again", "DESIGN §6", "everything a clearance rests on is judged again at use"),
    Requirement("signoff:assessment:accepted", "issue 3 §3", "a residual risk is accepted by nobody but who is named"),
    Requirement("signoff:assessment:bound", "DESIGN §6", "a high gate's votes name the assessment's digest"),
    Requirement(
        "signoff:assessment:holds", "DESIGN §6", "an assessment holds while the policies it names are in force"
    ),
    Requirement(
        "signoff:assessment:form", "DESIGN §6", "an assessment is structured, and somebody accepts the residual"
    ),
    Requirement("signoff:comment", "research compliance §4.2.2", "a rejection and a high gate's approval need words"),
    Requirement("signoff:excess", "DESIGN §6", "excess blocks the vote that judges the access validation"),
    Requirement("signoff:blocked", "issue 3 §1", "what has no tier cannot be approved"),
    Requirement("signoff:rejected", "research compliance §4.2.2", "one rejection ends a request"),
    Requirement("signoff:self", "issue 3 §8", "self-approval fails at the desk too"),
    Requirement("signoff:role-late", "DESIGN §4", "a role granted after the request opened gives no vote on it"),
    Requirement("signoff:clock", "DESIGN §11", "a stepped clock approves nothing and makes no role older"),
    Requirement("signoff:votes:at-once", "issue 3", "of votes at once by one person or in one role one counts"),
    Requirement("signoff:delegation", "research compliance §4.2.6", "a vote under a delegation says for whom"),
    Requirement("signoff:facets:void", "DESIGN §6", "a change voids the votes of the roles that judge it"),
    Requirement("signoff:carried", "DESIGN §6", "a new version carries unaffected votes over and says so"),
    Requirement("signoff:carried:fresh", "DESIGN §6", "no version is approved by carried votes alone"),
    Requirement("signoff:open:once", "issue 3", "one live request for one subject"),
    Requirement("signoff:votes:record", "DESIGN §4", "a vote says who else could sign in as its voter"),
    Requirement("signoff:view:raw", "DESIGN §11", "a voter sees all raw values, and nothing that deceives the eye"),
    Requirement("signoff:view:recorded", "issue 3 §3", "a record of the view shown goes with each vote"),
    Requirement("signoff:expiry", "DESIGN §6, §11", "requests expire by tier on both clocks, restarts included"),
    Requirement("signoff:unused", "DESIGN §6", "an approval unused for 30 days lapses"),
    Requirement("signoff:reopened", "DESIGN §6", "voided votes reopen a request within its time only"),
    Requirement("signoff:used", "DESIGN §1", "what is not a version is cleared for one use"),
    Requirement("signoff:void-agent", "DESIGN §6", "retirement ends what is still asked about an agent"),
    Requirement("signoff:kept", "DESIGN §11", "what ended unused is forgotten later, what was used is not"),
    Requirement("signoff:durable", "DESIGN §11", "a vote counts when it is durable, and survives a restart"),
    Requirement("signoff:restart", "DESIGN §11", "votes survive the process"),
    Requirement("signoff:unknown-grounds", "DESIGN §3.10", "grounds that cannot be known approve nothing"),
    Requirement("signoff:unproven", "DESIGN §3.2", "a hand-edited row approves nothing, nor does anything beside it"),
    Requirement("holds:approver:duties", "DESIGN §3.11", "a hold's approver is judged by the rules of every gate"),
    Requirement("holds:approver:unproven", "DESIGN §3.2", "no hold is answered by role while a row is unproven"),
    Requirement("approvals:chat:vote", "issue 6 §1", "who linked an account votes from a chat, by the same function"),
    Requirement("approvals:chat:signed", "issue 6 §1", "a callback is signed, not old, and taken once"),
    Requirement("approvals:chat:linked", "issue 6 §1", "an account is somebody's by their own code, and by no name"),
    Requirement("approvals:chat:duties", "issue 6, faults", "duties, present views and tiers hold for a chat as well"),
    Requirement("approvals:chat:standard", "issue 6 §1", "a chat of another kind signs as Standard Webhooks has it"),
    Requirement("approvals:chat:channels", "issue 6 §1", "a channel is declared by an administrator, secret by name"),
    Requirement("approvals:chat:told", "issue 6 §1", "a reminder brings buttons that name the view"),
    Requirement("break-glass:two-persons", "research §4.2 rule 7", "two break it without a page, for 8 hours at most"),
    Requirement("break-glass:console", "issue 6 §1", "a page tells what is asked, broken, to be looked at and past"),
)
