"""Votes that come from a chat: who signed a callback, what it says, and how far it counts. Pure.

A callback proves that the chat sent it, by a signature over its very bytes and a time that is not long ago; whose it is
follows from a link that this person made while signed in here, and from no name or address in it. What it votes on is
named by the digest of the view, as every vote is. An approval counts from a chat up to a tier that the operator sets; a
rejection or an abstention gives nothing and always does.
"""

from __future__ import annotations

import base64
import binascii
import hmac
import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from hashlib import sha256
from typing import Any, Final
from urllib.parse import parse_qsl

from accredit.approvals.model import ApprovalRequest, SubjectKind, VoteVerdict
from accredit.kernel.codes import Code
from accredit.kernel.errors import InvalidInputError, UnauthenticatedError
from accredit.kernel.strictjson import parse_strict
from accredit.registry.model import Role, Tier

__all__ = [
    "ChatKind",
    "ChatLinking",
    "ChatVote",
    "button_value",
    "counts_from_chat",
    "read_callback",
    "signed_slack",
    "signed_standard",
]

_SKEW_S: Final = 300
_MAX_BODY: Final = 64 * 1024
_MAX_DEPTH: Final = 16
_MAX_FIELDS: Final = 40
_USER: Final = re.compile(r"[A-Za-z0-9@._:|-]{1,128}")
_CODE: Final = re.compile(r"accq_[A-Za-z0-9_-]{20,64}")
_LINK: Final = "link"
_VOTE: Final = "accredit-vote"
_COMMENT: Final = "accredit-comment"
_HIGHEST: Final[Mapping[str, frozenset[Tier]]] = {
    "never": frozenset(),
    "low": frozenset({Tier.LOW}),
    "medium": frozenset({Tier.LOW, Tier.MEDIUM}),
    "high": frozenset(Tier),
}


class ChatKind(StrEnum):
    """How a chat signs and speaks."""

    SLACK = "slack"
    """Interactivity and slash commands of Slack: HMAC of `v0:time:body`."""
    STANDARD = "standard-webhooks"
    """JSON signed as Standard Webhooks has it."""


@dataclass(frozen=True, slots=True)
class ChatLinking:
    """Somebody in a chat gives the code that they were shown here."""

    user: str
    """The chat's own id of them."""
    code: str


@dataclass(frozen=True, slots=True)
class ChatVote:
    """Somebody in a chat votes."""

    user: str
    request: str
    role: Role
    verdict: VoteVerdict
    view_digest: str
    comment: str = ""


def signed_slack(secret: str, headers: Mapping[str, str], body: bytes, *, now_s: int) -> str:
    """Check Slack's signature of a request; what makes it the same if it comes again.

    Raises:
        UnauthenticatedError: it is not signed so, or is older than five minutes.
    """
    stamp, given = headers.get("x-slack-request-timestamp", ""), headers.get("x-slack-signature", "")
    _require_recent(stamp, now_s)
    wanted = "v0=" + hmac.digest(secret.encode(), b"v0:%b:%b" % (stamp.encode(), body), "sha256").hex()
    if not hmac.compare_digest(wanted.encode(), given.encode("utf-8", "replace")):
        raise _unsigned("the signature is another")
    return sha256(wanted.encode()).hexdigest()


def signed_standard(secret: str, headers: Mapping[str, str], body: bytes, *, now_s: int) -> str:
    """The same of a webhook as Standard Webhooks signs it; one of several signatures is enough."""
    id_, stamp = headers.get("webhook-id", ""), headers.get("webhook-timestamp", "")
    _require_recent(stamp, now_s)
    if not 1 <= len(id_) <= 256:
        raise _unsigned("it has no id")
    try:
        whsec = secret.startswith("whsec_")
        key = base64.b64decode(secret.removeprefix("whsec_"), validate=True) if whsec else secret.encode()
    except binascii.Error as error:
        raise _unsigned("the channel's secret is no base64") from error
    signed = b"%b.%b.%b" % (id_.encode("utf-8", "replace"), stamp.encode(), body)
    wanted = "v1," + base64.b64encode(hmac.digest(key, signed, "sha256")).decode()
    given = headers.get("webhook-signature", "")[:4_096].split(" ")
    if not any(hmac.compare_digest(wanted.encode(), one.encode("utf-8", "replace")) for one in given):
        raise _unsigned("the signature is another")
    return sha256(f"id {id_}".encode("utf-8", "replace")).hexdigest()


def _require_recent(stamp: str, now_s: int) -> None:
    if not (stamp.isascii() and stamp.isdecimal() and len(stamp) <= 12):
        raise _unsigned("it says no time")
    if abs(now_s - int(stamp)) > _SKEW_S:
        raise _unsigned("it is too old, or from the future")


def _unsigned(cause: str) -> UnauthenticatedError:
    return UnauthenticatedError(Code.UNAUTHENTICATED, "the callback was not accepted", cause=cause)


def read_callback(kind: ChatKind, body: bytes) -> ChatLinking | ChatVote:
    """What a callback that was found to be signed says.

    Raises:
        InvalidInputError: nothing that could be done.
    """
    if kind is ChatKind.STANDARD:
        said = parse_strict(body, max_bytes=_MAX_BODY, max_depth=_MAX_DEPTH)
        if not isinstance(said, dict):
            raise _meaningless()
        if said.get("type") == _LINK:
            return _linking(said.get("user"), said.get("code"))
        if said.get("type") != "vote":
            raise _meaningless()
        return _vote(said.get("user"), said, said.get("comment", ""))
    return _from_slack(body)


def _from_slack(body: bytes) -> ChatLinking | ChatVote:
    try:
        text = body.decode("ascii")
        pairs = parse_qsl(text, keep_blank_values=True, max_num_fields=_MAX_FIELDS, strict_parsing=True)
    except ValueError as error:
        raise _meaningless() from error
    form = dict(pairs)
    if len(form) != len(pairs):
        raise InvalidInputError(Code.BODY_DUPLICATE_KEYS, "a field is repeated")
    if "payload" not in form:  # a slash command
        word, _, code = form.get("text", "").strip().partition(" ")
        if word != _LINK:
            raise _meaningless()
        return _linking(form.get("user_id"), code.strip())
    said = parse_strict(form["payload"].encode(), max_bytes=_MAX_BODY, max_depth=_MAX_DEPTH)
    actions = said.get("actions") if isinstance(said, dict) else None
    if not isinstance(actions, list) or len(actions) != 1 or not isinstance(actions[0], dict):
        raise _meaningless()
    user = said.get("user")
    value = actions[0].get("value")
    if not str(actions[0].get("action_id", "")).startswith(_VOTE) or not isinstance(value, str):
        raise _meaningless()
    told = parse_strict(value.encode(), max_bytes=2_048, max_depth=2)
    return _vote(user.get("id") if isinstance(user, dict) else None, told, _typed(said))


def _typed(said: Mapping[str, Any]) -> str:
    """What somebody typed beside the buttons."""
    state = said.get("state")
    values = state.get("values") if isinstance(state, dict) else None
    for block in values.values() if isinstance(values, dict) else ():
        field = block.get(_COMMENT) if isinstance(block, dict) else None
        text = field.get("value") if isinstance(field, dict) else None
        if isinstance(text, str):
            return text
    return ""


def _linking(user: Any, code: Any) -> ChatLinking:
    if not isinstance(code, str) or not _CODE.fullmatch(code):
        raise InvalidInputError(Code.LINK_INVALID, "this is no code", hint="make one with `accredit chat link`")
    return ChatLinking(_user(user), code)


def _vote(user: Any, said: Any, comment: Any) -> ChatVote:
    try:
        role, verdict = Role(said["role"]), VoteVerdict(said["vote"])
        request, digest = said["request"], said["view_digest"]
    except (KeyError, TypeError, ValueError) as error:
        raise _meaningless() from error
    texts = (request, digest, comment)
    if not all(isinstance(one, str) for one in texts) or len(request) > 80 or len(digest) > 80 or len(comment) > 2_000:
        raise _meaningless()
    return ChatVote(_user(user), request, role, verdict, digest, comment)


def _user(user: Any) -> str:
    if not isinstance(user, str) or not _USER.fullmatch(user):
        raise _meaningless()
    return user


def _meaningless() -> InvalidInputError:
    return InvalidInputError(Code.BODY_MALFORMED, "the callback says nothing that can be done here")


def button_value(request: str, role: Role, verdict: VoteVerdict, view_digest: str) -> dict[str, str]:
    """What a button of a message carries, and a callback brings back."""
    return {"request": request, "role": role.value, "view_digest": view_digest, "vote": verdict.value}


def counts_from_chat(request: ApprovalRequest, verdict: VoteVerdict, highest: str) -> bool:
    """Whether a vote may come from a chat where approvals up to the tier `highest` may; `never`: none of them.

    What has no tier (a policy, a role, a tool fact) counts as the highest.
    """
    if verdict is not VoteVerdict.APPROVE:
        return True
    version = request.subject.kind == SubjectKind.AGENT_VERSION
    return ((request.tier if version else None) or Tier.HIGH) in _HIGHEST[highest]
