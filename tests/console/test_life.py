"""One agent's whole life as people see it: a real installation, and its console in a real browser."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from accredit.demo import fleet
from tests.console.desk import DECEIVING
from tests.console.installed import House, house
from tests.console.looking import Looking, press_until

pytestmark = pytest.mark.browser
_CLERK = "refund-clerk"


@pytest.fixture
def place(tmp_path: Path) -> Iterator[House]:
    with house(tmp_path / "data") as running:
        yield running


class _Office:
    """Windows of several people, each signed in by a link of their own."""

    def __init__(self, browser: Browser, place: House, stack: ExitStack) -> None:
        self._browser = browser
        self._place = place
        self._stack = stack
        self._seen: set[str] = set()

    def clean(self, window: Looking) -> None:
        """Nothing broke the policy; and axe finds nothing wrong, where it did not look at such a page already."""
        kind = re.sub(r"(agt|apr|hld)_[0-9a-f]+|(?<=records/)\d+|[?#].*", "*", window.page.url.removeprefix(window.url))
        window.clean(axe=kind not in self._seen)
        self._seen.add(kind)

    def arrives(self, link: str, *, scheme: str = "light") -> Looking:
        """Somebody opens a link and presses the button it offers."""
        context = self._browser.new_context(
            color_scheme="dark" if scheme == "dark" else "light", viewport={"width": 1280, "height": 900}
        )
        self._stack.callback(context.close)
        context.set_default_timeout(30_000)
        window = Looking(context.new_page(), self._place.url)
        window.go(link.removeprefix(self._place.url))
        self.clean(window)
        window.page.keyboard.press("Enter")
        expect(window.page.get_by_role("heading", name="Fleet")).to_be_visible()
        return window

    def desk_of(self, name: str, *, scheme: str = "light") -> Looking:
        return self.arrives(self._place.link_for(name), scheme=scheme)


def _done(page: Page, what: str) -> None:
    expect(page.get_by_role("status").first).to_have_text(what)


def _votes(office: _Office, window: Looking, subject: str, role: str) -> None:
    """From the inbox to the vote, without a pointer."""
    page = window.go("/console/inbox")
    office.clean(window)
    press_until(page, subject)
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="Your vote")).to_be_visible()
    office.clean(window)
    press_until(page, role)
    page.keyboard.press("Space")
    press_until(page, "Comment")
    page.keyboard.type(f"looked at as {role}")
    press_until(page, "Approve")
    page.keyboard.press("Enter")
    _done(page, "Your vote is on record.")
    office.clean(window)


def _does(
    office: _Office, window: Looking, agent: str, act: str, done: str, *, reason: str = "", button: str = ""
) -> None:
    """Something done to an agent from its page, without a pointer."""
    page = window.go(f"/console/agents/{agent}")
    press_until(page, act)
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", level=1)).to_have_text(f"{act}: {_CLERK}")
    office.clean(window)
    if reason:
        press_until(page, "Reason")
        page.keyboard.type(reason)
    press_until(page, button or act)
    page.keyboard.press("Enter")
    _done(page, done)
    office.clean(window)


def _first_day(office: _Office, place: House) -> tuple[Looking, Looking]:
    """The first administrator, a token for the command line, the sample fleet, and the second administrator."""
    ada = office.arrives(place.link)
    expect(ada.page.locator(".banner")).to_contain_text("One administrator fills every role")
    expect(ada.page.locator(".empty")).to_contain_text("No agent is registered yet")
    office.clean(ada)
    place.do(place.somebody("ada").sign_in(_own_link(office, ada).partition("#")[2]))
    place.do(place.world.register())
    page = ada.go("/console/people")
    office.clean(ada)
    press_until(page, "E-mail address")
    page.keyboard.type("mira@example.com")
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", level=1)).to_contain_text("mira@example.com")
    link = page.locator("pre").first.inner_text()
    mira = office.arrives(link)
    expect(mira.page.locator(".banner")).to_have_count(0)
    # her own: had the other administrator made it, the two would be tied and could decide nothing together
    place.do(place.world.sign_in_as("mira", _own_link(office, mira)))
    return ada, mira


def _own_link(office: _Office, window: Looking) -> str:
    window.go("/console/account")
    office.clean(window)
    window.page.get_by_role("button", name="Make a link for yourself").click()
    expect(window.page.get_by_role("heading", level=1)).to_contain_text("Sign-in link")
    office.clean(window)
    return window.page.locator("pre").first.inner_text()


def _a_role_takes_two(office: _Office, ada: Looking, mira: Looking) -> None:
    page = ada.go("/console/people")
    page.get_by_label("Person").select_option(label="lee@example.com")
    page.locator("select[name=role]").select_option(label="auditor")
    page.get_by_role("button", name="Ask for it").click()
    _done(page, "The role is asked for.")
    office.clean(ada)
    expect(page.locator(".standing")).to_contain_text("not you")
    expect(page.get_by_role("button", name="Approve")).to_have_count(0)
    inbox = mira.go("/console/inbox")
    subject = inbox.locator("#h-requests ~ .scroll tbody th a").first.inner_text()
    _votes(office, mira, subject, "admin")


def _answers(office: _Office, window: Looking, agent: str) -> None:
    """One view answers the five questions, each by records that can be opened."""
    page = window.go(f"/console/agents/{agent}")
    office.clean(window)
    for question, answer in {
        "q-approved": "bo@example.com",
        "q-data": "personal",
        "q-tools": "crm-live/refund_order",
        "q-review": "sam@example.com",
        "q-end": "credential",
    }.items():
        expect(page.locator(f"section[aria-labelledby={question}]")).to_contain_text(answer)
    for question in ("q-approved", "q-data", "q-tools", "q-review"):
        expect(page.locator(f"section[aria-labelledby={question}] a.record").first).to_be_visible()
    page.locator("section[aria-labelledby=q-review] a.record").click()
    expect(page.get_by_role("heading", level=1)).to_contain_text("Record")
    expect(page.locator("main")).to_contain_text("approval.voted")
    office.clean(window)


@pytest.mark.requirement("console:life:whole", "console:browser:axe", "console:browser:policy", "console:browser:keys")
@pytest.mark.timeout(400)  # dozens of pages, each drawn and looked over; a busy machine takes its time
def test_one_agents_whole_life_is_led_from_the_console(place: House, browser: Browser) -> None:
    with ExitStack() as stack:
        office = _Office(browser, place, stack)
        ada, mira = _first_day(office, place)
        place.people()
        _a_role_takes_two(office, ada, mira)
        place.production()
        agent = str(place.get("dana", f"agents/production/{_CLERK}")["id"])
        dana, sam, bo = office.desk_of("dana"), office.desk_of("sam", scheme="dark"), office.desk_of("bo")
        # -- submitted, assessed, and signed off by three people
        _does(office, dana, agent, "Submit", "It is submitted.")
        page = dana.page
        page.get_by_role("textbox", name="What can go wrong, for whom").first.fill("A refund goes to the wrong person")
        page.get_by_role("textbox", name="Other measures").first.fill("A person approves each")
        page.get_by_label("Accepted by").select_option(label="bo@example.com")
        page.get_by_role("button", name="Attach the assessment").click()
        _done(page, "The risk assessment is attached.")
        office.clean(dana)
        _votes(office, sam, _CLERK, "security")
        _votes(office, office.desk_of("cora"), _CLERK, "compliance")
        _votes(office, bo, _CLERK, "business-owner")
        _does(office, dana, agent, "Activate", "It is active.")
        place.enrolled(_CLERK)
        # -- at work
        una = office.desk_of("una")
        assert not place.call(_CLERK, "read_customer", {"customer_id": "c-17"}, user="kim@example.com").is_error
        place.settled()
        _answers(office, una, agent)
        page = una.go(f"/console/agents/{agent}")
        rows = page.locator("#live-now tbody tr")
        expect(rows).to_have_count(1)
        refund = {"order_id": "o-2", "cents": 1500}
        held = place.call(_CLERK, "refund_order", refund, user="kim@example.com")
        assert held.structured_content["code"] == "held"
        place.settled()
        expect(rows.first).to_contain_text("held")
        # -- a held call, answered by whoever may
        page = bo.go("/console/inbox")
        press_until(page, "crm-live/refund_order")
        page.keyboard.press("Enter")
        expect(page.locator(".glance")).to_contain_text("1500")
        office.clean(bo)
        press_until(page, "Reason")
        page.keyboard.type("the customer called")
        press_until(page, "Approve this call")
        page.keyboard.press("Enter")
        _done(page, "Your answer is on record.")
        office.clean(bo)
        assert not place.call(_CLERK, "refund_order", refund, user="kim@example.com").is_error
        place.settled()
        expect(una.page.locator("#live-now tbody tr")).to_have_count(3)
        # -- an alert
        place.call(_CLERK, "delete_customer", {"customer_id": "c-17"}, user="kim@example.com")
        place.settled()
        page = sam.go("/console/alerts")
        office.clean(sam)
        expect(page.get_by_role("heading", level=2).first).to_contain_text("crm-live/delete_customer")
        press_until(page, "Acknowledge")
        page.keyboard.press("Enter")
        _done(page, "The alert is updated.")
        # -- stopped, and ended
        _does(office, dana, agent, "Suspend", "It is suspended.", reason="a look at its refunds")
        expect(dana.page.locator(".notice")).to_contain_text("every call is refused until somebody resumes it")
        _does(office, office.desk_of("otto"), agent, "Resume", "It runs again.", reason="all is well")
        # what ends it for good is agreed to by a second person, as planned
        _does(
            office, dana, agent, "Retire", "A second person is asked to agree.", reason="the shop closes",
            button="Ask for it",
        )  # fmt: skip
        _votes(office, sam, "retirement", "security")
        receipt = una.go(f"/console/agents/{agent}").locator("section[aria-labelledby=q-end]")
        expect(receipt).to_contain_text("It was retired on")
        expect(receipt).to_contain_text("complete with exceptions")
        expect(receipt).to_contain_text(
            "qdrant/refund-clerk: cannot certify: it is in no registered store, so nobody can look"
        )
        expect(receipt.locator("a.record").first).to_be_visible()
        office.clean(una)
        # -- whoever left is out, wherever they look
        place.post("ada", f"persons/{place.persons['una']}/leave", {"reason": "moved on"})
        una.page.reload()
        expect(una.page.get_by_role("heading", name="Sign in")).to_be_visible()


@pytest.mark.requirement("console:life:hostile", "console:browser:hostile")
def test_what_a_manifest_says_deceives_nobody_who_reads_it_in_the_console(place: House, browser: Browser) -> None:
    with ExitStack() as stack:
        office = _Office(browser, place, stack)
        place.do(place.world.sign_in())
        place.do(place.world.register())
        place.second_admin()
        place.people()
        place.production()
        hostile = fleet.live_agents()[_CLERK]
        said = {"purpose": (DECEIVING + " " + "never " * 300)[:2000], "businessService": "<b>approved</b>"}
        (made,) = place.applied("dana", {**hostile, "spec": hostile["spec"] | said})
        request = place.post("dana", f"agents/production/{_CLERK}/submit")["id"]
        sam = office.desk_of("sam")
        for path in ("/console", "/console/inbox", f"/console/agents/{made['id']}", f"/console/approvals/{request}"):
            page = sam.go(path)
            office.clean(sam)
            assert sam.overflow() == 0
            assert page.locator("main script, main img, main b, main iframe, main [style]").count() == 0
            shown = page.locator("main").inner_text()
            assert not any(each in shown for each in "\u202e\u202c\u200b\u200d\U000e0041")
        assert page.locator("main").inner_text().count("\\u202e") >= 2
        assert "<b>approved</b>" in page.locator("main").inner_text()
        expect(page.get_by_role("heading", name="Your vote")).to_be_visible()
