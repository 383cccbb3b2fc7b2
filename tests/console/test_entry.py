"""Who gets a page, and whose forms are taken."""

from __future__ import annotations

import re
from collections.abc import Callable

import httpx2
import pytest

from accredit.kernel.codes import Code
from accredit.kernel.ids import PersonId
from tests.console.desk import Desk

_Visit = Callable[[str], httpx2.Client]


def _csrf(page: httpx2.Response) -> str:
    found = re.search(r'name="csrf" value="([^"]+)"', page.text)
    assert found
    return found[1]


def _voted(client: httpx2.Client, desk: Desk, **other: str) -> httpx2.Response:
    request = desk.request(desk.fleet.add("support-copilot"), {"purpose": "Answer tickets"})
    page = client.get(f"/console/approvals/{request.id}")
    form = {"csrf": _csrf(page), "role": "security", "verdict": "approve", "comment": "read",
            "view_digest": desk.view(request.id)[1]} | other  # fmt: skip
    return client.post(f"/console/approvals/{request.id}/vote", data=form)


@pytest.mark.requirement("console:entry:session")
@pytest.mark.parametrize(
    "path", ["/console", "/console/inbox", "/console/approvals/x", "/console/nothing", "/console/"]
)
def test_without_a_session_there_is_only_the_way_to_sign_in(visit: _Visit, path: str) -> None:
    answer = visit("").get(path)
    assert answer.status_code == 303
    assert answer.headers["location"].startswith("/login?next=%2Fconsole")


@pytest.mark.requirement("console:entry:session")
def test_a_session_that_is_over_is_noted_and_its_cookie_taken_away(visit: _Visit, desk: Desk) -> None:
    client = visit("sam")
    desk.sessions.clear()
    answer = client.get("/console")
    assert answer.status_code == 303
    assert "Max-Age=0" in answer.headers["set-cookie"]
    assert desk.turned == [Code.API_TOKEN_UNKNOWN]


@pytest.mark.requirement("console:entry:poll")
def test_a_page_that_keeps_itself_fresh_keeps_no_session_alive(visit: _Visit, desk: Desk) -> None:
    client = visit("sam")
    client.get("/console", headers={"hx-request": "true", "hx-source": "section#live", "hx-target": "section#live"})
    assert desk.touched == []
    client.get("/console")
    assert len(desk.touched) == 1


@pytest.mark.requirement("console:entry:poll")
def test_a_part_asked_for_after_the_session_ended_loads_the_whole_page_again(visit: _Visit) -> None:
    answer = visit("").get("/console", headers={"hx-request": "true"})
    assert (answer.status_code, answer.headers["hx-refresh"]) == (401, "true")


@pytest.mark.requirement("console:login:once")
def test_a_link_is_exchanged_once_for_a_session(visit: _Visit, desk: Desk) -> None:
    client, link = visit(""), desk.link("sam")
    answer = client.post("/login", data={"link": link, "next": "/console/inbox"})
    assert (answer.status_code, answer.headers["location"]) == (303, "/console/inbox")
    kept = answer.headers["set-cookie"]
    assert "HttpOnly" in kept
    assert "SameSite=lax" in kept
    assert "sam@example.com" in client.get("/console").text
    again = visit("").post("/login", data={"link": link})
    assert again.status_code == 401
    assert "the link is unknown, expired or was used" in again.text
    assert link not in again.text


@pytest.mark.requirement("console:login:next")
@pytest.mark.parametrize(
    "onwards",
    ["https://evil.example", "//evil.example", "/\\evil.example", "/console\\@evil", "/console\r\nx: y", "/login",
     "/consoles", "javascript:alert(1)", "/console/static/console.css"],
)  # fmt: skip
def test_signing_in_leads_to_a_page_of_the_console_and_nowhere_else(visit: _Visit, desk: Desk, onwards: str) -> None:
    answer = visit("").post("/login", data={"link": desk.link("sam"), "next": onwards})
    assert (answer.status_code, answer.headers["location"]) == (303, "/console")


@pytest.mark.requirement("console:login:replaces")
def test_signing_in_again_ends_the_session_before_and_says_so_first(visit: _Visit, desk: Desk) -> None:
    client = visit("sam")
    before = set(desk.sessions)
    assert "You are signed in as" in client.get("/login").text
    client.post("/login", data={"link": desk.link("kim")})
    assert set(desk.sessions) & before == set()
    assert set(desk.sessions.values()) == {PersonId("kim")}


@pytest.mark.requirement("console:login:next")
def test_signing_out_ends_the_session_on_the_server(visit: _Visit, desk: Desk) -> None:
    client = visit("sam")
    token = _csrf(client.get("/console"))
    assert client.post("/logout", data={"csrf": token}).headers["location"] == "/login"
    assert desk.sessions == {}


@pytest.mark.requirement("console:form:taken")
def test_a_form_of_this_session_sent_by_this_page_is_taken(visit: _Visit, desk: Desk) -> None:
    answer = _voted(visit("sam"), desk)
    assert answer.status_code == 303
    assert [one[:2] for one in desk.done] == [("vote", "sam")]


@pytest.mark.requirement("console:form:own-token")
@pytest.mark.parametrize("token", ["", "x" * 43, "\u00e9"])
def test_a_form_without_the_sessions_own_token_changes_nothing(visit: _Visit, desk: Desk, token: str) -> None:
    assert _voted(visit("sam"), desk, csrf=token).status_code == 403
    assert desk.done == []


@pytest.mark.requirement("console:form:own-token")
def test_a_form_with_another_sessions_token_changes_nothing(visit: _Visit, desk: Desk) -> None:
    other = _csrf(visit("sam").get("/console"))
    assert _voted(visit("sam"), desk, csrf=other).status_code == 403
    assert desk.done == []


@pytest.mark.requirement("console:form:own-page")
@pytest.mark.parametrize(
    "headers",
    [
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site"},
        {"sec-fetch-site": "none"},
        {"sec-fetch-site": ""},
        {"sec-fetch-site": "same-origin", "origin": "null"},
        {"sec-fetch-site": "same-origin", "origin": "http://127.0.0.1:1"},
    ],
)
@pytest.mark.parametrize("path", ["/login", "/logout", "/console/holds/x"])
def test_a_form_that_a_page_elsewhere_sent_is_refused(
    visit: _Visit, desk: Desk, headers: dict[str, str], path: str
) -> None:
    client = visit("sam")
    link = desk.link("kim")
    answer = client.post(path, data={"link": link, "csrf": _csrf(client.get("/console"))}, headers=headers)
    assert answer.status_code == 403
    assert link in desk.links
    assert len(desk.sessions) == 1


@pytest.mark.requirement("console:form:own-page")
def test_a_form_that_does_not_say_where_it_comes_from_is_refused(visit: _Visit, desk: Desk) -> None:
    client = visit("sam")
    del client.headers["sec-fetch-site"]
    assert _voted(client, desk).status_code == 403
    client.headers["origin"] = str(client.base_url).rstrip("/")  # as a browser on a page without https would
    assert _voted(client, desk).status_code == 303


@pytest.mark.requirement("console:form:bounded")
@pytest.mark.parametrize(
    ("body", "kind", "status"),
    [
        (b"link=a&link=b", "application/x-www-form-urlencoded", 400),
        (b"link=%ff", "application/x-www-form-urlencoded", 400),
        (b"link=" + b"a" * 300_000, "application/x-www-form-urlencoded", 400),
        (b"&".join(b"a%d=b" % at for at in range(500)), "application/x-www-form-urlencoded", 400),
        (b'{"link": "a"}', "application/json", 400),
        (b"--x\r\n\r\n--x--", "multipart/form-data; boundary=x", 400),
    ],
)
def test_a_form_is_small_has_one_encoding_and_says_each_thing_once(
    visit: _Visit, body: bytes, kind: str, status: int
) -> None:
    answer = visit("").post("/login", content=body, headers={"content-type": kind})
    assert answer.status_code == status


@pytest.mark.requirement("console:headers:every")
@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/console"), ("GET", "/console/nothing"), ("GET", "/login"), ("POST", "/login"), ("PUT", "/console"),
        ("GET", "/console/static/console.css"), ("GET", "/console/static/none"), ("POST", "/logout"),
        ("GET", "/console?limit=x"), ("GET", "/console/inbox"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("person", ["sam", ""])
def test_every_answer_carries_the_headers(visit: _Visit, method: str, path: str, person: str) -> None:
    headers = visit(person).request(method, path).headers
    policy = headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert "frame-ancestors 'none'" in policy
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["cross-origin-resource-policy"] == "same-origin"
    assert headers["cache-control"] == "no-store" or path.startswith("/console/static/")


@pytest.mark.requirement("console:headers:every")
def test_a_mistake_of_ours_keeps_the_headers_and_its_text_inside(visit: _Visit, desk: Desk) -> None:
    client = visit("sam")
    del desk.fleet.people  # type: ignore[attr-defined,unused-ignore]  # whatever could go wrong
    answer = client.get("/console")
    assert answer.status_code == 500
    assert "people" not in answer.text
    assert "default-src 'none'" in answer.headers["content-security-policy"]


@pytest.mark.requirement("console:fault:typed")
def test_what_was_refused_keeps_what_was_typed_and_says_why(visit: _Visit, desk: Desk) -> None:
    answer = _voted(visit("sam"), desk, comment="because <b>", view_digest="sha256:" + "0" * 64)
    assert answer.status_code == 409
    assert "what you were shown has changed since" in answer.text
    assert "because &lt;b&gt;</textarea>" in answer.text
