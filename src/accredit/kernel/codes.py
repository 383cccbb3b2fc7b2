"""Every reason code the product can answer with: one list, its meaning and its remedy.

Codes are a public surface (DESIGN §8): add, do not rename. `docs/codes.md` is checked against this list.
"""

from __future__ import annotations

from enum import Enum
from typing import Self

__all__ = ["Code"]


class Code(Enum):
    """A stable reason: `value` is the wire text, `meaning` what happened, `remedy` what would change it."""

    meaning: str
    remedy: str

    def __new__(cls, value: str, meaning: str, remedy: str = "") -> Self:
        member = object.__new__(cls)
        member._value_ = value
        member.meaning = meaning
        member.remedy = remedy
        return member

    def __str__(self) -> str:
        return str(self.value)

    # -- the decision itself
    ALLOWED = ("allowed", "a permit matched, no forbid did, every limit had room")
    TOOL_NOT_GRANTED = (
        "tool_not_granted",
        "the agent's approved version grants no such tool",
        "add the tool to the manifest's `tools` and apply a new version",
    )
    ITEM_AMBIGUOUS = (
        "item_ambiguous",
        "more than one resource that the agent may read has this URI",
        "ask at `/mcp/` and the name of the server that is meant; two templates of one server must not overlap",
    )
    USER_ROLE_REQUIRED = (
        "user_role_required",
        "the tool is granted only for users with a role this call's user lacks",
        "call on behalf of a verified user who has the role named in the manifest's `when.userRole`",
    )
    TASK_MISMATCH = (
        "task_mismatch",
        "an argument differs from the verified task's value, or there is no verified task",
        "exchange a signed task token for the task at hand; see the manifest's `when.sameAs`",
    )
    DELEGATION_NOT_GRANTED = (
        "delegation_not_granted",
        "an agent in the chain does not delegate this to the agent it hands it on to",
        "name callee and tool under `delegates` in the manifest of the agent that `detail` names first",
    )
    DELEGATION_UNMET = (
        "delegation_unmet",
        "the tool is delegated, but a condition of that delegation does not hold",
        "see `unmet`, and the `when` of the delegation that it names",
    )
    DELEGATION_FORBIDDEN = (
        "delegation_forbidden",
        "a policy forbids handing this on to the other agent",
        "see `policy`; its author can change it",
    )
    DELEGATION_CYCLE = (
        "delegation_cycle",
        "the agent acts in this chain already: what comes back to it would have passed itself by",
        "hand the work to an agent that is not part of the chain",
    )
    DELEGATION_DEPTH = (
        "delegation_depth",
        "the chain would have more than four actors",
        "let an agent that stands earlier in the chain hand the work on",
    )
    DELEGATOR_ENDED = (
        "delegator_ended",
        "an agent earlier in the chain does not run any more, or the credential it handed this on with was revoked",
        "see `accredit agent get` of every agent in the chain, and hand the work on anew",
    )
    PROVIDER_UNAVAILABLE = (
        "provider_unavailable",
        "a registered context provider did not answer in time, so its facts are absent",
        "see that it answers, within the time and size it is registered with",
    )
    PROVIDER_INVALID = (
        "provider_invalid",
        "a registered context provider's answer is not of the registered form, so its facts are absent",
        "see that it answers with one JSON object of the registered facts, each of its type",
    )
    OUTSIDE_HOURS = (
        "outside_hours",
        "the agent's registered hours do not include this moment",
        "call within the manifest's `hours`",
    )
    CONDITION_UNMET = (
        "condition_unmet",
        "a permit exists but its conditions do not hold",
        "see `unmet` in the refusal",
    )
    FORBIDDEN_BY_POLICY = (
        "forbidden_by_policy",
        "a policy forbids this call",
        "see `policy`; its author can change it",
    )
    HELD = (
        "held",
        "a person must approve exactly this call",
        "wait for the hold to be granted, then repeat the identical call",
    )
    HOLD_LIMIT = ("hold_limit", "the agent has too many open holds", "wait until an approver answers the open ones")
    GRANT_USED = ("grant_used", "the grant for this call was used already", "repeat the call to ask again")
    HOLD_DENIED = ("hold_denied", "the approver denied this call", "change the call or ask the approver")
    HOLD_EXPIRED = ("hold_expired", "nobody answered the hold in time", "repeat the call to ask again")
    MCP_TASK_UNKNOWN = (
        "mcp_task_unknown",
        "no such task of this caller at this endpoint",
        "it is too old, or was revoked: repeat the call",
    )
    STATE_USED = (
        "state_used",
        "the call for which this state was handed out was made already",
        "repeat the call without state to make it once more",
    )
    HOLD_UNKNOWN = ("hold_unknown", "no such hold for this agent and call", "repeat the call without state")
    POLICY_ERROR = (
        "policy_error",
        "a forbidding policy could not be evaluated, so the call is denied",
        "give the value the policy reads, or guard it with `has` in the policy",
    )
    UNENCODABLE_INPUT = (
        "unencodable_input",
        "a number a policy reads does not fit exactly, or the context cannot be encoded",
        "send integers within 64 bits and decimals of at most four places",
    )
    RESERVED_KEY = (
        "reserved_key",
        "the keys `__entity`, `__extn` and `__expr` may not appear in a call",
        "rename the key",
    )
    NO_DECISION = (
        "no_decision",
        "the policy engine gave no decision, so the call is denied",
        "see the server's log, and report it",
    )
    ENTITY_INCOMPLETE = (
        "entity_incomplete",
        "an entity lacks a parent every decision needs, so the call is denied",
        "apply the agent and its tool server again",
    )
    ACTION_UNKNOWN = ("action_unknown", "no such operation is registered", "register the tool server's tool")
    REPORT_FOR_ANOTHER = (
        "report_for_another",
        "telemetry told of an agent that its sender may not speak for",
        "send each agent's spans with a credential of its own, or through a collector registered for its environment",
    )
    TYPE_UNKNOWN = (
        "type_unknown",
        "the release in force defines no such type of subject or resource",
        "define it under `ext/` of the policy directory, or correct the name",
    )
    NOT_PERMITTED = (
        "not_permitted",
        "no policy for types of other applications permits this",
        "see the files under `ext/` of the policy directory",
    )
    STATE_UNPROVEN = (
        "state_unproven",
        "stored state about this agent is not what the audit log proves",
        "run `accredit doctor`",
    )
    SNAPSHOT_STALE = ("snapshot_stale", "the replica cannot confirm that its state is current", "repeat the call")
    ENGINE_FAILED = ("engine_failed", "the policy engine failed, so the call is denied", "see the server's log")
    CLOCK_UNCONFIRMED = (
        "clock_unconfirmed",
        "the wall clock stepped by more than 2 s; time-dependent permits deny",
        "check the clock, then confirm it with `accredit doctor --confirm-clock`",
    )
    AGENT_NOT_ACTIVE = (
        "agent_not_active",
        "the agent's state does not allow calls in this environment",
        "see `accredit agent get`",
    )
    ENVIRONMENT_MISMATCH = (
        "environment_mismatch",
        "agent and tool server belong to different environments",
        "grant tools of servers in the agent's own environment",
    )
    DATA_CLASS_UNDECLARED = (
        "data_class_undeclared",
        "the tool carries a data class that the manifest's `data` does not name",
        "add the class to the manifest's `data` and apply a new version",
    )
    MASK_UNPLACEABLE = (
        "mask_unplaceable",
        "the grant masks a data class that no registered field of the tool's results carries",
        "register the tool's `fields` with that class, or take it out of the manifest's `mask`",
    )
    RESTRICTED = (
        "restricted",
        "a restriction in force on this agent forbids the call",
        "wait until it ends, or ask an operator; see `accredit agent get`",
    )
    RIGHT_LOST = (
        "right_lost",
        "whoever stands behind this call does not have the right to this tool",
        "have the directory give that right back, or have somebody who has it own the agent",
    )
    USER_GONE = (
        "user_gone",
        "the directory says that the user this agent acts for is not there any more",
        "act for somebody who is there",
    )
    OUTSIDE_CANARY = (
        "outside_canary",
        "the agent's version was approved for a share of its sessions, and this is not one of them",
        "wait until the period is over, or have a version approved without the obligation",
    )
    # -- arguments and definitions
    UNDECLARED_ARGUMENT = (
        "undeclared_argument",
        "an argument is not in the tool's pinned input schema",
        "send only the properties the schema declares",
    )
    ARGUMENTS_INVALID = (
        "arguments_invalid",
        "the arguments do not fit the tool's pinned input schema",
        "see `at` and `expected` in the refusal",
    )
    DEFINITION_CHANGED = (
        "definition_changed",
        "the tool's definition at the server is not the pinned one",
        "review the change, then run `accredit server repin`",
    )
    DEFINITION_UNVERIFIED = (
        "definition_unverified",
        "the server could not be asked for its definitions lately",
        "check that the tool server answers `tools/list`",
    )
    SCHEMA_REFUSED = (
        "schema_refused",
        "the tool's input schema cannot be compiled safely",
        "remove network references, unbounded composition or the unsupported pattern",
    )
    # -- limits
    RATE_LIMITED = ("rate_limited", "the agent's call rate is used up", "retry after `retry_after_s`")
    ATTEMPTS_LIMITED = (
        "attempts_limited",
        "too many attempts from this credential or source",
        "retry after `retry_after_s`",
    )
    CONCURRENCY_LIMITED = (
        "concurrency_limited",
        "the agent has as many calls in flight as it may",
        "wait for a call to finish, or raise `limits.concurrency`",
    )
    BUDGET_EXHAUSTED = (
        "budget_exhausted",
        "the call's price does not fit what is left of the budget",
        "wait for the window to turn, or raise `limits.cost`",
    )
    PRICE_MISSING = ("price_missing", "the tool has no registered price", "register a price, 0 if it is free")
    CURRENCY_MISMATCH = (
        "currency_mismatch",
        "the tool's price and the agent's budget are in different currencies",
        "register price and budget in one currency",
    )
    CONNECT_TIMEOUT = (
        "connect_timeout",
        "no connection to the tool server or provider came about in time",
        "see that it is reachable; `connect_timeout_ms` sets the time",
    )
    FIRST_BYTE_TIMEOUT = (
        "first_byte_timeout",
        "the provider did not begin to answer in time",
        "ask for a stream, which begins sooner, or raise `llm_first_byte_timeout_ms`",
    )
    IDLE_TIMEOUT = (
        "idle_timeout",
        "the provider's answer stood still for too long",
        "repeat the request, or raise `llm_idle_timeout_ms`",
    )
    CALL_TIMEOUT = ("call_timeout", "the tool server did not answer in time", "raise `limits.timeout.call`")
    RUN_TIMEOUT = ("run_timeout", "the session has run longer than it may", "raise `limits.timeout.run`")
    LIMITS_UNAVAILABLE = (
        "limits_unavailable",
        "the counters cannot be read, so the call is denied",
        "repeat the call; if it persists, see the server's log",
    )
    # -- record
    AUDIT_UNAVAILABLE = (
        "audit_unavailable",
        "the record could not be made durable, so the call is denied",
        "check the disk of the data directory",
    )
    DISK_LOW = ("disk_low", "the data directory is nearly full, so calls are refused", "free or add disk space")
    # -- who is calling
    UNAUTHENTICATED = (
        "unauthenticated",
        "the caller did not prove who it is; why stands in the audit log only",
        "ask for a new token; if that fails, enrol again",
    )
    TOKEN_MISSING = ("token_missing", "no bearer token was sent", "send `Authorization: Bearer …`")
    TOKEN_OVERSIZED = ("token_oversized", "the token is longer than 8 KiB")
    TOKEN_MALFORMED = ("token_malformed", "the token is not a well-formed compact JWS")
    TOKEN_DUPLICATE_KEYS = ("token_duplicate_keys", "the token's JSON repeats a key")
    TOKEN_HEADER = ("token_header", "the token's header carries a key or reference of its own, or `crit`")
    TOKEN_TYPE = ("token_type", "the token's `typ` is not the one due here")
    TOKEN_KEY_UNKNOWN = ("token_key_unknown", "no key with the token's `kid` is registered")
    TOKEN_ALGORITHM = ("token_algorithm", "the token's algorithm is not its key's")
    TOKEN_SIGNATURE = ("token_signature", "the token's signature does not verify")
    TOKEN_ISSUER = ("token_issuer", "the token's issuer is not the one due here")
    TOKEN_AUDIENCE = ("token_audience", "the token is not meant for this address")
    TOKEN_EXPIRED = ("token_expired", "the token has expired", "ask for a new one")
    TOKEN_NOT_YET_VALID = ("token_not_yet_valid", "the token is not valid yet")
    TOKEN_LIFETIME = ("token_lifetime", "the token's lifetime is longer than allowed")
    TOKEN_CLAIMS = ("token_claims", "a claim is missing or has the wrong type")
    TOKEN_SUBJECT = ("token_subject", "the token's subject is not the one due here")
    TOKEN_REPLAYED = ("token_replayed", "the token's `jti` was used already")
    TOKEN_ACTOR = ("token_actor", "the token does not let this agent act for its subject")
    CREDENTIAL_REVOKED = ("credential_revoked", "the credential, its agent or its issuer was revoked", "enrol again")
    CREDENTIAL_LOCKED = (
        "credential_locked",
        "the credential is locked because its join token was used twice",
        "revoke it and enrol again with a new join token",
    )
    CREDENTIAL_PENDING = (
        "credential_pending",
        "the key was enrolled in production and the agent's owner has not confirmed it",
        "have the owner confirm the credential by its thumbprint",
    )
    THUMBPRINT_MISMATCH = (
        "thumbprint_mismatch",
        "the enrolled key has another thumbprint than the one given",
        "ask the instance for its thumbprint; if the key is not its own, revoke the credential",
    )
    ENROLMENT_CLOSED = (
        "enrolment_closed",
        "a production agent takes keys only once its activation began under a clearance for its version",
        "have the version approved, then activate it",
    )
    AGENT_UNKNOWN = ("agent_unknown", "the credential's agent does not exist", "register the agent, then enrol again")
    API_TOKEN_UNKNOWN = ("api_token_unknown", "no such API token was given out", "sign in with `accredit login LINK`")
    JOIN_TOKEN_INVALID = (
        "join_token_invalid",
        "the join token is unknown, expired or was used",
        "issue a new join token",
    )
    JOIN_TOKEN_REUSED = (
        "join_token_reused",
        "the join token was used a second time; the key it enrolled is locked",
        "find out who else held the token, then issue a new one",
    )
    KEY_SHARED = ("key_shared", "this public key is enrolled already", "generate a key for every instance")
    KEY_UNSUITABLE = ("key_unsuitable", "the key is not a P-256 public key", "generate a P-256 key")
    GRANT_TYPE_UNSUPPORTED = (
        "grant_type_unsupported",
        "the token endpoint does not know this grant type",
        "see `/.well-known/oauth-authorization-server`",
    )
    ISSUER_UNAPPROVED = (
        "issuer_unapproved",
        "one person alone registered the issuer or context provider, and outside of development its word takes two",
        "apply its manifest again, and have it signed off",
    )
    ISSUER_UNKNOWN = ("issuer_unknown", "no such issuer is registered", "register the issuer")
    UPSTREAM_CREDENTIAL = (
        "upstream_credential",
        "the tool server's brokered credential is missing or pinned to another origin",
        "store the credential for the origin of the server's URL",
    )
    UPSTREAM_TOKEN = (
        "upstream_token",
        "the authorization server gave no usable token for the tool server, so nothing was sent",
        "check its address and the client registered there; see the server's log",
    )
    UPSTREAM_USER = (
        "upstream_user",
        "the tool server is called as a person, and there is no verified user whose word counts there",
        "call on behalf of a verified user of the issuer that the credential names",
    )
    UPSTREAM_NOT_CONNECTED = (
        "upstream_not_connected",
        "the user has not connected an account at the tool server's authorization server",
        "have the user open `/console/accounts` and connect it",
    )
    TASK_CLOSED = ("task_closed", "the task is not open any more", "work on an open task")
    TASK_STATUS_STALE = (
        "task_status_stale",
        "the task's state could not be refreshed for 30 s",
        "check that the issuer's status URL answers",
    )
    # -- protocol
    ORIGIN_REFUSED = (
        "origin_refused",
        "the Host or Origin header is not on the allow-list",
        "see setting `allowed_hosts`",
    )
    BODY_OVERSIZED = ("body_oversized", "the body is larger than the setting allows", "see `max_body_bytes`")
    BODY_MALFORMED = ("body_malformed", "the body is not the JSON it should be", "send one JSON object in UTF-8")
    BODY_DUPLICATE_KEYS = ("body_duplicate_keys", "the body's JSON repeats a key", "send each key once")
    BODY_TOO_DEEP = ("body_too_deep", "the body is nested too deeply", "nest at most 64 levels")
    HEADER_MISMATCH = (
        "header_mismatch",
        "a routing header differs from the body or is repeated",
        "send each routing header once, with the body's own value",
    )
    METHOD_UNKNOWN = ("method_unknown", "the method is not one this gateway forwards", "use a method that is served")
    PROTOCOL_VERSION = ("protocol_version", "the protocol version is not supported", "speak 2026-07-28 or 2025-11-25")
    SESSION_UNKNOWN = (
        "session_unknown",
        "the session id is not one this gateway gave out",
        "send `initialize` to begin a new session",
    )
    SERVER_LOCAL = (
        "server_local",
        "its tools are functions of a program, which are asked about and never called through the gateway",
        "ask with accredit.sdk or at /access/v1, and run the function in the program",
    )
    SERVER_UNKNOWN = (
        "server_unknown",
        "no such tool server is registered",
        "register the tool server, or see `accredit server list`",
    )
    STORE_UNKNOWN = (
        "store_unknown",
        "no such store, or no such namespace in it, is registered",
        "register it with a manifest of kind Store, or see `accredit store list`",
    )
    STORE_UNREACHABLE = (
        "store_unreachable",
        "a store of memory or knowledge cannot be opened, read or written",
        "check that it is there and that its credential works; what was begun goes on by itself",
    )
    STORE_UNTRUSTED = (
        "store_untrusted",
        "a store answers in a way that no store can: pages without end, or more than it was asked for",
        "look at the store itself; nothing it says is counted on",
    )
    PLAN_CHANGED = (
        "plan_changed",
        "what retiring the agent would do changed since it was shown or signed off",
        "see `accredit agent plan`, and confirm that one",
    )
    PURGE_AWAITS = (
        "purge_awaits",
        "the purge waits for the sign-off of other persons",
        "see `accredit approval list`; it goes on by itself once it is approved",
    )
    UPSTREAM_UNREACHABLE = (
        "upstream_unreachable",
        "the tool server cannot be reached",
        "check that the tool server runs and answers at its registered address",
    )
    UPSTREAM_INVALID = (
        "upstream_invalid",
        "the tool server's answer is not what the protocol requires",
        "have the tool server's operator correct it",
    )
    UPSTREAM_OVERSIZED = (
        "upstream_oversized",
        "the tool server's answer is larger than the setting allows",
        "ask for less, or raise `max_result_bytes`",
    )
    UPSTREAM_REDIRECT = (
        "upstream_redirect",
        "the tool server answered with a redirect, which is refused",
        "register the address the tool server really answers at",
    )
    STDIO_DISABLED = (
        "stdio_disabled",
        "tool servers that are started here are not enabled",
        "set `stdio_servers` to `on`, see `docs/tool-servers.md`",
    )
    STDIO_EXPOSED = (
        "stdio_exposed",
        "the tool server's program could read the data directory, so it is not run",
        "let nothing that its manifest names lead there, see `docs/tool-servers.md`",
    )
    STDIO_UNISOLATED = (
        "stdio_unisolated",
        "the tool server's program cannot be kept apart here, so it is not run",
        "run accredit as root or allow it user namespaces, see `docs/tool-servers.md`",
    )
    RESULT_UNMASKABLE = (
        "result_unmaskable",
        "the tool's result is withheld: it cannot be shown to be free of a data class the grant masks",
        "have the tool answer in JSON objects, and register every property that carries the class",
    )
    HOSTED_TOOL = (
        "hosted_tool",
        "the request has the provider of the model run tools itself, which no grant covers",
        "leave hosted tools, connectors and stored prompts out; give the agent a tool server instead",
    )
    RESULT_UNDECLARED = (
        "result_undeclared",
        "the tool's result is withheld: it holds a data class that the agent was not approved for",
        "have the tool leave it out; or register the class with the tool, declare it in `data`, and have it approved",
    )
    CANCELLED = ("cancelled", "the caller went away or cancelled the call", "repeat the call if it is still wanted")
    OUTCOME_UNKNOWN = (
        "outcome_unknown",
        "the call was admitted and its end was never recorded",
        "ask the tool server whether the call took effect",
    )
    # -- control plane
    MANIFEST_INVALID = ("manifest_invalid", "the manifest does not follow its schema", "see `errors`")
    OWNER_UNKNOWN = ("owner_unknown", "the owner is not a registered person", "apply a Person first")
    TEAM_UNKNOWN = ("team_unknown", "no such team is registered", "apply a Team first")
    TOOL_UNKNOWN = ("tool_unknown", "the server has no such registered tool", "name a tool that is registered")
    ZONE_UNREGISTERED = (
        "zone_unregistered",
        "the team has not registered this time zone",
        "add it to the team's `zones`",
    )
    NAME_INVALID = ("name_invalid", "names are `[a-z][a-z0-9-]{0,62}`", "choose such a name")
    NAME_TAKEN = ("name_taken", "the name is in use in this environment", "choose another name")
    CONDITION_UNTYPED = (
        "condition_untyped",
        "`sameAs` needs both paths present, required and of one scalar type",
        "compare required scalar arguments with typed task claims",
    )
    PRODUCTION_REFUSED = (
        "production_refused",
        "nothing enters staging or production while there is only one administrator",
        "invite a second administrator, or register it in `development`",
    )
    TWO_PERSONS_REQUIRED = (
        "two_persons_required",
        "this takes two persons, and there is only one administrator",
        "invite a second administrator",
    )
    TRANSITION_REFUSED = (
        "transition_refused",
        "the agent's state does not allow this step",
        "see `accredit agent get`",
    )
    NO_TIER = (
        "no_tier",
        "the agent has no risk tier, so it cannot be submitted",
        "see what blocks it in the tier's explanation",
    )
    VETOED = (
        "vetoed",
        "a rule of the second policy engine refuses it",
        "see the rule that the decision names",
    )
    VETO_FAILED = (
        "veto_failed",
        "the second policy engine could not judge it, and that refuses",
        "ask an operator: its rules fail on this call, or it does not answer",
    )
    MAPPING_INVALID = (
        "mapping_invalid",
        "the mapping that a tool declares in its input schema is malformed",
        "ask whoever runs the tool server to correct `x-authzen-mapping`",
    )
    MAPPING_DENIED = (
        "mapping_denied",
        "the policies for other applications' types do not allow what the tool's mapping asks for",
        "see the files under `ext/` of the policy directory, or call it for something that is allowed",
    )
    MAPPING_FAILED = (
        "mapping_failed",
        "the tool's mapping comes to no question for this call, and that refuses",
        "see what it could not be evaluated for; the tool server's author can correct the mapping",
    )
    REHEARSAL_REQUIRED = (
        "rehearsal_required",
        "this release was not tested and simulated as it stands",
        "run its tests and its simulation, then propose it again",
    )
    POLICY_TESTS_FAILED = (
        "policy_tests_failed",
        "the release's own test cases do not pass, or there are none",
        "run `accredit policy test DIRECTORY` and correct the policies or the cases",
    )
    BUSY = ("busy", "too much of this kind is running already", "try again when it is done")
    CLEARANCE_REQUIRED = ("clearance_required", "this act needs a sign-off that was not given", "ask for the sign-off")
    SEPARATION_OF_DUTIES = (
        "separation_of_duties",
        "this person may not vote on that in this role",
        "ask somebody who holds the role and stands on no side of the request",
    )
    BULK_REFUSED = (
        "bulk_refused",
        "permissions that can do harm were to be kept together with others",
        "decide on each of them by itself, after looking at it",
    )
    OWN_WORDS_REQUIRED = (
        "own_words_required",
        "a statement is too short, or copied from what was said before",
        "say in your own words how it is now",
    )
    REVIEW_UNSEEN = (
        "review_unseen",
        "somebody decided on a card that they were not shown",
        "look at it with `accredit review get ID`, then decide on what it says",
    )
    REVIEW_INCOMPLETE = (
        "review_incomplete",
        "a campaign cannot be closed: something in it waits for somebody",
        "see `accredit review report ID` for what waits",
    )
    APPROVAL_BLOCKED = (
        "approval_blocked",
        "this can be approved by nobody as it is",
        "put right what the message names, then ask again",
    )
    ACCESS_EXCESS = (
        "access_excess",
        "the version asks for more access than it can use or may have",
        "take out of the manifest what the access validation lists",
    )
    ASSESSMENT_REQUIRED = (
        "assessment_required",
        "this gate needs a risk assessment, and none that holds is attached",
        "attach one with `accredit approval assess`",
    )
    ASSESSMENT_INVALID = (
        "assessment_invalid",
        "the risk assessment does not follow its form",
        "see `/api/v1/schemas/assessment.json`",
    )
    COMMENT_REQUIRED = (
        "comment_required",
        "a rejection, and an approval at a high gate, needs words",
        "say why in the comment",
    )
    POLICY_INVALID = ("policy_invalid", "a policy does not parse or type-check", "see `errors`")
    NOT_FOUND = ("not_found", "no such thing, or not for you", "check the name")
    CONFLICT = ("conflict", "the thing changed or exists already", "look at it again, then repeat")
    NOT_AUTHORISED = ("not_authorised", "your credential does not carry this right", "use a credential that has it")
    PERSON_LEFT = ("person_left", "the person left the organisation", "choose somebody who is there")
    LINK_INVALID = ("link_invalid", "the link is unknown, expired or was used", "ask for a new link")
    SCIM_INVALID = ("scim_invalid", "the SCIM request cannot be accepted as it is", "see `detail` and RFC 7644")
    SETTING_INVALID = ("setting_invalid", "a setting is unknown or unsafe", "see `docs/settings.md`")
    DATA_DIRECTORY_HELD = (
        "data_directory_held",
        "another process holds the data directory",
        "ask that server, or stop it first",
    )
    LOG_INVALID = (
        "log_invalid",
        "the audit log does not verify",
        "run `accredit audit verify`; put back the newest copy of the log",
    )
    INTERNAL = ("internal", "internal error", "see the server's log")
