"""Chats from which people vote: channels, one's own linked accounts, and the callbacks, which prove themselves."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Annotated, Final

from fastapi import FastAPI
from pydantic import Field
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from accredit.api.asking import Asking, Who
from accredit.api.forms import Form, Named, Nothing
from accredit.api.outer_body import read_body
from accredit.api.paging import MOST, After, Limit, page
from accredit.api.plane import ControlPlane
from accredit.api.problems import Json, refusal_of
from accredit.api.shown import Items, moment
from accredit.approvals.chat import ChatKind
from accredit.kernel.codes import Code
from accredit.kernel.errors import AccreditError, UnauthenticatedError
from accredit.lifecycle.chat_operations import ChatChannel, ChatLink, Heard

__all__ = [
    "ChatChannelRow",
    "ChatCode",
    "ChatLinkRow",
    "EndedChatLink",
    "HeardShown",
    "RemovedChat",
    "callback_routes",
    "chats",
]

_MAX_BODY: Final = 64 * 1024


class _Channel(Form):
    name: Annotated[str, Field(min_length=1, max_length=63)]
    kind: Annotated[ChatKind, Field(strict=False)]
    credential: Annotated[str, Field(min_length=1, max_length=63)]
    """Name of the stored credential whose value the chat signs with."""


@dataclass(frozen=True, slots=True)
class ChatChannelRow:
    """A chat from which callbacks are taken."""

    name: str
    kind: str
    credential: str
    by: str
    """Who declared it: tied to every account linked in it."""
    url: str
    """Where it sends callbacks."""
    approves: str
    """The highest tier of what is approved from a chat: never, low, medium or high."""


@dataclass(frozen=True, slots=True)
class ChatLinkRow:
    """An account in a chat that is linked to oneself."""

    id: str
    channel: str
    since: str


@dataclass(frozen=True, slots=True)
class ChatCode:
    """A code to be given in the chat, once and within ten minutes."""

    code: str
    say: str
    """What to type there."""


@dataclass(frozen=True, slots=True)
class RemovedChat:
    """Which channel is not listened to any more."""

    removed: str


@dataclass(frozen=True, slots=True)
class EndedChatLink:
    """Which link ended."""

    ended: str


@dataclass(frozen=True, slots=True)
class HeardShown:
    """What a callback came to."""

    linked: bool
    request: str | None
    state: str | None


def chats(app: FastAPI, plane: ControlPlane, asking: Asking) -> None:
    """Add these routes."""
    operations = plane.room.chats

    def row(one: ChatChannel) -> ChatChannelRow:
        url = f"{plane.public_url}/v1/callbacks/chat/{one.name}"
        return ChatChannelRow(one.name, one.kind, one.credential, one.by, url, operations.highest)

    @app.get("/api/v1/chat-channels", response_model=Items[ChatChannelRow])
    async def chat_channels(who: Who, limit: Limit = MOST, after: After = None) -> Json:
        asking.require_reader(who)
        found, following = page(operations.channels(), lambda one: (one.name,), limit, after)
        return Json(Items([row(one) for one in found], following))

    @app.post("/api/v1/chat-channels", response_model=ChatChannelRow, status_code=201)
    async def chat_declare(who: Who, form: _Channel) -> Json:
        return Json(row(await operations.declare(who, form.name, form.kind, form.credential)), 201)

    @app.post("/api/v1/chat-channels/{channel}/remove", response_model=RemovedChat)
    async def chat_remove(who: Who, channel: Named, _: Nothing | None = None) -> Json:
        await operations.remove(who, channel)
        return Json(RemovedChat(channel))

    @app.post("/api/v1/chat-channels/{channel}/link", response_model=ChatCode, status_code=201)
    async def chat_link(who: Who, channel: Named, _: Nothing | None = None) -> Json:
        code = await operations.link_code(who, channel)
        return Json(ChatCode(code, f"/accredit link {code}"), 201)

    @app.get("/api/v1/chat-links", response_model=Items[ChatLinkRow])
    async def chat_links(who: Who, limit: Limit = MOST, after: After = None) -> Json:
        found, following = page(operations.links(who), lambda one: (one.id,), limit, after)
        return Json(Items([_link_row(one) for one in found], following))

    @app.post("/api/v1/chat-links/{link}/end", response_model=EndedChatLink)
    async def chat_unlink(who: Who, link: Named, _: Nothing | None = None) -> Json:
        await operations.unlink(who, link)
        return Json(EndedChatLink(link))


def _link_row(one: ChatLink) -> ChatLinkRow:
    return ChatLinkRow(one.id, one.channel, moment(one.since_us))


def callback_routes(plane: ControlPlane) -> list[Route]:
    """Where chats send what people do there. Nothing is read of a callback before its signature."""

    async def callback(request: Request) -> Response:
        name: str = request.path_params["name"]
        path, source = "/v1/callbacks/chat", request.client.host if request.client else ""
        try:
            body = await read_body(request, _MAX_BODY)
            heard = await plane.room.chats.heard(name[:80], dict(request.headers), body)
        except UnauthenticatedError as error:
            plane.enforcer.turned_away(error.code, path=path, source=source, cause=error.cause)
            return refusal_of(error)
        except AccreditError as error:
            plane.enforcer.turned_away(error.code, path=path, source=source, cause=error.message)
            # Slack shows its user what a callback is answered with, if it is answered with 200
            return _told(error) if "x-slack-signature" in request.headers else refusal_of(error)
        if "x-slack-signature" in request.headers:
            return _ephemeral(_words(heard))
        made = heard.request
        return Json(HeardShown(heard.link is not None, made.id if made else None, made.state if made else None))

    handler: Callable[[Request], Awaitable[Response]] = callback
    return [Route("/v1/callbacks/chat/{name}", handler, methods=["POST"])]


def _words(heard: Heard) -> str:
    if heard.request is not None:
        return f"Your vote counts. The request {heard.request.id} is {heard.request.state.value}."
    return "This account is linked to you."


def _told(error: AccreditError) -> Json:
    hint = f" {error.hint[:1].upper()}{error.hint[1:]}." if error.hint and error.code is not Code.INTERNAL else ""
    return _ephemeral(f"Nothing was done: {error.message} ({error.code}).{hint}")


def _ephemeral(text: str) -> Json:
    """What its user alone is shown (Slack, "Handling user interaction")."""
    return Json({"replace_original": False, "response_type": "ephemeral", "text": text})
