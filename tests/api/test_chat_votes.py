"""Votes from a chat: signed callbacks of Slack and of Standard Webhooks, against a company that runs."""

from __future__ import annotations

import base64
import contextlib
import hmac
import io
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import urlencode

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from accredit.approvals.chat import ChatKind, read_callback, signed_slack, signed_standard
from accredit.approvals.notices import RequestNotice, slack_message
from accredit.kernel.errors import InvalidInputError, UnauthenticatedError
from tests.api.company import Company, agent, assessment, company

_SECRET: Final = "8f742231b10e8888abcd99yyyzzz85a5"  # of Slack's own example
_OTHER: Final = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"


@dataclass
class Chat:
    """A company with a chat for each kind, and what is sent from there."""

    firm: Company
    serial: int = 0
    names: list[str] = field(default_factory=list)

    def slack(self, body: str, *, secret: str = _SECRET, age_s: int = 0, name: str = "slack") -> Any:
        at = self.firm.clock.now().wall_s - age_s
        signature = hmac.digest(secret.encode(), f"v0:{at}:{body}".encode(), "sha256").hex()
        headers = {
            "content-type": "application/x-www-form-urlencoded",
            "x-slack-request-timestamp": str(at),
            "x-slack-signature": f"v0={signature}",
        }
        with self.firm.place.client("") as http:
            return http.post(f"/v1/callbacks/chat/{name}", content=body.encode(), headers=headers)

    def command(self, user: str, text: str) -> Any:
        """A slash command as Slack sends it."""
        return self.slack(urlencode({"command": "/accredit", "text": text, "user_id": user, "user_name": "dana"}))

    def press(self, user: str, value: str, words: str | None = None, **more: Any) -> Any:
        """A button as Slack sends it."""
        payload = {
            "type": "block_actions",
            "user": {"id": user, "username": "sam", "name": "sam", "team_id": "T0"},
            "team": {"id": "T0", "domain": "example"},
            "actions": [{"type": "button", "action_id": "accredit-vote-approve-team-lead", "value": value}],
            "state": {"values": {"words": {"accredit-comment": {"type": "plain_text_input", "value": words}}}},
            "response_url": "https://hooks.slack.com/actions/T0/1/x",
        }
        self.serial += 1
        return self.slack(urlencode({"payload": json.dumps({**payload, "trigger_id": str(self.serial), **more})}))

    def linked(self, name: str, user: str) -> None:
        said = self.firm.post(name, "chat-channels/slack/link")["say"]
        answer = self.command(user, said.removeprefix("/accredit "))
        assert answer.json()["text"] == "This account is linked to you.", answer.text

    def value(self, request: str, role: str, vote: str = "approve") -> str:
        digest = self.firm["lena"].get(f"/api/v1/approvals/{request}").json()["view_digest"]
        return json.dumps({"request": request, "role": role, "vote": vote, "view_digest": digest})

    def standard(
        self, body: dict[str, Any], *, id_: str | None = None, secret: str = _OTHER, at: int = 0, **beside: str
    ) -> Any:
        self.serial += 1
        stamp = str(self.firm.clock.now().wall_s + at)
        id_ = id_ or f"msg_{self.serial}"
        content = json.dumps(body).encode()
        key = base64.b64decode(secret.removeprefix("whsec_"))
        signature = base64.b64encode(hmac.digest(key, f"{id_}.{stamp}.".encode() + content, "sha256")).decode()
        headers = {
            "content-type": "application/json",
            "webhook-id": id_,
            "webhook-timestamp": stamp,
            "webhook-signature": f"v1,bm90IGl0 v1,{signature}",
            **{name.replace("_", "-"): value for name, value in beside.items()},
        }
        with self.firm.place.client("") as http:
            return http.post("/v1/callbacks/chat/other", content=content, headers=headers)


@pytest.fixture(scope="module")
def chat(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chat]:
    with company(tmp_path_factory.mktemp("chat") / "data") as firm, contextlib.ExitStack():
        # one is stored as the documented command does, which puts a scheme before it
        for name, secret in (("slack-key", f"Bearer {_SECRET}"), ("other-key", _OTHER)):
            stored = firm["otto"].put(
                f"/api/v1/upstream-credentials/{name}", json={"origin": "https://slack.com", "value": secret}
            )
            assert stored.status_code == 200, stored.text
        firm.post("ada", "chat-channels", {"name": "slack", "kind": "slack", "credential": "slack-key"})
        firm.post("ada", "chat-channels", {"name": "other", "kind": "standard-webhooks", "credential": "other-key"})
        yield Chat(firm)


@pytest.mark.requirement("approvals:chat:vote")
def test_a_linked_person_votes_from_a_chat_as_they_would_anywhere(chat: Chat) -> None:
    firm = chat.firm
    chat.linked("lena", "U1")
    request = firm.submitted(agent("by-chat"))
    value = chat.value(request, "team-lead")
    answer = chat.press("U1", value)
    assert answer.status_code == 200
    assert "approved" in answer.json()["text"], answer.text
    shown = firm.get("una", f"approvals/{request}")
    assert shown["state"] == "approved"
    (vote,) = shown["votes"]
    assert (vote["person"], vote["credential"]) == (firm.ids["lena"], "chat/slack")
    again = chat.press("U1", value).json()["text"]
    assert again.startswith("Nothing was done:"), "the request is over"


@pytest.mark.requirement("approvals:chat:signed")
def test_what_is_not_signed_too_old_or_sent_again_is_not_taken(chat: Chat) -> None:
    firm = chat.firm
    request = firm.submitted(agent("signed"))
    chat.linked("lena", "U2")
    body = urlencode({"payload": json.dumps({
        "type": "block_actions", "user": {"id": "U2"},
        "actions": [{"action_id": "accredit-vote", "value": chat.value(request, "team-lead", "abstain")}],
    })})  # fmt: skip
    for refused in (
        chat.slack(body, secret="another"),
        chat.slack(body, age_s=301),
        chat.slack(body, age_s=-301),
        chat.slack(body, name="nobody"),
        chat.slack(body, name="other"),
    ):
        assert (refused.status_code, refused.json()["code"]) == (401, "unauthenticated")
    assert firm.get("una", f"approvals/{request}")["votes"] == []
    first = chat.slack(body)
    assert "comment_required" in first.json()["text"], "an abstention needs words"
    assert chat.slack(body).status_code == 401, "the very bytes of the same second are taken once"
    assert chat.slack(body, age_s=299).status_code in {200, 401}
    firm.clock.advance(400)
    assert chat.slack(body).status_code == 200, "another moment is another callback"
    refusals = firm.get("una", "audit/records", kind="refused.authentication", limit=20)["items"]
    assert refusals, "who is turned away is on record"
    assert _SECRET not in json.dumps(refusals)


@pytest.mark.requirement("approvals:chat:linked")
def test_an_account_is_somebodys_by_their_own_code_alone(chat: Chat) -> None:
    firm = chat.firm
    request = firm.submitted(agent("linked"))
    value = chat.value(request, "team-lead")
    # whatever the chat says of a name
    named = chat.press("U9", value, message={"user": {"username": "lena", "email": "lena@example.com"}})
    assert "nobody linked this account" in named.json()["text"]
    code = firm.post("lena", "chat-channels/slack/link")["code"]
    assert "(link_invalid)" in chat.command("U9", "link accq_" + "x" * 32).json()["text"]
    assert chat.standard({"type": "link", "user": "U9", "code": code}).json()["code"] == "link_invalid"
    firm.clock.advance(601)
    assert "(link_invalid)" in chat.command("U9", f"link {code}").json()["text"], "ten minutes are over"
    older = firm.post("lena", "chat-channels/slack/link")["code"]
    newer = firm.post("lena", "chat-channels/slack/link")["code"]
    assert "(link_invalid)" in chat.command("U9", f"link {older}").json()["text"], "a newer one voids it"
    assert chat.command("U9", f"link {newer}").json()["text"] == "This account is linked to you."
    assert "(link_invalid)" in chat.command("U8", f"link {newer}").json()["text"], "once"
    sams = firm.post("sam", "chat-channels/slack/link")["code"]
    assert "(conflict)" in chat.command("U9", f"link {sams}").json()["text"]
    link = firm.get("lena", "chat-links")["items"][-1]
    assert firm.attempt("sam", f"chat-links/{link['id']}/end") == (403, "not_authorised")
    for one in firm.get("lena", "chat-links")["items"]:
        firm.post("lena", f"chat-links/{one['id']}/end")
    assert "nobody linked this account" in chat.press("U9", value).json()["text"]
    chat.linked("cora", "U7")
    firm.post("ada", f"persons/{firm.ids['cora']}/sign-out", {"reason": "her phone is lost"})
    assert "nobody linked this account" in chat.press("U7", value).json()["text"], "an account is a way in, too"
    assert "U9" not in json.dumps(firm.get("una", "audit/records", kind="chat.linked", limit=5)["items"])


@pytest.mark.requirement("approvals:chat:duties")
def test_duties_superseded_views_and_high_tiers_hold_for_a_chat_as_well(chat: Chat) -> None:
    firm = chat.firm
    chat.linked("dana", "U4")
    chat.linked("lena", "U3")
    request = firm.submitted(agent("duties"))
    value = chat.value(request, "team-lead")
    assert "(separation_of_duties)" in chat.press("U4", value).json()["text"], "an owner does not vote"
    # whoever declared the channel could sign what they like
    asked = firm.post("ada", "roles", {"role": "auditor", "person": firm.ids["nick"]})["approval"]
    chat.linked("mira", "U5")
    assert firm.attempt_vote("mira", asked, "admin") == (403, "separation_of_duties")
    stale = chat.value(request, "team-lead")
    changed = agent("duties")
    changed["spec"]["purpose"] = "Something else"
    fresh = firm.submitted(changed)
    assert fresh != request
    assert "Nothing was done" in chat.press("U3", stale).json()["text"], "another version is asked for now"
    bent = json.loads(chat.value(fresh, "team-lead")) | {"view_digest": "sha256:" + "0" * 64}
    assert "(conflict)" in chat.press("U3", json.dumps(bent)).json()["text"], "not what was shown"
    assert firm.get("una", f"approvals/{fresh}")["votes"] == []
    high = firm.submitted(agent("high", tools=("read_customer",), data=["personal"]))
    firm.post("dana", f"approvals/{high}/assessment", assessment(firm.ids["bo"]))
    chat.linked("sam", "U6")
    value = chat.value(high, "security")
    assert "not approved from a chat" in chat.press("U6", value, "looked at it").json()["text"]
    refused = chat.press("U6", chat.value(high, "security", "reject"), "not like this").json()["text"]
    assert "rejected" in refused, "a rejection gives nothing, and counts from anywhere"


@pytest.mark.requirement("approvals:chat:standard")
def test_a_chat_of_another_kind_signs_as_standard_webhooks_has_it(chat: Chat) -> None:
    firm = chat.firm
    request = firm.submitted(agent("standard"))
    code = firm.post("lena", "chat-channels/other/link")["code"]
    assert chat.standard({"type": "link", "user": "lena!", "code": code}).status_code == 400
    linked = chat.standard({"type": "link", "user": "lena:1", "code": code}, id_="msg_same")
    assert linked.json() == {"linked": True, "request": None, "state": None}
    vote = {"type": "vote", "user": "lena:1", **json.loads(chat.value(request, "team-lead"))}
    assert chat.standard(vote, id_="msg_same").status_code == 401, "an id is taken once"
    assert chat.standard(vote, at=-301).status_code == 401
    assert chat.standard(vote, secret="whsec_" + base64.b64encode(b"x" * 24).decode()).status_code == 401
    assert chat.standard({**vote, "role": "nobody"}).status_code == 400
    assert chat.standard({**vote, "request": "apr_none"}).status_code == 404
    before_it_began = firm.place.plane.room.chats.began_s - firm.clock.now().wall_s - 1
    assert chat.standard(vote, at=before_it_began).status_code == 401, "who knows whether it was taken then"
    for unsigned in ("99999999999", "soon"):
        refused = chat.standard(vote, at=before_it_began, x_slack_request_timestamp=unsigned)
        assert refused.status_code == 401, "a header that nobody signed tells no time"
    assert chat.standard(vote).json() == {"linked": False, "request": request, "state": "approved"}


@pytest.mark.requirement("approvals:chat:channels")
def test_a_channel_is_an_administrators_to_declare_and_goes_with_its_links(chat: Chat) -> None:
    firm = chat.firm
    body = {"name": "third", "kind": "slack", "credential": "slack-key"}
    assert firm.attempt("sam", "chat-channels", body) == (403, "not_authorised")
    assert firm.attempt("ada", "chat-channels", {**body, "credential": "none"})[0] == 503
    made = firm.post("ada", "chat-channels", body)
    assert made["url"].endswith("/v1/callbacks/chat/third")
    assert made["approves"] == "medium"
    assert _SECRET not in firm["una"].get("/api/v1/chat-channels").text
    firm.post("lena", "chat-channels/third/link")
    firm.post("ada", "chat-channels/third/remove")
    assert firm.attempt("lena", "chat-channels/third/link") == (404, "not_found")
    assert chat.slack("command=x", name="third").status_code == 401


@pytest.mark.requirement("approvals:chat:told")
def test_a_reminder_brings_buttons_that_name_what_was_shown(chat: Chat) -> None:
    firm = chat.firm
    request = firm.submitted(agent("reminded"))
    value = chat.value(request, "team-lead")
    kept = firm.place.plane.room.approvals.get(request)
    assert kept is not None
    digest = json.loads(value)["view_digest"]
    notice = RequestNotice("ntc_1", "approval.reminded", kept, "reminded", "reminded", kept.expires_us, digest)
    message = slack_message(notice, "https://accredit.example.com")
    buttons = [one for block in message["blocks"] for one in block.get("elements", ())]
    pressed = next(one for one in buttons if one["action_id"] == "accredit-vote-approve-team-lead")
    assert json.loads(pressed["value"]) == json.loads(value)
    bare = slack_message(RequestNotice("n", "approval.reminded", kept, "r", "reminded", 0), "https://a.example")
    assert set(bare) == {"text"}


def test_signatures_of_the_documents() -> None:
    """Slack's own example ("Verifying requests from Slack")."""
    body = (
        b"token=xyzz0WbapA4vBCDEFasx0q6G&team_id=T1DC2JH3J&team_domain=testteamnow&channel_id=G8PSS9T3V&channel_name="
        b"foobar&user_id=U2CERLKJA&user_name=roadrunner&command=%2Fwebhook-collect&text=&response_url=https%3A%2F%2F"
        b"hooks.slack.com%2Fcommands%2FT1DC2JH3J%2F397700885554%2F96rGlfmibIGlgcZRskXaIFfN&trigger_id=398738663015."
        b"47445629121.803a0bc887a14d10d2c447fce8b6703c"
    )
    headers = {
        "x-slack-request-timestamp": "1531420618",
        "x-slack-signature": "v0=a2114d57b48eac39b9ad189dd8316235a7b4a8d21a10bd27519666489c69b503",
    }
    assert signed_slack(_SECRET, headers, body, now_s=1531420618 + 300)
    with pytest.raises(UnauthenticatedError):
        signed_slack(_SECRET, headers, body + b"x", now_s=1531420618)
    with pytest.raises(UnauthenticatedError):
        signed_standard(_OTHER, {"webhook-timestamp": "1", "webhook-id": "a"}, b"", now_s=1)


@pytest.mark.requirement("approvals:chat:signed")
@given(st.sampled_from(ChatKind), st.one_of(
    st.binary(max_size=80),
    st.recursive(
        st.one_of(st.none(), st.booleans(), st.integers(-5, 5), st.sampled_from(["vote", "link", "approve", "U1"])),
        lambda inner: st.dictionaries(
            st.sampled_from(["type", "user", "actions", "value", "id", "state", "role", "vote", "code"]), inner,
            max_size=5,
        ) | st.lists(inner, max_size=2),
        max_leaves=10,
    ).map(lambda one: json.dumps(one).encode()),
), st.booleans())  # fmt: skip
@settings(max_examples=200, deadline=None)
def test_whatever_a_chat_signed_is_read_or_refused(kind: ChatKind, body: bytes, form: bool) -> None:  # noqa: FBT001
    if form:
        body = urlencode({"payload": body.decode("latin-1")}).encode()
    with contextlib.suppress(InvalidInputError), contextlib.redirect_stderr(io.StringIO()):
        read_callback(kind, body)
