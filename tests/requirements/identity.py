"""Promises of the identity room and of the small client."""

from __future__ import annotations

from tests.requirements import Requirement

_HOSTILE = "threat identity-console §1.4"

REQUIREMENTS: tuple[Requirement, ...] = (
    Requirement(
        "identity:fact-source:two-persons",
        "issue 5 §2, DESIGN §4",
        "Issuers and context providers that one person registered count for agents in development alone.",
    ),
    Requirement(
        "identity:access:agent", "DESIGN §4", "A retired agent gets no token; a token of an unknown agent is refused."
    ),
    Requirement(
        "identity:access:audience",
        "DESIGN §4, RFC 8707",
        "A token is good for one URL under the public URL and below it, on segment boundaries.",
    ),
    Requirement(
        "identity:access:form",
        "DESIGN §4, RFC 9068",
        "An access token is ES256, `at+jwt`, lives 300 s, names agent, credential and epoch, and says what went in.",
    ),
    Requirement(
        "identity:access:recorded", "DESIGN §5", "No token leaves before its issue is durable; choices stay sealed."
    ),
    Requirement(
        "identity:access:state",
        "DESIGN §6",
        "An agent gets tokens only in states that run in its environment, also while one is being issued.",
    ),
    Requirement(
        "identity:admins:invitee",
        "DESIGN §4",
        "The single administrator alone invites, and another person who is there.",
    ),
    Requirement(
        "identity:admins:kept",
        "DESIGN §4",
        "The time of one administrator ends once, and nobody brings it back by removing the other.",
    ),
    Requirement(
        "identity:admins:one-invitation",
        "DESIGN §4",
        "One invitation is open at a time, and none once somebody joined.",
    ),
    Requirement(
        "identity:admins:own-credential", "DESIGN §4", "Joining ends whatever others might hold of the account."
    ),
    Requirement(
        "identity:admins:recovery",
        "DESIGN §11",
        "An installation nobody can administer any more gives whoever starts it one link.",
    ),
    Requirement(
        "identity:admins:second",
        "DESIGN §4",
        "One link makes the second administrator; from there on acts are judged by roles.",
    ),
    Requirement(
        "identity:accounts:bound",
        "RFC 9207, RFC 7636, issue 5 §5",
        "An authorization server's answer counts once, for the session and person that went there, from its issuer.",
    ),
    Requirement(
        "identity:accounts:connected",
        "issue 5 §5",
        "Agents that act for a person who connected an account are let in as that person, and as nobody else.",
    ),
    Requirement(
        "identity:accounts:ended", "RFC 7009", "A disconnected or dead account is of no more use, here at once."
    ),
    Requirement("identity:accounts:rotated", "RFC 6749 §6", "Refresh tokens are rotated, and no spent one is shown."),
    Requirement("identity:accounts:sealed", "DESIGN §4", "An account's tokens open only in the place of their row."),
    Requirement("identity:accounts:terms", "issue 5 §5", "A consent counts for what was consented to."),
    Requirement("identity:broker:basic", "issue 5 §5", "A password goes out as HTTP Basic and stands nowhere."),
    Requirement(
        "identity:broker:client-credentials",
        "issue 5 §5",
        "A client at an authorization server gets tokens for what the operator pinned, proven by secret or own key.",
    ),
    Requirement(
        "identity:broker:definitions",
        "DESIGN §3.16",
        "Definitions of servers that are called as a person are asked for with the gateway's own credential or none.",
    ),
    Requirement(
        "identity:broker:exchange",
        "issue 5 §5, RFC 8693",
        "An exchange says who the user is and every actor; its token is one agent's for one user.",
    ),
    Requirement("identity:broker:leases-revoked", "DESIGN §4", "What was lent for an agent ends with the agent."),
    Requirement(
        "identity:broker:one-refresh",
        "issue 5 §5",
        "A token is kept until shortly before it ends; all who need one wait for one request.",
    ),
    Requirement("identity:broker:own-key", "issue 5 §5", "The key of a client that proves itself by one never leaves."),
    Requirement("identity:broker:renewed", "RFC 6750 §3.1", "A refused token is replaced, and not over and over."),
    Requirement(
        "identity:broker:token-refused",
        "DESIGN §3",
        "Without a token that is exactly what was asked for, nothing goes out, and nothing is repeated of the answer.",
    ),
    Requirement("identity:broker:form", "DESIGN §11", "A secret that could leak or not be scrubbed is not stored."),
    Requirement(
        "identity:broker:pinned", "DESIGN §4", "A brokered secret travels only to the origin it was stored for."
    ),
    Requirement("identity:broker:replaced", "DESIGN §4", "A replaced or removed secret is so on the next call."),
    Requirement("identity:broker:scrubbed", _HOSTILE, "Answers are scrubbed of the secret in its likely spellings."),
    Requirement(
        "identity:broker:sealed", "DESIGN §4", "A sealed secret opens only under its own name, origin and version."
    ),
    Requirement("identity:broker:unseen", "DESIGN §11", "A brokered secret stands in no row, event, list or repr."),
    Requirement("identity:cache:bounded", "DESIGN §4", "The token cache is bounded and only a matter of speed."),
    Requirement(
        "identity:client:assertion", "RFC 7523 §3", "Only a fresh, short assertion of the credential's key proves it."
    ),
    Requirement("identity:client:bounds", "DESIGN §11", "Requests are bounded; errors are those of RFC 6749."),
    Requirement("identity:client:replay", "RFC 7523 §3", "An assertion is good once, restarts and clocks included."),
    Requirement("identity:clock:both", "DESIGN §11", "Tokens expire on the later of wall and boot clock."),
    Requirement("identity:clock:skew", "DESIGN §11", "Clocks of others may be 30 s off, not more."),
    Requirement(
        "identity:credentials:writes",
        "DESIGN §4, §6",
        "Halting ends tokens, ending takes keys and join tokens too, in the caller's transaction.",
    ),
    Requirement("identity:enrolment:agent", "DESIGN §4", "Only existing agents that are not retired enrol."),
    Requirement("identity:enrolment:bounds", "DESIGN §11", "Enrolment is bounded in size, form and attempts."),
    Requirement("identity:enrolment:expiry", "DESIGN §4", "A join token ends by time and with its agent's revocation."),
    Requirement(
        "identity:enrolment:hashes-only", "DESIGN §4", "Join tokens are stored as hashes, keys as public keys."
    ),
    Requirement(
        "identity:enrolment:key-form", "DESIGN §4", "Only a canonical public P-256 key enrols; a private one is burnt."
    ),
    Requirement("identity:enrolment:own-key", "DESIGN §4", "An instance brings its own public key."),
    Requirement("identity:enrolment:pins", "DESIGN §4", "A join token may be pinned to a key or an address range."),
    Requirement(
        "identity:enrolment:single-use", "DESIGN §4", "A second use of a join token locks the key the first enrolled."
    ),
    Requirement("identity:enrolment:unique-key", "DESIGN §4", "A key is enrolled once in the installation, for good."),
    Requirement("identity:exchange:actor-token", "RFC 8693 §2.1", "The actor is proven by its key or its own token."),
    Requirement("identity:exchange:actors-kept", _HOSTILE, "No actor is ever dropped from the chain."),
    Requirement("identity:exchange:no-widening", _HOSTILE, "An exchange widens neither audience nor life."),
    Requirement(
        "identity:exchange:subject",
        "DESIGN §4, RFC 8693 §4.4",
        "A subject token is from a registered issuer, typed, and for us or with a `may_act` naming this agent.",
    ),
    Requirement(
        "identity:exchange:task", "DESIGN §4", "A task token names this agent, this user and a task, for 15 minutes."
    ),
    Requirement("identity:exchange:user", "DESIGN §4", "`sub` is the user, `act` the agent; claims are let through."),
    Requirement("identity:issuers:registration", "DESIGN §4", "Only an issuer that can be trusted is registered."),
    Requirement("identity:links:authority", "DESIGN §4", "Only who manages people signs others in."),
    Requirement("identity:links:recorded", "DESIGN §5", "Signing in is on record; where from is sealed."),
    Requirement("identity:links:single", "DESIGN §4", "A link opens once, within its hour, and a newer one voids it."),
    Requirement("identity:links:tied", "DESIGN §4", "Whoever makes a link for an account is tied to it."),
    Requirement("identity:metadata:true", "RFC 8414, RFC 9728", "Metadata names what exists and nothing else."),
    Requirement("identity:people:bounds", "DESIGN §11", "Names, addresses and attempts of people are bounded."),
    Requirement(
        "identity:people:ended",
        "DESIGN §4",
        "Ending a person's credentials takes what they hold and what they gave out.",
    ),
    Requirement("identity:people:expiry", "DESIGN §4", "API tokens expire, on either clock."),
    Requirement("identity:people:first-admin", "DESIGN §4", "One link makes the first admin, and never a second one."),
    Requirement("identity:people:left", "DESIGN §4", "Nothing of a person who left works, at once."),
    Requirement("identity:people:no-act-as", "DESIGN §4", "No parameter acts for another person."),
    Requirement("identity:people:no-secrets", "DESIGN §4", "Links and tokens of people are stored as hashes."),
    Requirement("identity:people:older-rows", "STYLE §8", "Tokens of earlier releases go on working."),
    Requirement("identity:people:revoke", "DESIGN §4", "A revoked API token is refused at once."),
    Requirement("identity:people:room", "DESIGN §11", "One person's tokens leave room for everybody else's."),
    Requirement("identity:people:scopes", "DESIGN §4", "A token never has more scopes than its maker."),
    Requirement("identity:people:service-accounts", "DESIGN §6", "A service account has tokens and no session."),
    Requirement("identity:people:single-use", "DESIGN §4", "A link signs in once, within its hour."),
    Requirement(
        "identity:people:tidy", "DESIGN §11", "What ended long ago is forgotten, by the slower of both clocks."
    ),
    Requirement("identity:people:tokens", "DESIGN §11", "Every bad API token gets the same outward text."),
    Requirement("identity:posture:form", "DESIGN §11", "A posture of another form refuses the assertion."),
    Requirement("identity:posture:proven", "DESIGN §7", "A posture counts as said by the key that signed it, once."),
    Requirement(
        "identity:posture:reported",
        "DESIGN §7",
        "What an instance says it runs reaches whoever holds it against what was approved.",
    ),
    Requirement("identity:opaque:audience", "DESIGN §4", "An opaque key can be kept to one address and below."),
    Requirement("identity:opaque:bound", "DESIGN §4", "An opaque key is of one agent in one environment, for good."),
    Requirement(
        "identity:opaque:bounds",
        "DESIGN §11",
        "Opaque keys are few at a time, end within 90 days, and are made only for agents that take keys.",
    ),
    Requirement(
        "identity:opaque:ended",
        "issue 5 §1, DESIGN §4",
        "Whatever ends an agent's tokens, or the credential, ends its opaque keys at once and for good.",
    ),
    Requirement("identity:opaque:expiry", "DESIGN §11", "An opaque key ends by itself, by the later of both clocks."),
    Requirement(
        "identity:opaque:hash-only", "DESIGN §4", "An opaque key is shown once; it is in no row, record or log."
    ),
    Requirement(
        "identity:opaque:header",
        "issue 5 §1",
        "`x-api-key` counts only where the protocol asks for it, and for an opaque key alone.",
    ),
    Requirement("identity:opaque:no-tokens", "DESIGN §4", "An opaque key gets no token and acts for no user."),
    Requirement("identity:opaque:production", "DESIGN §4", "In production an agent's owner makes its opaque keys."),
    Requirement(
        "identity:opaque:proves",
        "issue 5 §1, DESIGN §4",
        "An opaque key proves the agent it was made for, without user or task, and says which credential it is.",
    ),
    Requirement(
        "identity:opaque:unknown", "DESIGN §4", "An opaque key that was not made, or is altered, proves nobody."
    ),
    Requirement(
        "identity:opaque:unproven",
        "DESIGN §3.2",
        "An opaque key counts only while row and epoch are proven; a lost epoch is not begun again.",
    ),
    Requirement(
        "identity:production:clearance", "DESIGN §6", "No production key enrols without sign-off on that version."
    ),
    Requirement(
        "identity:production:confirmed",
        "DESIGN §4",
        "A production key counts once the agent's owner vouched for its thumbprint.",
    ),
    Requirement("identity:revoke:agent", "DESIGN §4", "A revoked agent's tokens and keys are dead on the next call."),
    Requirement("identity:revoke:credential", "DESIGN §4", "One instance can be revoked or locked alone."),
    Requirement(
        "identity:revoke:issuer", "DESIGN §4", "A revoked issuer's word ends; registering anew revives nothing."
    ),
    Requirement("identity:revoke:listeners", "DESIGN §4", "Whoever has calls in flight is told what was revoked."),
    Requirement("identity:revoke:narrowing", "DESIGN §4", "A revocation holds even if it cannot be recorded."),
    Requirement("identity:revoke:race", _HOSTILE, "No token made before a revocation works after it."),
    Requirement("identity:revoke:unknown", "DESIGN §8", "Revoking what does not exist says so."),
    Requirement(
        "identity:sessions:apart", "DESIGN §4", "A session is never taken for a token, nor a token for a session."
    ),
    Requirement("identity:sessions:closed", "DESIGN §4", "Signing out ends the session at once."),
    Requirement(
        "identity:sessions:ends",
        "DESIGN §4",
        "A session ends after 30 minutes without use and after 12 hours, on either clock.",
    ),
    Requirement("identity:sessions:fresh", _HOSTILE, "A session's secret is always a new one."),
    Requirement("identity:sessions:restart", "DESIGN §11", "A restart revives no idle session."),
    Requirement("identity:signing:first-start", "DESIGN §4", "Signing keys are made once, at the first start."),
    Requirement("identity:signing:rotation", "threat identity-console §6.5", "A key rotation fails no call."),
    Requirement("identity:signing:sealed", "DESIGN §4", "Private signing keys are sealed at rest, published nowhere."),
    Requirement("identity:state:proven", "DESIGN §3.2", "A row that the log contradicts proves nobody."),
    Requirement("identity:state:rebuilt", "DESIGN §3.2", "A restart knows all identity state again."),
    Requirement("identity:tasks:background", "DESIGN §4", "Tasks of live tokens are refreshed in the background."),
    Requirement("identity:tasks:closed", "DESIGN §4", "A task not known to be open is no task."),
    Requirement("identity:tasks:fresh", "DESIGN §4", "What is known of a task is at most 30 s old."),
    Requirement("identity:tasks:pinned", "DESIGN §11", "A status is asked only where the operator registered it."),
    Requirement("identity:tokens:hostile", _HOSTILE, "Every hostile token is refused with its own reason."),
    Requirement("identity:tokens:outward", _HOSTILE, "All hostile tokens get one outward text."),
    Requirement(
        "sdk:identity:cached", "DESIGN §4", "Tokens are kept until near their end, apart by what they are for."
    ),
    Requirement("sdk:identity:enrol", "DESIGN §4", "The client enrols and gets tokens that the gateway accepts."),
    Requirement("sdk:identity:errors", "DESIGN §8", "Refusals reach the program with the server's code."),
    Requirement("sdk:identity:posture", "DESIGN §7", "The client says what the instance runs, in what it signs."),
    Requirement("sdk:keyring:file", "DESIGN §11", "A key file is 0600, its owner's, and checked when read."),
    Requirement("sdk:keyring:private", "DESIGN §4", "Only the public half of the key leaves the process."),
    Requirement("sdk:wire:answers", "DESIGN §11", "Answers are bounded and read strictly; errors are our own."),
    Requirement("sdk:wire:https", "DESIGN §11", "Secrets are sent over https or loopback only."),
    Requirement("sdk:wire:transport", "DESIGN §11", "Transports send what was built and follow no redirect."),
)
