"""The pages in a real browser."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from playwright.sync_api import expect

from accredit.approvals.model import ApprovalRequest, Hold
from accredit.console.live import RecentCall
from accredit.lifecycle.discovery.findings import FindingAnswer, FindingKind
from accredit.registry.model import AgentState, Environment, Role
from tests.console.desk import DECEIVING, LONG, NOW_US, Desk, finding_about, glasses
from tests.console.dossiers import alert_about
from tests.console.looking import Looking, press_until

pytestmark = pytest.mark.browser
_Look = Callable[..., Looking]


@pytest.fixture
def waiting(desk: Desk) -> tuple[ApprovalRequest, Hold]:
    """A fleet with something to answer, hostile in every field."""
    agent = desk.fleet.add("support-copilot", purpose=DECEIVING)
    desk.fleet.add("ticket-counter", state=AgentState.DRAFT, environment=Environment.DEVELOPMENT)
    desk.fleet.add("refund-desk", state=AgentState.QUARANTINED)
    view = {
        "purpose": DECEIVING,
        DECEIVING: [DECEIVING, {"deep": {"deeper": [DECEIVING]}}],
        "tools": [{"tool": "crm/read", "why": DECEIVING}, {"tool": "crm/write", "why": LONG}],
        "long": LONG,
        "none": [],
        "one word": "x" * 5000,
    }
    desk.found = [
        finding_about(agent, FindingKind.ZOMBIE, words=DECEIVING),
        finding_about(None, FindingKind.UNREGISTERED, words=LONG),
    ]
    desk.told = [alert_about(agent, NOW_US, words=DECEIVING)]
    desk.dossier_words = DECEIVING
    desk.called = [
        RecentCall(9 - at, NOW_US, agent.id, "crm/read_customer", decision, "allowed", ("org/x",), end, 3000)
        for at, (decision, end) in enumerate((("allow", "ok"), ("allow", None), ("deny", None), ("hold", None)))
    ]
    desk.broken = glasses(agent.id, words=DECEIVING)
    desk.panel.put(agent, texts=(DECEIVING, LONG), words=DECEIVING)
    desk.shelves.put(agent.id, DECEIVING, f"write to jane@example.com {LONG}")
    desk.fleet.add("old-mailer", state=AgentState.RETIRED)
    return desk.request(agent, view), desk.hold(agent, {"note": DECEIVING, "amount": 3, DECEIVING[:40]: LONG})


def _paths(waiting: tuple[ApprovalRequest, Hold]) -> list[str]:
    request, hold = waiting
    return ["/console", "/console?name=nothing", "/console/inbox", f"/console/approvals/{request.id}",
            f"/console/holds/{hold.id}", f"/console/agents/{request.agent}", "/console/alerts",
            f"/console/agents/{request.agent}/suspend", "/console/agents/agt_old-mailer_prod", "/console/account",
            "/console/accounts", "/console/stores", "/console/stores/srv_1",
            "/console/people", "/console/findings", "/console/break-glass", "/console/reviews",
            "/console/reviews/rvw_support-copilot", "/console/review-campaigns/rvc_1", "/login"]  # fmt: skip


@pytest.mark.requirement("console:browser:axe", "console:browser:policy")
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_page_is_clean_by_axe_and_breaks_no_policy(
    looking: _Look, waiting: tuple[ApprovalRequest, Hold], scheme: str
) -> None:
    window = looking(scheme=scheme)
    for path in _paths(waiting):
        page = window.go(path)
        for detail in page.locator("details").all():
            detail.locator("summary").click()
        assert (path, window.axe()) == (path, [])
        assert page.evaluate("window.violations") == []


@pytest.mark.requirement("console:browser:narrow")
@pytest.mark.parametrize("width", [320, 640])
def test_every_page_fits_a_narrow_window(looking: _Look, waiting: tuple[ApprovalRequest, Hold], width: int) -> None:
    """640 is also what a window of 1280 has at 200 % zoom."""
    window = looking(width=width)
    for path in _paths(waiting):
        window.go(path)
        assert (path, window.overflow()) == (path, 0)


@pytest.mark.requirement("console:browser:hostile")
def test_hostile_text_stays_text_in_its_own_box_and_hides_nothing(
    looking: _Look, waiting: tuple[ApprovalRequest, Hold]
) -> None:
    window = looking()
    for path in _paths(waiting)[2:8]:
        page = window.go(path)
        assert page.locator("main script, main img, main iframe, main object, main [style]").count() == 0
        assert "owned" not in page.title()
        shown = page.locator("main").inner_text()
        assert not any(each in shown for each in "\u202e\u202c\u200b\u200d\U000e0041")
        section = page.locator("section.view")
        if section.count() == 0:
            continue
        assert section.inner_text().count("\\u202e") >= 2
        inside = section.bounding_box()
        assert inside is not None
        for box in page.locator("bdi.long").all():
            at = box.bounding_box()
            assert at is not None
            assert at["x"] >= inside["x"]
            assert at["x"] + at["width"] <= inside["x"] + inside["width"]
            assert box.evaluate("element => getComputedStyle(element).overflow") == "hidden"
        # the whole of a long value stands there before anybody answers, and the answer's form below it
        assert section.inner_text().count("never") >= LONG.count("never")
        below = page.locator("section.answer").bounding_box()
        assert below is not None
        assert below["y"] >= inside["y"] + inside["height"]


@pytest.mark.requirement("console:browser:login")
def test_a_links_secret_leaves_the_address_at_once_and_signs_in_once_somebody_presses(
    looking: _Look, desk: Desk
) -> None:
    window = looking(person=None)
    link = desk.link("sam")
    sent: list[str] = []
    window.page.on("request", lambda request: sent.append(f"{request.method} {request.url} {request.headers}"))
    page = window.go(f"/login?next=/console/inbox#{link}")
    expect(page).to_have_url(f"{window.url}/login?next=/console/inbox")
    assert page.evaluate("history.length") <= 2
    assert link in desk.links
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="Inbox")).to_be_visible()
    assert link not in desk.links
    assert not any(link in one for one in sent)
    assert sum(one.startswith("POST") for one in sent) == 1
    page.get_by_role("button", name="Sign out").click()
    expect(page.get_by_role("heading", name="Sign in")).to_be_visible()
    assert desk.sessions == {}


@pytest.mark.requirement("console:browser:fragment")
def test_typing_filters_the_fleet_in_place_and_the_address_says_so(
    looking: _Look, desk: Desk, waiting: tuple[ApprovalRequest, Hold]
) -> None:
    page = looking().go("/console")
    page.evaluate("window.same = true")
    page.get_by_label("Name or id").fill("refund")
    expect(page.locator("#fleet tbody tr")).to_have_count(1)
    assert page.evaluate("window.same") is True
    assert "name=refund" in page.url
    assert page.evaluate("document.activeElement.id") == "name"
    page.reload()
    expect(page.locator("#fleet tbody tr")).to_have_count(1)
    assert page.get_by_label("Name or id").input_value() == "refund"
    page.get_by_label("State").select_option("rejected")
    expect(page.get_by_text("No agent matches.")).to_be_visible()
    page.get_by_role("link", name="show all").click()
    expect(page.locator("#fleet tbody tr")).to_have_count(4)


@pytest.mark.requirement("console:browser:keys")
def test_a_whole_vote_is_cast_without_a_pointer(
    looking: _Look, desk: Desk, waiting: tuple[ApprovalRequest, Hold]
) -> None:
    page = looking().go("/console")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.innerText") == "Skip to content"
    press_until(page, "Inbox")
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="Inbox", exact=True)).to_be_visible()
    press_until(page, "support-copilot")
    while "/approvals/" not in str(page.evaluate("document.activeElement.href")):
        press_until(page, "support-copilot")
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="Your vote")).to_be_visible()
    press_until(page, "security")
    page.keyboard.press("Space")
    press_until(page, "Comment")
    page.keyboard.type("Read it all")
    press_until(page, "Approve")
    page.keyboard.press("Enter")
    expect(page.get_by_role("status")).to_have_text("Your vote is on record.")
    assert [one[0] for one in desk.done] == ["vote"]
    assert desk.done[0][-1] == "Read it all"


@pytest.mark.requirement("console:browser:keys")
def test_a_held_call_is_answered_without_a_pointer(
    looking: _Look, desk: Desk, waiting: tuple[ApprovalRequest, Hold]
) -> None:
    page = looking().go(f"/console/holds/{waiting[1].id}")
    press_until(page, "Reason")
    page.keyboard.type("The customer called")
    press_until(page, "Approve this call")
    page.keyboard.press("Enter")
    expect(page.get_by_role("status")).to_have_text("Your answer is on record.")
    assert desk.done[0][-1] == "The customer called"


@pytest.mark.requirement("console:browser:keys")
def test_whoever_may_not_answer_is_told_why_and_finds_no_form(
    looking: _Look, desk: Desk, waiting: tuple[ApprovalRequest, Hold]
) -> None:
    window = looking("dana")
    page = window.go(f"/console/approvals/{waiting[0].id}")
    expect(page.locator(".standing")).to_contain_text("not you: who asked for it does not vote on it")
    expect(page.get_by_role("button", name="Approve")).to_have_count(0)


@pytest.mark.requirement("console:browser:live")
def test_live_decisions_follow_along_until_somebody_pauses_them(
    looking: _Look, desk: Desk, waiting: tuple[ApprovalRequest, Hold]
) -> None:
    window = looking()
    agent = waiting[0].agent
    assert agent is not None
    page = window.go(f"/console/agents/{agent}")
    rows = page.locator("#live-now tbody tr")
    expect(rows).to_have_count(4)
    touched = len(desk.touched)
    desk.called.insert(0, RecentCall(10, NOW_US, agent, "crm/search_orders", "allow", "allowed", (), "ok", 1000))
    expect(rows).to_have_count(5)
    assert len(desk.touched) == touched
    page.get_by_label("Pause").check()
    desk.called.clear()
    with page.expect_request("**/healthz") as _:
        page.evaluate("setTimeout(() => fetch('/healthz'), 4500)")
    expect(rows).to_have_count(5)
    page.get_by_label("Pause").uncheck()
    expect(page.get_by_text("No call of it is among the newest records.")).to_be_visible()
    desk.sessions.clear()
    expect(page.get_by_role("heading", name="Sign in")).to_be_visible()


@pytest.mark.requirement("console:browser:keys")
def test_an_agent_is_suspended_and_an_alert_resolved_without_a_pointer(
    looking: _Look, desk: Desk, waiting: tuple[ApprovalRequest, Hold]
) -> None:
    page = looking().go(f"/console/agents/{waiting[0].agent}")
    press_until(page, "Suspend")
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="Suspend: support-copilot")).to_be_visible()
    press_until(page, "Reason")
    page.keyboard.type("It answers nonsense")
    press_until(page, "Suspend")
    page.keyboard.press("Enter")
    expect(page.get_by_role("status").first).to_have_text("It is suspended.")
    page.goto(page.url.split("/console")[0] + "/console/alerts")
    press_until(page, "Note")
    page.keyboard.type("seen")
    press_until(page, "Resolve")
    page.keyboard.press("Enter")
    expect(page.get_by_role("status").first).to_have_text("The alert is updated.")
    assert [one[0] for one in desk.done] == ["suspend", "resolve"]
    assert desk.done[0][-1] == "It answers nonsense"


@pytest.mark.requirement("discovery:console", "console:browser:keys")
def test_a_finding_is_answered_in_one_step_without_a_pointer(
    looking: _Look, desk: Desk, waiting: tuple[ApprovalRequest, Hold]
) -> None:
    window = looking()
    page = window.go("/console/findings?kind=zombie")
    expect(page.locator("section.card-alert")).to_have_count(1)
    press_until(page, "Reason")
    page.keyboard.type("not needed now")
    press_until(page, "Suspend")
    page.keyboard.press("Enter")
    expect(page.get_by_role("status").first).to_have_text("Your answer to the finding is on record.")
    page = window.go("/console/findings?kind=unregistered")
    press_until(page, "Reason")
    page.keyboard.type("we want it")
    press_until(page, "Register")
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="Draft of a manifest")).to_be_visible()
    expect(page.locator("pre")).to_contain_text("kind: Agent")
    assert window.axe() == []
    assert [one[2:] for one in desk.done] == [
        ("fnd_zombie", FindingAnswer.SUSPEND, "not needed now"),
        ("fnd_unregistered", FindingAnswer.REGISTER, "we want it"),
    ]


@pytest.mark.requirement("console:browser:assess", "console:browser:axe")
def test_a_risk_assessment_is_written_with_as_many_risks_as_it_takes(
    looking: _Look, desk: Desk, waiting: tuple[ApprovalRequest, Hold]
) -> None:
    desk.want_assessment(waiting[0].id)
    desk.grant("lee", Role.BUSINESS_OWNER)
    window = looking()
    page = window.go(f"/console/approvals/{waiting[0].id}")
    assert window.axe() == []
    page.get_by_role("textbox", name="What can go wrong, for whom").nth(0).fill("It tells strangers about customers")
    page.get_by_role("button", name="More rows").click()
    risks = page.get_by_role("textbox", name="What can go wrong, for whom")
    expect(risks).to_have_count(5)
    expect(risks.nth(0)).to_have_value("It tells strangers about customers")
    page.get_by_role("textbox", name="Mitigating policies").nth(0).fill("org/a-0123\norg/b-4567")
    page.get_by_role("textbox", name="Other measures").nth(4).fill("People read a sample every week")
    risks.nth(4).fill("It is slow")
    page.get_by_label("Accepted by").select_option(label="lee@example.com")
    page.get_by_role("button", name="Attach the assessment").click()
    expect(page.get_by_role("status").first).to_have_text("The risk assessment is attached.")
    form = desk.done[0][-1]
    assert [one["risk"] for one in form["risks"]] == ["It tells strangers about customers", "It is slow"]
    assert form["risks"][0]["mitigations"] == [{"policy": "org/a-0123"}, {"policy": "org/b-4567"}]
    assert form["acceptedBy"] == "lee"
