"""Telling people about holds and requests that wait, and about alerts: a signed webhook, a chat, PagerDuty.

All addresses are an operator's own. Deliveries are tried again until the hold they are about is over, in memory: what
is open at a start is told once more, under the same id. That a delivery fails holds nothing up: holds stand in the
console whether anybody was told or not.
"""

from __future__ import annotations

import asyncio
import base64
import hmac
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Protocol

import orjson

from accredit.approvals.notices import Notice, slack_message, webhook_event
from accredit.kernel.clock import Clock
from accredit.kernel.tls import machine_trust
from accredit.monitoring.notices import AlertNotice, alert_event, alert_message, pagerduty_event

__all__ = ["NoticePost", "Notices", "PagerDutyPost", "SlackPost", "Told", "WebhookPost"]

_log = logging.getLogger("accredit.gateway")

_MOST_WAITING: Final = 1_000
_AT_ONCE: Final = 4
_TIMEOUT_S: Final = 5.0
_PAUSES_S: Final = (1.0, 5.0, 15.0, 60.0)
_USER_AGENT: Final = "accredit-notices"


Told = Notice | AlertNotice
"""Whatever people are told."""


class NoticePost(Protocol):
    """Makes a request of a notice."""

    @property
    def name(self) -> str: ...

    @property
    def url(self) -> str: ...

    def __call__(self, notice: Told, now_s: int, /) -> tuple[bytes, Mapping[str, str]] | None:
        """Body and headers; None: this one does not tell of such."""
        ...


@dataclass(frozen=True, slots=True)
class WebhookPost:
    """A webhook signed as Standard Webhooks has it: HMAC-SHA256 over id, time and body."""

    url: str
    key: bytes
    public_url: str
    name: str = "webhook"

    def __call__(self, notice: Told, now_s: int) -> tuple[bytes, Mapping[str, str]]:
        """Body and headers."""
        made = alert_event if isinstance(notice, AlertNotice) else webhook_event
        body = orjson.dumps(made(notice, self.public_url))  # type: ignore[arg-type]
        signed = b"%b.%d.%b" % (notice.id.encode(), now_s, body)
        signature = base64.b64encode(hmac.digest(self.key, signed, "sha256")).decode()
        return body, {
            "webhook-id": notice.id,
            "webhook-timestamp": str(now_s),
            "webhook-signature": f"v1,{signature}",
        }


@dataclass(frozen=True, slots=True)
class SlackPost:
    """An incoming webhook of Slack, or of a chat that takes the same. Its address is its secret."""

    url: str
    public_url: str
    name: str = "chat"

    def __call__(self, notice: Told, now_s: int) -> tuple[bytes, Mapping[str, str]]:  # noqa: ARG002 - the port's
        """Body and headers."""
        made = alert_message if isinstance(notice, AlertNotice) else slack_message
        return orjson.dumps(made(notice, self.public_url)), {}  # type: ignore[arg-type]


@dataclass(frozen=True, slots=True)
class PagerDutyPost:
    """PagerDuty's Events API v2: alerts trigger, acknowledge and resolve an incident each. Its key is a secret."""

    url: str
    key: str
    public_url: str
    name: str = "pagerduty"

    def __call__(self, notice: Told, now_s: int) -> tuple[bytes, Mapping[str, str]] | None:  # noqa: ARG002 - the port's
        """Body and headers; of holds and requests there is none."""
        if not isinstance(notice, AlertNotice):
            return None
        return orjson.dumps(pagerduty_event(notice, self.public_url, self.key)), {}


class Notices:
    """Delivers notices in the background, to every post."""

    def __init__(self, posts: tuple[NoticePost, ...], clock: Clock, *, pauses_s: tuple[float, ...] = _PAUSES_S) -> None:
        self._posts = posts
        self._clock = clock
        self._pauses_s = pauses_s
        self._room = asyncio.Semaphore(_AT_ONCE)
        self._waiting: set[asyncio.Task[None]] = set()
        self._client: Any = None

    def tell(self, notice: Told) -> None:
        """Deliver a notice soon. Does not block, and never raises."""
        for post in self._posts:
            if len(self._waiting) >= _MOST_WAITING:
                _log.error("notice %s of %s was not sent: too many wait", notice.id, notice.about)
                return
            task = asyncio.get_running_loop().create_task(self._deliver(post, notice))
            self._waiting.add(task)
            task.add_done_callback(self._waiting.discard)

    async def _deliver(self, post: NoticePost, notice: Told) -> None:
        for attempt in range(10_000):
            async with self._room:
                failed = await self._attempt(post, notice)
            if failed is None:
                return
            now_us = self._clock.now().wall_us
            _log.warning("%s: notice %s of %s: %s", post.name, notice.id, notice.about, failed)
            pause_s = self._pauses_s[min(attempt, len(self._pauses_s) - 1)]
            if now_us + pause_s * 1_000_000 >= notice.until_us:
                break
            await asyncio.sleep(pause_s)
        _log.error("%s: notice %s of %s was not delivered", post.name, notice.id, notice.about)

    async def _attempt(self, post: NoticePost, notice: Told) -> str | None:
        """Why it was not delivered; None if it was. The address stays out of it: it may be a secret."""
        made = post(notice, self._clock.now().wall_s)
        if made is None:
            return None
        import httpx2  # noqa: PLC0415 - 90 ms that a start without notices does not pay

        if self._client is None:
            self._client = httpx2.AsyncClient(
                follow_redirects=False, timeout=_TIMEOUT_S, trust_env=False, verify=machine_trust()
            )
        body, headers = made
        sent = {"content-type": "application/json", "user-agent": _USER_AGENT, **headers}
        try:
            async with self._client.stream("POST", post.url, content=body, headers=sent) as answer:
                return None if 200 <= answer.status_code < 300 else f"status {answer.status_code}"
        except (httpx2.HTTPError, httpx2.InvalidURL) as error:
            return type(error).__name__

    async def aclose(self) -> None:
        """Give up what is not delivered."""
        for task in list(self._waiting):
            task.cancel()
        await asyncio.gather(*self._waiting, return_exceptions=True)
        if self._client is not None:
            await self._client.aclose()
