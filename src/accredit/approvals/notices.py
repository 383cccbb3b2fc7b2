"""What people are told of holds and requests for sign-off outside of the console. Pure.

A notice says that somebody is waited for, and where to look: only what is registered stands in it, nothing that an
agent wrote. What is decided on is read in the console or the command line, whole, by whoever signed in there.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

import orjson

from accredit.approvals.breakglass import BREAK_GLASS, BreakGlass, break_glass_from
from accredit.approvals.chat import button_value
from accredit.approvals.model import ApprovalRequest, Hold, HoldState, VoteVerdict
from accredit.approvals.rows import APPROVAL, KIND, read_approval, read_hold
from accredit.audit.ports import Change
from accredit.kernel.canonical import digest_value
from accredit.kernel.legible import visible

__all__ = [
    "DeadlineNotice",
    "GlassNotice",
    "HoldNotice",
    "Notice",
    "RequestNotice",
    "notice_moment",
    "notice_text",
    "notices_of",
    "opened_notice",
    "slack_message",
    "webhook_event",
]

_KINDS: Final[Mapping[HoldState, str]] = {
    HoldState.OPEN: "hold.opened",
    HoldState.GRANTED: "hold.granted",
    HoldState.DENIED: "hold.denied",
    HoldState.EXPIRED: "hold.expired",
}


_PAGED: Final[Mapping[str, str]] = {
    "break_glass.opened": "break-glass.opened",
    "break_glass.overdue": "break-glass.unreviewed",
}
_PAGE_US: Final = 7 * 86_400_000_000


@dataclass(frozen=True, slots=True)
class HoldNotice:
    """One thing to tell about one hold."""

    id: str
    """The same whenever the same is told again."""
    kind: str
    hold: Hold
    agent: str
    """Its name."""
    until_us: int
    """When it is of no use any more."""

    @property
    def about(self) -> str:
        """What a log calls it."""
        return f"hold {self.hold.id}"


@dataclass(frozen=True, slots=True)
class RequestNotice:
    """That people are reminded of a request for sign-off."""

    id: str
    kind: str
    request: ApprovalRequest
    name: str
    """Of the agent; else what the request is about."""
    urgency: str
    until_us: int
    view_digest: str | None = None
    """Of what is voted on, if it may be voted on from a chat."""

    @property
    def about(self) -> str:
        """What a log calls it."""
        return f"request {self.request.id}"


@dataclass(frozen=True, slots=True)
class GlassNotice:
    """That somebody broke glass, or that nobody looked at it in time: a page."""

    id: str
    kind: str
    glass: BreakGlass
    agent: str
    """Its name."""
    until_us: int

    @property
    def about(self) -> str:
        """What a log calls it."""
        return f"break-glass {self.glass.id}"


@dataclass(frozen=True, slots=True)
class DeadlineNotice:
    """That an agent whose risk tier rose is to be suspended, unless it is put right or approved in time."""

    id: str
    kind: str
    agent_id: str
    agent: str
    """Its name."""
    to: tuple[str, ...]
    """Ids of those who answer for it."""
    stage: int
    """1: at once, 2: after half of the days, 3: after 80 % of them."""
    until_us: int
    """When it is suspended."""

    @property
    def about(self) -> str:
        """What a log calls it."""
        return f"deadline of {self.agent_id}"


def _notice(hold: Hold, agent: str) -> HoldNotice | None:
    kind = _KINDS.get(hold.state)
    if kind is None or (hold.state is HoldState.OPEN and hold.grants):  # another role is still wanted: it was told
        return None
    identity = digest_value("hold-notice", {"hold": hold.id, "kind": kind}).removeprefix("sha256:")[:32]
    return HoldNotice(f"ntc_{identity}", kind, hold, agent, hold.expires_us)


Notice = HoldNotice | RequestNotice | GlassNotice | DeadlineNotice
"""Something to tell."""


def notices_of(
    change: Change,
    name: Callable[[str], str],
    votable: Callable[[ApprovalRequest], str | None] = lambda _: None,
) -> tuple[Notice, ...]:
    """What a change of state gives to tell.

    `name` knows what an agent is called, and `votable` the digest of what is voted on where a chat may.
    """
    if change.facts.kind == "approval.reminded":
        asked = [
            read_approval(write.doc) for write in change.writes if write.kind == APPROVAL and write.doc is not None
        ]
        return tuple(_reminder(one, str(change.body["urgency"]), name, votable(one)) for one in asked)
    if change.facts.kind in _PAGED:
        broken = [break_glass_from(one.key, one.doc) for one in change.writes if one.kind == BREAK_GLASS and one.doc]
        return tuple(_page(one, _PAGED[change.facts.kind], name) for one in broken)
    if change.facts.kind == "tier.reminded" and change.facts.agent is not None:
        return (_deadline(change.facts.agent, change.body, name),)
    if not change.facts.kind.startswith("hold."):
        return ()
    held = [read_hold(write.doc) for write in change.writes if write.kind == KIND and write.doc is not None]
    made = [_notice(hold, name(hold.agent)) for hold in held]
    return tuple(notice for notice in made if notice is not None)


def _reminder(
    request: ApprovalRequest, urgency: str, name: Callable[[str], str], view_digest: str | None
) -> RequestNotice:
    identity = digest_value("request-notice", {"request": request.id, "stage": request.reminded})
    called = request.about if request.agent is None else name(request.agent)
    return RequestNotice(
        f"ntc_{identity.removeprefix('sha256:')[:32]}", "approval.reminded", request, called, urgency,
        request.expires_us, view_digest,
    )  # fmt: skip


def _page(glass: BreakGlass, kind: str, name: Callable[[str], str]) -> GlassNotice:
    identity = digest_value("glass-notice", {"glass": glass.id, "kind": kind}).removeprefix("sha256:")[:32]
    return GlassNotice(f"ntc_{identity}", kind, glass, name(glass.agent), glass.opened_us + _PAGE_US)


def _deadline(agent: str, told: Mapping[str, Any], name: Callable[[str], str]) -> DeadlineNotice:
    stage, due_us = told["stage"], told["due_us"]
    identity = digest_value("deadline-notice", {"agent": agent, "due_us": due_us, "stage": stage})
    return DeadlineNotice(
        f"ntc_{identity.removeprefix('sha256:')[:32]}", "tier.reminded", agent, name(agent), tuple(told["to"]),
        stage, due_us,
    )  # fmt: skip


def opened_notice(hold: Hold, name: Callable[[str], str]) -> HoldNotice | None:
    """What to tell of a hold that was found open at a start: whether it was told before, nobody knows."""
    return _notice(hold, name(hold.agent)) if hold.state is HoldState.OPEN else None


def webhook_event(notice: Notice, public_url: str) -> dict[str, Any]:
    """The body of a webhook (Standard Webhooks, "Payload structure")."""
    if isinstance(notice, RequestNotice):
        request = notice.request
        return {
            "type": notice.kind,
            "timestamp": notice_moment(request.opened_us),
            "data": {
                "request": request.id,
                "kind": request.subject.kind,
                "about": notice.name,
                "agent_id": request.agent,
                "tier": request.tier.value if request.tier else None,
                "roles": sorted({need.role.value for need in request.missing}),
                "urgency": notice.urgency,
                "to": list(request.told),
                "expires_at": notice_moment(request.expires_us),
                "url": f"{public_url}/console/approvals/{request.id}",
            },
        }
    if isinstance(notice, GlassNotice):
        glass = notice.glass
        return {
            "type": notice.kind,
            "timestamp": notice_moment(glass.opened_us),
            "data": {
                "break_glass": glass.id,
                "agent": notice.agent,
                "agent_id": glass.agent,
                "by": glass.by,
                "tools": list(glass.tools),
                "policies": list(glass.policies),
                "until": notice_moment(glass.until_us),
                "url": f"{public_url}/console/approvals/{glass.request}",
            },
        }
    if isinstance(notice, DeadlineNotice):
        return {
            "type": notice.kind,
            "timestamp": notice_moment(notice.until_us),
            "data": {
                "agent": notice.agent,
                "agent_id": notice.agent_id,
                "stage": notice.stage,
                "suspended_at": notice_moment(notice.until_us),
                "to": list(notice.to),
                "url": f"{public_url}/console/agents/{notice.agent_id}",
            },
        }
    hold = notice.hold
    return {
        "type": notice.kind,
        "timestamp": notice_moment(hold.closed_us or hold.opened_us),
        "data": {
            "hold": hold.id,
            "agent": notice.agent,
            "agent_id": hold.agent,
            "environment": hold.environment.value,
            "tool": hold.tool,
            "needs": [{"policy": need.policy, "role": need.role} for need in hold.missing],
            "expires_at": notice_moment(hold.expires_us),
            "url": f"{public_url}/console/holds/{hold.id}",
        },
    }


def slack_message(notice: Notice, public_url: str) -> dict[str, Any]:
    """A message for an incoming webhook of Slack, or of what takes the same."""
    if isinstance(notice, RequestNotice):
        request = notice.request
        roles = " and ".join(sorted({need.role.value for need in request.missing}))
        link = f"<{public_url}/console/approvals/{request.id}|{request.id}>"
        pressing = "" if notice.urgency == "reminded" else f" ({notice_text(notice.urgency)}: hardly any time is left)"
        lapses = f"{link} lapses at {notice_moment(request.expires_us)}{pressing}"
        text = f"{notice_text(notice.name)} waits for {notice_text(roles)}: {lapses}."
        return {"text": text, **_buttons(notice, text)}
    if isinstance(notice, GlassNotice):
        glass, link = notice.glass, f"<{public_url}/console/approvals/{notice.glass.request}|the review>"
        tools = ", ".join(notice_text(one) for one in glass.tools)
        if notice.kind == "break-glass.opened":
            until = notice_moment(glass.until_us)
            whom = notice_text(notice.agent)
            text = f"Glass is broken for {whom}: {tools} waits for nobody until {until}; {link} is open."
        else:
            text = (
                f"Nobody looked in time at the glass that was broken for {notice_text(notice.agent)} ({tools}): {link}."
            )
        return {"text": text}
    if isinstance(notice, DeadlineNotice):
        link = f"<{public_url}/console/agents/{notice.agent_id}|{notice_text(notice.agent)}>"
        why = "does or touches more than it was approved for: every call waits for security"
        return {
            "text": f"{link} {why}, and it is suspended at {notice_moment(notice.until_us)} unless that is put right."
        }
    hold = notice.hold
    about = f"{notice_text(notice.agent)} ({hold.environment.value}) wants to use {notice_text(hold.tool)}"
    link = f"<{public_url}/console/holds/{hold.id}|{hold.id}>"
    match hold.state:
        case HoldState.OPEN:
            roles = " and ".join(sorted({need.role for need in hold.missing}))
            text = f"{about}: {notice_text(roles)} must approve {link} before {notice_moment(hold.expires_us)}."
        case _:
            text = f"{about}: {link} was {hold.state.value}."
    return {"text": text}


def _buttons(notice: RequestNotice, text: str) -> dict[str, Any]:
    """What is pressed to vote, for each role that is wanted; nothing if that is not done from a chat."""
    if notice.view_digest is None:
        return {}
    request = notice.request
    blocks: list[dict[str, Any]] = [
        {"type": "section", "text": {"type": "mrkdwn", "text": f"{text} Read it there before you approve it."}},
        {
            "type": "input",
            "block_id": "words",
            "optional": True,
            "label": {"type": "plain_text", "text": "Why"},
            "element": {"type": "plain_text_input", "action_id": "accredit-comment", "max_length": 2000},
        },
    ]
    for role in sorted({need.role for need in request.missing}):
        elements = [
            {
                "type": "button",
                "action_id": f"accredit-vote-{verdict.value}-{role.value}",
                "text": {"type": "plain_text", "text": f"{words} as {role.value}"},
                "value": orjson.dumps(button_value(request.id, role, verdict, notice.view_digest)).decode(),
            }
            for verdict, words in ((VoteVerdict.APPROVE, "Approve"), (VoteVerdict.REJECT, "Reject"))
        ]
        blocks.append({"type": "actions", "block_id": f"votes-{role.value}", "elements": elements})
    return {"blocks": blocks}


def notice_moment(at_us: int) -> str:
    """A time as notices have it."""
    return datetime.fromtimestamp(at_us / 1_000_000, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


def notice_text(text: str) -> str:
    """A name in which nothing is markup."""
    escaped = visible(text).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return "".join(f"&#{ord(one)};" if one in "*_~`" else one for one in escaped)
