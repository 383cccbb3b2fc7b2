"""People are told of holds by a signed webhook and a chat message that has nothing in it an agent wrote."""

from __future__ import annotations

import asyncio
import base64
import hmac
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import orjson
import pytest

from accredit.approvals.model import Hold, HoldState
from accredit.approvals.notices import RequestNotice, opened_notice, slack_message
from accredit.audit.model import Facts
from accredit.audit.ports import Actor, Change, Write
from accredit.gateway.notices import Notices, PagerDutyPost, SlackPost, WebhookPost
from accredit.kernel.clock import ScriptedClock
from accredit.kernel.errors import InvalidInputError
from accredit.kernel.ids import AgentId
from accredit.monitoring.model import Alert, AlertDisposition, AlertKind, AlertState, RemediationKind, Severity
from accredit.monitoring.notices import alert_notices
from accredit.monitoring.rows import ALERT, alert_doc
from accredit.settings import load_settings
from tests.approvals.desk import OWNER, SECURITY, Desk, call
from tests.enforcement.place import WORKER, Place, site
from tests.gateway.stage import RawServer, Seen, http_json
from tests.policies import with_cases

_KEY = "a key of the webhook, thirty-two!"
_POLICIES = {"org/refunds.cedar": '@hold("security") forbid (principal, action == Action::"crm/read", resource);'}


@dataclass
class Receiver:
    """Somebody who is told."""

    told: list[Seen] = field(default_factory=list)
    failures: int = 0
    """How many times it refuses first."""

    async def __call__(self, writer: asyncio.StreamWriter, seen: Seen) -> None:
        self.told.append(seen)
        if len(self.told) <= self.failures:
            writer.write(b"HTTP/1.1 307 Elsewhere\r\nlocation: http://127.0.0.1:1/\r\ncontent-length: 0\r\n\r\n")
        else:
            writer.write(http_json({}))

    async def until(self, count: int) -> list[Seen]:
        async with asyncio.timeout(20):
            while len(self.told) < count:
                await asyncio.sleep(0.01)
        return self.told


def _secret(directory: Path, name: str, text: str) -> str:
    path = directory / name
    path.write_text(text + "\n")
    path.chmod(0o600)
    return str(path)


@asynccontextmanager
async def _listening(receiver: Receiver) -> AsyncIterator[str]:
    async with RawServer(receiver).run() as server:
        yield server.url


def _signed(seen: Seen) -> bool:
    signed = f"{seen.headers['webhook-id']}.{seen.headers['webhook-timestamp']}.".encode() + seen.body
    expected = base64.b64encode(hmac.digest(_KEY.encode(), signed, "sha256")).decode()
    return seen.headers["webhook-signature"] == f"v1,{expected}"


async def _hold(at: Place, label: str) -> str:
    token = await at.token("worker")
    return str((await at.call(token, "read", meta={"dev.accredit/run": label})).refused("held")["hold"])


@pytest.mark.requirement("notices:webhook", "notices:no-agent-text")
def test_a_hold_is_told_when_it_opens_and_when_it_is_answered_and_again_after_a_restart(tmp_path: Path) -> None:
    async def live() -> None:
        webhook, chat = Receiver(), Receiver()
        async with _listening(webhook) as hook_url, _listening(chat) as chat_url:
            settings = {
                "notice_webhook_url": hook_url,
                "notice_webhook_key_file": _secret(tmp_path, "webhook.key", _KEY),
                "notice_chat_url_file": _secret(tmp_path, "chat.url", chat_url),
            }
            async with site(tmp_path / "data") as empty:
                async with empty.started(**settings) as at:
                    await empty.register(at, WORKER)
                    await at.operator.post("policy/publish", {"files": with_cases(_POLICIES)})
                    hold = await _hold(at, "<!channel>")
                    (opened,) = await webhook.until(1)
                    (line,) = await chat.until(1)
                    event = orjson.loads(opened.body)
                    assert _signed(opened)
                    assert event["type"] == "hold.opened"
                    assert event["data"]["hold"] == hold
                    assert event["data"]["needs"][0]["role"] == "security"
                    assert event["data"]["url"] == f"{at.url}/console/holds/{hold}"
                    assert hold in orjson.loads(line.body)["text"]
                    assert "security must approve" in orjson.loads(line.body)["text"]
                    assert b"channel" not in opened.body + line.body
                async with empty.started(**settings) as at:
                    _, again = await webhook.until(2)
                    assert again.headers["webhook-id"] == opened.headers["webhook-id"]
                    shown = await at.operator.get(f"holds/{hold}")
                    await at.operator.post(
                        f"holds/{hold}/answer", {"answer": "deny", "view_digest": shown["view_digest"]}
                    )
                    _, _, denied = await webhook.until(3)
                    assert orjson.loads(denied.body)["type"] == "hold.denied"
                    assert "was denied" in orjson.loads((await chat.until(3))[2].body)["text"]

    asyncio.run(live())


def _open_hold() -> Hold:
    return asyncio.run(Desk().opened(call(), SECURITY, OWNER))


@pytest.mark.requirement("notices:again")
def test_a_delivery_that_fails_is_tried_again_until_the_hold_is_over(caplog: pytest.LogCaptureFixture) -> None:
    hold = _open_hold()

    async def play() -> None:
        clock = ScriptedClock(hold.opened_us)
        receiver = Receiver(failures=2)
        async with _listening(receiver) as url:
            notices = Notices((SlackPost(f"{url}/secret-of-the-chat", "http://here"),), clock, pauses_s=(0.01,))
            notice = opened_notice(hold, lambda _: "copilot")
            assert notice is not None
            notices.tell(notice)
            await receiver.until(3)
            await asyncio.sleep(0.05)
            assert len(receiver.told) == 3
            receiver.failures = 1_000
            notices.tell(notice)
            await receiver.until(5)
            clock.advance((hold.expires_us - hold.opened_us) / 1_000_000)
            async with asyncio.timeout(5):
                while "was not delivered" not in caplog.text:
                    await asyncio.sleep(0.01)
            await notices.aclose()
        assert "secret-of-the-chat" not in caplog.text

    asyncio.run(play())


@pytest.mark.requirement("notices:no-agent-text")
def test_no_name_in_a_chat_message_is_markup() -> None:
    notice = opened_notice(_open_hold(), lambda _: "*all* <!here>\u202e")
    assert notice is not None
    text = slack_message(notice, "http://here")["text"]
    assert text.startswith("&#42;all&#42; &lt;!here&gt;\\u202e (")
    over = replace(notice, hold=replace(notice.hold, state=HoldState.EXPIRED))
    assert slack_message(over, "http://here")["text"].endswith("was expired.")


@pytest.mark.parametrize(
    "settings",
    [
        {"notice_webhook_url": "https://hooks.example.com/"},
        {"notice_webhook_key_file": "/etc/key"},
        {"notice_webhook_url": "http://hooks.example.com/", "notice_webhook_key_file": "/etc/key"},
        {"notice_webhook_url": "https://me@hooks.example.com/", "notice_webhook_key_file": "/etc/key"},
        {"notice_webhook_url": "https://[", "notice_webhook_key_file": "/etc/key"},
        {"notice_webhook_url": "ftp://127.0.0.1/", "notice_webhook_key_file": "/etc/key"},
    ],
)
@pytest.mark.requirement("notices:safe")
def test_what_could_tell_the_wrong_people_does_not_start(settings: dict[str, str]) -> None:
    with pytest.raises(InvalidInputError):
        load_settings(None, {}, **settings)


@pytest.mark.parametrize(
    ("text", "mode"), [(_KEY, 0o640), ("short", 0o600), ("x" * 2_000, 0o600), ("two\nlines" * 5, 0o600)]
)
@pytest.mark.requirement("notices:safe")
def test_a_key_that_others_can_read_or_that_is_none_does_not_start(tmp_path: Path, text: str, mode: int) -> None:
    path = Path(_secret(tmp_path, "webhook.key", text))
    path.chmod(mode)

    async def live() -> None:
        async with site(tmp_path / "data") as empty:
            settings = {"notice_webhook_url": "https://hooks.example.com/", "notice_webhook_key_file": str(path)}
            with pytest.raises(InvalidInputError):
                async with empty.started(**settings):
                    pass

    asyncio.run(live())


def _alert(**changes: Any) -> Alert:
    made = Alert(
        "alr_1", AgentId("agt_1"), AlertKind.POSTURE_MODEL, "sha256:ab", Severity.CRITICAL, AlertState.OPEN,
        {"seen": [["evil", "<script>"]]}, 1_700_000_000_000_000, RemediationKind.QUARANTINE, remedied=False,
        last_us=1_700_000_000_000_000,
    )  # fmt: skip
    return replace(made, **changes)


def _change(kind: str, alert: Alert) -> Change:
    return Change(Facts(kind, agent=alert.agent), (Write(ALERT, alert.id, alert_doc(alert, salt="s")),), Actor(), {})


@pytest.mark.requirement("notices:alerts", "notices:no-agent-text")
def test_alerts_are_told_by_webhook_chat_and_pagerduty_once_opened_taken_up_and_over() -> None:
    async def live() -> None:
        webhook, chat, pager = Receiver(), Receiver(), Receiver(failures=1)
        async with _listening(webhook) as one, _listening(chat) as two, _listening(pager) as three:
            posts = (
                WebhookPost(one, _KEY.encode(), "https://a.example"), SlackPost(two, "https://a.example"),
                PagerDutyPost(three, "routing-key", "https://a.example"),
            )  # fmt: skip
            notices = Notices(posts, ScriptedClock(1_700_000_000_000_000), pauses_s=(0.01,))
            over = _alert(state=AlertState.RESOLVED, closed_us=1_700_000_060_000_000,
                          disposition=AlertDisposition.FALSE_POSITIVE)  # fmt: skip
            for change in (_change("alert.opened", _alert()), _change("alert.resolved", over)):
                (notice,) = alert_notices(change, lambda _: "pay<b>desk")
                notices.tell(notice)
            told = await webhook.until(2)
            messages = await chat.until(2)
            events = await pager.until(3)
            await notices.aclose()
        assert all(_signed(seen) for seen in told)
        bodies = {orjson.loads(seen.body)["type"]: orjson.loads(seen.body)["data"] for seen in told}
        assert bodies["alert.opened"]["answered_by_itself"] == "quarantine"
        assert bodies["alert.resolved"]["disposition"] == "false-positive"
        texts = "".join(orjson.loads(seen.body)["text"] for seen in messages)
        assert "pay&lt;b&gt;desk" in texts
        assert "script" not in texts
        sent = [orjson.loads(seen.body) for seen in events]
        assert {one["dedup_key"] for one in sent} == {"alr_1"}
        assert {"trigger", "resolve"} == {one["event_action"] for one in sent}
        trigger = next(one for one in sent if one["event_action"] == "trigger")
        assert (trigger["payload"]["severity"], trigger["routing_key"]) == ("critical", "routing-key")

    asyncio.run(asyncio.wait_for(live(), 60))


@pytest.mark.requirement("notices:alerts")
def test_what_is_mere_information_is_told_to_nobody_and_other_changes_are_no_alerts() -> None:
    assert alert_notices(_change("alert.opened", _alert(severity=Severity.INFO)), str) == ()
    assert alert_notices(_change("alert.remedied", _alert()), str) == ()
    hold = RequestNotice("ntc_1", "approval.reminded", None, "x", "reminded", 1)  # type: ignore[arg-type]
    assert PagerDutyPost("https://p.example", "k" * 20, "https://a.example")(hold, 1) is None
