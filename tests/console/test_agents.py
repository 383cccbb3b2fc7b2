"""One agent's page, what it offers, and who sees it."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import httpx2
import pytest

from accredit.audit.model import Entry, Facts
from accredit.console.assessing import assessment_form, rows_shown
from accredit.console.live import RecentCalls
from accredit.console.offers import offers
from accredit.identity.model import Operator
from accredit.kernel.ids import AgentId, PersonId
from accredit.registry.model import Agent, AgentState, Environment
from tests.audit.building import appended, new_store, writing
from tests.console.desk import Desk

_Visit = Callable[[str], httpx2.Client]


def call_decided(decision_id: str, agent: str = "agt_1") -> Entry:
    """A call that was let through."""
    facts = Facts("decision", agent=agent, tool="crm/read_customer", decision="allow", action="enforced")
    return Entry(facts, 1, {"code": "allowed", "decision_id": decision_id, "policies": []})


def call_ended(decision_id: str) -> Entry:
    """What became of it."""
    return Entry(Facts("outcome"), 2, {"decision_id": decision_id, "duration_us": 1500, "end": "ok"})


def _offered(desk: Desk, agent: Agent, person: str) -> list[str]:
    who = Operator(PersonId(person), "tok", frozenset({"admin"}), "roles")
    return [one.name for one in offers(agent, who, desk.organisation)]


@pytest.mark.requirement("console:agent:questions")
def test_one_page_answers_the_five_questions_each_with_the_record_it_rests_on(visit: _Visit, desk: Desk) -> None:
    agent = desk.fleet.add("support-copilot")
    text = visit("sam").get(f"/console/agents/{agent.id}").text
    for question, answer, record in (
        ("Who approved this agent?", "sam@example.com", 30),
        ("What data may it access?", "personal", 5),
        ("What tools may it invoke?", "crm/read_customer", 5),
        ("When was its last security review?", "2026-11-17", 30),
        ("What happens when it is decommissioned?", "not checked: no adapter", None),
    ):
        section = text.split(question, 1)[1].split("</section>", 1)[0]
        assert answer in section, question
        assert record is None or f'href="/console/records/{record}"' in section, question


@pytest.mark.requirement("console:agent:questions", "policy:access:models")
def test_its_language_models_stand_beside_its_tools_with_what_they_may_see_and_cost(visit: _Visit, desk: Desk) -> None:
    agent = desk.fleet.add("support-copilot")
    text = visit("sam").get(f"/console/agents/{agent.id}").text
    section = text.split("Language models", 1)[1].split("</table>", 1)[0]
    known, unknown = (row for row in section.split("<tr>")[2:])
    for words in ("anthropic/claude-x", "held", "internal", "3 USD in, 15 USD out", "dpa-1", "refused"):
        assert words in known, words
    for words in ("anthropic/elsewhere", "not registered", "unknown"):
        assert words in unknown, words


@pytest.mark.requirement("change:rules")
def test_what_the_newest_declaration_changes_is_shown_with_what_must_be_looked_at(visit: _Visit, desk: Desk) -> None:
    agent = desk.fleet.add("support-copilot")
    text = visit("sam").get(f"/console/agents/{agent.id}").text
    section = text.split("What the newest declaration changes</h2>", 1)[1].split("</section>", 1)[0]
    widened, narrowed = section.split("<li>")[1:]
    assert "crm/refund" in widened
    assert "to be looked at" in widened
    assert "callsPerMinute" in narrowed
    assert "needs no vote of its own" in narrowed


@pytest.mark.requirement("console:agent:questions")
def test_a_retired_agents_page_shows_what_was_done_and_what_is_left_to_people(visit: _Visit, desk: Desk) -> None:
    agent = desk.fleet.add("old-mailer", state=AgentState.RETIRED)
    text = visit("sam").get(f"/console/agents/{agent.id}").text
    section = text.split("What happens when it is decommissioned?", 1)[1].split("</section>", 1)[0]
    assert "It was retired on" in section
    assert "not checked: no adapter" in section.split("What is left to people", 1)[1]
    assert 'href="/console/records/40"' in section
    assert "/retire" not in text


@pytest.mark.requirement("console:agent:offers")
@pytest.mark.parametrize(
    ("environment", "state", "person", "offered"),
    [
        (Environment.PRODUCTION, AgentState.DRAFT, "dana", ["submit", "retire"]),
        (Environment.PRODUCTION, AgentState.APPROVED, "dana", ["activate", "retire"]),
        (Environment.PRODUCTION, AgentState.ACTIVE, "dana", ["suspend", "quarantine", "retire"]),
        (Environment.PRODUCTION, AgentState.ACTIVE, "sam", ["suspend", "quarantine"]),
        (Environment.PRODUCTION, AgentState.ACTIVE, "lee", []),
        (Environment.PRODUCTION, AgentState.RETIRING, "dana", []),
        (Environment.PRODUCTION, AgentState.RETIRED, "dana", []),
        (Environment.DEVELOPMENT, AgentState.DRAFT, "dana", ["suspend", "quarantine", "retire"]),
        (Environment.STAGING, AgentState.DRAFT, "dana", ["submit", "retire"]),
    ],
)
def test_a_page_offers_what_the_state_allows_and_the_person_may(
    desk: Desk, environment: Environment, state: AgentState, person: str, offered: list[str]
) -> None:
    assert _offered(desk, desk.fleet.add("one", environment=environment, state=state), person) == offered


@pytest.mark.requirement("console:agent:offers")
def test_a_halted_agent_is_let_go_by_whoever_may(desk: Desk) -> None:
    agent = desk.fleet.add("one", state=AgentState.QUARANTINED)
    agent = replace(agent, halted_from=AgentState.ACTIVE)
    assert _offered(desk, agent, "sam") == ["suspend", "lift"]
    assert _offered(desk, agent, "dana") == ["suspend", "retire"]
    assert _offered(desk, replace(agent, state=AgentState.SUSPENDED), "sam") == ["resume", "quarantine"]


@pytest.mark.requirement("console:agent:offers")
def test_what_is_not_offered_has_no_page_and_what_is_needs_a_reason(visit: _Visit, desk: Desk) -> None:
    agent = desk.fleet.add("one")
    client = visit("sam")
    for act, status in (("retire", 409), ("fly", 404), ("suspend", 200)):
        assert client.get(f"/console/agents/{agent.id}/{act}").status_code == status
    token = client.get("/console").text.split('name="csrf" value="', 1)[1].split('"', 1)[0]
    for reason in ("", "  ", "x" * 501):
        answer = client.post(f"/console/agents/{agent.id}/suspend", data={"csrf": token, "reason": reason})
        assert answer.status_code == 400
    assert client.post(f"/console/agents/{agent.id}/fly", data={"csrf": token}).status_code == 404
    assert desk.done == []


@pytest.mark.requirement("console:agent:offers")
def test_an_agent_is_retired_as_its_plan_was_shown(visit: _Visit, desk: Desk) -> None:
    agent = desk.fleet.add("one")
    client = visit("dana")
    page = client.get(f"/console/agents/{agent.id}/retire").text
    plan = re.search(r'name="plan" value="([^"]+)"', page)
    token = re.search(r'name="csrf" value="([^"]+)"', page)
    assert plan
    assert token
    assert "crm/read" in page.split("What is decided", 1)[1]
    assert "4711 items" in page
    assert "the shelf is down" in page
    form = {"csrf": token[1], "plan": plan[1], "reason": "over"}
    assert client.post(f"/console/agents/{agent.id}/retire", data=form).status_code == 303
    assert desk.done == [("retire", "dana", agent.id, "over", plan[1])]


@pytest.mark.requirement("console:sight:roles")
def test_without_a_role_one_sees_what_one_owns_and_nothing_else(visit: _Visit, desk: Desk) -> None:
    own, other = desk.fleet.add("own-agent"), desk.fleet.add("other-agent", owner="lee")
    request, hold = desk.request(other, {"purpose": "secret plan"}), desk.hold(other, {"note": "secret plan"})
    client = visit("dana")
    fleet = client.get("/console").text
    assert own.name in fleet
    assert other.name not in fleet
    assert client.get(f"/console/agents/{own.id}").status_code == 200
    for path in (
        f"/console/agents/{other.id}",
        f"/console/agents/{other.id}/suspend",
        f"/console/approvals/{request.id}",
        f"/console/holds/{hold.id}",
    ):
        answer = client.get(path)
        assert answer.status_code == 403, path
        assert "secret plan" not in answer.text
    assert other.name not in client.get("/console/inbox").text


@pytest.mark.requirement("console:live:newest")
def test_the_newest_calls_are_followed_with_what_became_of_them(tmp_path: Path) -> None:
    store = new_store("sqlite", tmp_path)
    with writing(store) as log:
        live = RecentCalls(store, kept=50)
        assert live.of(AgentId("agt_1"), 5) == ()
        appended(log, [call_decided("dec_1"), call_decided("dec_2", agent="agt_2"), call_ended("dec_1")])
        (only,) = live.of(AgentId("agt_1"), 5)
        assert (only.tool, only.code, only.end, only.took_us) == ("crm/read_customer", "allowed", "ok", 1500)
        appended(log, [call_decided(f"dec_{number}") for number in range(3, 9)])
        assert [one.end for one in live.of(AgentId("agt_1"), 3)] == [None, None, None]
        appended(log, [call_ended("dec_8")])
        assert live.of(AgentId("agt_1"), 1)[0].end == "ok"
        assert len(live.of(AgentId("agt_1"), 50)) == 7
        # however many records there are, a page follows the newest ones alone
        appended(log, [call_decided(f"dec_x{number}", agent="agt_2") for number in range(60)])
        assert live.of(AgentId("agt_1"), 50) == ()
        assert len(live.of(AgentId("agt_2"), 500)) == 50
    store.close()


@pytest.mark.requirement("console:assess:form")
def test_a_pages_fields_become_the_published_form() -> None:
    form = assessment_form(
        {
            "rows": "3", "risk-0": " It lies ", "likelihood-0": "2", "impact-0": "x", "policies-0": "a\n\n b ",
            "residual-0": "low", "likelihood-1": "1", "measures-2": "read", "residual": "low", "accepted_by": "psn_1",
        }
    )  # fmt: skip
    assert form == {
        "risks": [
            {
                "risk": "It lies",
                "likelihood": 2,
                "impact": "x",
                "mitigations": [{"policy": "a"}, {"policy": "b"}],
                "residual": "low",
            },
            {"risk": "", "likelihood": "", "impact": "", "mitigations": [{"measure": "read"}], "residual": ""},
        ],
        "residual": "low",
        "acceptedBy": "psn_1",
    }


@pytest.mark.requirement("console:assess:form")
@pytest.mark.parametrize(
    ("given", "rows"), [("", 3), ("x", 3), ("-4", 3), ("0", 1), ("7", 7), ("999999", 50), ("\u0663", 3)]
)
def test_a_page_shows_a_bounded_number_of_rows(given: str, rows: int) -> None:
    assert rows_shown({"rows": given}) == rows
    assert rows_shown({"rows": given, "more": "yes"}) == min(rows + 2, 50)


@pytest.mark.requirement("observed:explained")
def test_declared_and_observed_stand_side_by_side_with_links_to_their_records(visit: _Visit, desk: Desk) -> None:
    agent = desk.fleet.add("support-copilot")
    text = visit("sam").get(f"/console/agents/{agent.id}").text
    shown = text.split("Declared and observed", 1)[1].split("</section>", 1)[0]
    for days in (14, 30):
        assert f"In {days} days" in shown
    assert "3, higher" in shown
    assert 'href="/console/records/13"' in shown
    assert "Not all records of these days are read yet" in shown
    assert "Seen too seldom to count" in shown
    assert 'href="/console/agents/agt_2"' in shown


@pytest.mark.requirement("envelope:listed")
def test_what_is_approved_beforehand_and_was_used_stands_on_the_agents_page(visit: _Visit, desk: Desk) -> None:
    agent = desk.fleet.add("support-copilot")
    text = visit("sam").get(f"/console/agents/{agent.id}").text
    shown = text.split("Approved beforehand", 1)[1].split("</section>", 1)[0]
    assert "Used 1 times since somebody last voted" in shown
    assert 'href="/console/records/33"' in shown
    assert "needs no vote until" in shown


@pytest.mark.requirement("otlp:shown")
def test_reported_use_stands_apart_from_what_was_measured(visit: _Visit, desk: Desk) -> None:
    agent = desk.fleet.add("support-copilot")
    text = visit("sam").get(f"/console/agents/{agent.id}").text
    measured, reported = text.split("Use in 30 days", 1)[1].split("Reported use", 1)
    assert "412" in measured
    assert "Nobody measured it" in reported
    assert ">7<" in reported.split("</section>", 1)[0]
