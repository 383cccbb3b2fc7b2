"""People, the links they sign in by, and what acts in one's own name."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace

import httpx2
import pytest

from accredit.kernel.clearance import Basis
from accredit.kernel.ids import PersonId
from accredit.lifecycle.succession import AskedAs, Succession, SuccessionTurn
from accredit.registry.model import AgentState, Person, Role
from tests.console.desk import DECEIVING, Desk

_Visit = Callable[[str], httpx2.Client]


def _sent(client: httpx2.Client, path: str, page: str, **form: str) -> httpx2.Response:
    found = re.search(r'name="csrf" value="([^"]+)"', client.get(page).text)
    assert found
    return client.post(path, data={"csrf": found[1]} | form)


@pytest.mark.requirement("console:people:link")
def test_one_makes_a_link_for_oneself_which_is_shown_once_and_kept_nowhere(visit: _Visit, desk: Desk, url: str) -> None:
    client = visit("sam")
    answer = _sent(client, "/console/account/link", "/console/account")
    (secret,) = desk.links
    assert answer.status_code == 200
    assert f"{url}/login#{secret}" in answer.text
    assert answer.headers["cache-control"] == "no-store"
    assert desk.done == [("sign_in_link", "sam", "sam")]
    assert secret not in client.get("/console/account").text


@pytest.mark.requirement("console:people:own")
def test_ending_the_session_one_is_in_signs_out_and_another_persons_cannot_be_ended(visit: _Visit, desk: Desk) -> None:
    client, other = visit("sam"), visit("kim")
    (theirs,) = (secret for secret, person in desk.sessions.items() if person == "kim")
    (mine,) = (secret for secret, person in desk.sessions.items() if person == "sam")
    page = client.get("/console/account").text
    assert f"ses_{mine}" in page
    assert theirs not in page
    _sent(client, f"/console/account/credentials/ses_{mine}", "/console/account")
    assert client.get("/console/account").status_code == 303
    assert other.get("/console/account").status_code == 200


@pytest.mark.requirement("console:people:admin")
def test_only_an_administrator_is_offered_links_for_others(visit: _Visit, desk: Desk) -> None:
    desk.fleet.add("support-copilot")
    assert "/link" not in visit("sam").get("/console/people").text
    admin = visit("ada")
    assert "/console/people/dana/link" in admin.get("/console/people").text
    assert "dana@example.com" in _sent(admin, "/console/people/dana/link", "/console/people").text
    asked = _sent(admin, "/console/people/roles", "/console/people", person="dana", role="security", team="")
    assert asked.headers["location"].startswith("/console/approvals/")
    assert desk.done[-1] == ("propose_role", "ada", Role.SECURITY, {"person": "dana", "team": None})
    wrong = _sent(admin, "/console/people/roles", "/console/people", person="dana", role="emperor", team="")
    assert wrong.status_code == 400
    assert "choose a role" in wrong.text


@pytest.mark.requirement("console:people:admin")
def test_the_one_administrator_there_is_invites_the_second(visit: _Visit, desk: Desk) -> None:
    desk.basis = Basis.SINGLE_ADMIN.value
    admin = visit("ada")
    answer = _sent(admin, "/console/people/invite", "/console/people", email=" lee@example.com ")
    assert desk.done == [("invite", "ada", "lee@example.com")]
    assert "/login#accl_" in answer.text


@pytest.mark.requirement("console:sight:roles")
def test_who_there_is_is_shown_to_whoever_holds_a_role(visit: _Visit) -> None:
    owner = visit("dana")
    assert owner.get("/console/people").status_code == 403
    assert "/console/people" not in owner.get("/console").text
    assert owner.get("/console/account").status_code == 200


@pytest.mark.requirement("console:people:pages", "console:text:isolated")
def test_the_pages_of_people_show_each_once_and_an_address_as_text(visit: _Visit, desk: Desk) -> None:
    for at in range(250):
        desk.fleet.people[PersonId(f"p{at}")] = Person(PersonId(f"p{at}"), f"p{at:03d}@example.org")
    desk.fleet.people[PersonId("odd")] = Person(PersonId("odd"), DECEIVING, bot=True)
    client = visit("sam")
    seen: list[str] = []
    params: dict[str, str] = {"name": "example.org"}
    while params:
        page = client.get("/console/people", params=params).text
        seen += re.findall(r"p\d{3}@example\.org", page.partition("<section")[2])
        found = re.search(r'name="after" value="([^"]+)"', page)
        params = {"name": "example.org", "after": found[1]} if found else {}
    assert seen == [f"p{at:03d}@example.org" for at in range(250)]
    odd = client.get("/console/people", params={"name": "tickets"}).text
    assert "<script>document" not in odd
    assert "\u202e" not in odd


@pytest.mark.requirement("console:accounts:connected")
def test_an_account_is_connected_by_a_link_one_sees_and_an_answer_that_was_asked_for(visit: _Visit, desk: Desk) -> None:
    client = visit("dana")
    assert "crm-user" in client.get("/console/accounts").text
    page = _sent(client, "/console/accounts/crm-user/connect", "/console/accounts")
    assert page.status_code == 200
    assert 'href="https://auth.example/authorize?state=s" rel="noreferrer"' in page.text
    back = "/console/accounts/crm-user/callback"
    foreign = client.get(back, params={"state": "another", "code": "c"})
    assert foreign.status_code == 403
    assert client.get(f"{back}?state=s&state=s&code=c").status_code == 400
    assert not desk.accounts
    answer = client.get(back, params={"state": "s", "code": "c"})
    assert (answer.status_code, answer.headers["location"]) == (303, "/console/accounts?done=connected")
    assert "Connect anew" in client.get("/console/accounts").text
    _sent(client, "/console/accounts/crm-user/disconnect", "/console/accounts")
    assert not desk.accounts


@pytest.mark.requirement("console:accounts:connected")
def test_an_answer_without_a_session_goes_to_the_sign_in_page_and_connects_nothing(visit: _Visit, desk: Desk) -> None:
    client = visit("dana")
    client.cookies.clear()
    answer = client.get("/console/accounts/crm-user/callback", params={"state": "s", "code": "c"})
    assert answer.status_code == 303
    assert answer.headers["location"].startswith("/login")
    assert not desk.accounts


@pytest.mark.requirement("people:succession:shown")
def test_the_page_says_who_answers_for_which_agents_and_what_waits_for_them(visit: _Visit, desk: Desk) -> None:
    mine = desk.fleet.add("support-copilot", owner="dana")
    left = desk.fleet.add("orphaned-copilot", owner="gone")
    desk.fleet.add("old-copilot", owner="dana", state=AgentState.RETIRED)
    turn = SuccessionTurn(AskedAs.BACKUP, (PersonId("sam"),))
    open_ = Succession("suc_1", left.id, PersonId("gone"), 1, turn)
    desk.successions = [open_]
    rows = _rows(visit("ada").get("/console/people").text)
    assert f"/console/agents/{mine.id}" in rows["dana@example.com"]
    assert "old-copilot" not in rows["dana@example.com"]
    assert f"/console/agents/{left.id}" in rows["sam@example.com"]
    desk.successions = [replace(open_, accepted_by=PersonId("sam"), accepted_us=2)]
    assert str(left.id) not in _rows(visit("ada").get("/console/people").text)["sam@example.com"]


def _rows(page: str) -> dict[str, str]:
    """The row of each person, by address."""
    rows = re.findall(r"<tr>\s*<th scope=\"row\">(.*?)</tr>", page, re.DOTALL)
    return {found[0]: row for row in rows if (found := re.search(r"[a-z]+@example\.com", row))}


@pytest.mark.requirement("approvals:chat:linked")
def test_whoever_signed_in_makes_the_code_for_a_chat_and_ends_a_link(visit: _Visit, desk: Desk) -> None:
    kim = visit("kim")
    page = kim.get("/console/account").text
    token = re.search(r'name="csrf" value="([^"]+)"', page)
    assert token
    shown = kim.post("/console/account/chats/slack", data={"csrf": token[1]})
    assert "/accredit link accq_once" in shown.text
    assert kim.post("/console/account/chat-links/chl_1", data={"csrf": token[1]}).status_code == 303
    assert desk.done == [("link_code", "kim", "slack"), ("unlink", "kim", "chl_1")]
