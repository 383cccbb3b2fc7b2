"""Promises of the control plane's API and the routes beside it."""

from __future__ import annotations

from tests.requirements import Requirement

REQUIREMENTS: tuple[Requirement, ...] = (
    Requirement("api:entry:guarded", "DESIGN §11", "every route but sign-in and schemas needs an operator's token"),
    Requirement("api:entry:reading", "DESIGN §4", "a token with scope `read` changes nothing but its own end"),
    Requirement("api:entry:bounded", "DESIGN §11", "a body over the limit is refused, also when it comes in chunks"),
    Requirement(
        "api:entry:strict", "issue 2 Bad input", "malformed, deep, repeated or unknown JSON is a problem document"
    ),
    Requirement("api:entry:recorded", "DESIGN §5 Floods", "who is refused an identity is recorded, then counted"),
    Requirement("api:entry:addresses", "DESIGN §11", "Host and Origin are checked on every route"),
    Requirement("api:authority:all", "DESIGN §4", "each changing route lets through exactly those who may"),
    Requirement(
        "api:authority:single-admin", "DESIGN §4", "one administrator alone may everything but production and sign-off"
    ),
    Requirement("api:problems:form", "RFC 9457", "every refusal is a problem document with a stable code"),
    Requirement(
        "api:problems:lists", "DESIGN §8", "refused manifests and policies name every fault, and nothing is applied"
    ),
    Requirement(
        "api:problems:internal", "DESIGN §11", "an error nobody mapped is `internal` and keeps its text inside"
    ),
    Requirement("api:agents:named", "issue 2 Bad input", "an agent is named by id, name or environment/name"),
    Requirement("api:secrets:none", "DESIGN §11", "no GET answers with a token, a secret's hash or a brokered value"),
    Requirement("api:sealed:recorded", "DESIGN §5", "opening sealed parts of a record is a record"),
    Requirement("api:openapi:served", "DESIGN §8", "the OpenAPI document names the security of every route"),
    Requirement(
        "api:openapi:fuzzed",
        "issue 3 item 7",
        "requests made up from the description are answered as it says, none by 5xx",
    ),
    Requirement("api:life:whole", "issue 3 item 7", "an agent is taken from registration to its receipt over the API"),
    Requirement("api:life:votes", "DESIGN §6", "a new version carries over unaffected votes and voids the others"),
    Requirement("api:life:signed-out", "DESIGN §4", "all credentials of a person can be ended, nothing else"),
    Requirement("api:life:expiry", "issue 3 Bad input", "a request that expired while open takes no vote"),
    Requirement("api:life:at-once", "issue 3 Bad input", "of votes at once in one role exactly one counts"),
    Requirement("api:life:owners", "issue 3 Bad input", "without an owner who is there an agent is not submitted"),
    Requirement("api:life:lookalikes", "issue 3 Bad input", "look-alike names and addresses make nobody and nothing"),
    Requirement("api:life:hostile", "DESIGN §11", "text of requesters is shown to approvers as data, unchanged"),
    Requirement("api:life:strangers", "DESIGN §4", "who has no part in anything learns nothing, not even names"),
    Requirement("api:life:bounded", "DESIGN §11", "ids of any size are refused with a problem"),
    Requirement("api:lists:pages", "DESIGN §11", "every list comes in bounded pages of one fixed order"),
    Requirement("api:lists:parameters", "issue 2 Bad input", "unknown and repeated parameters are refused"),
    Requirement("api:oauth:form", "RFC 6749 §3.2, §5", "token requests are read strictly and answered uncached"),
    Requirement("api:oauth:enrol", "DESIGN §4", "a refused enrolment is one constant problem"),
    Requirement("api:oauth:metadata", "RFC 8414, RFC 9728", "metadata is served, also at path-suffixed addresses"),
    Requirement("api:log:tiles", "C2SP tlog-tiles", "checkpoint, tiles and proofs verify from outside"),
    Requirement("api:health:ready", "DESIGN §8", "readiness names what keeps calls from being served"),
)
