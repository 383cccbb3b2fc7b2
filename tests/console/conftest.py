"""The pages served on loopback, and Debian's Chromium to look at them."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import AsyncIterator, Callable, Iterator

import httpx2
import pytest
from playwright.sync_api import Browser, sync_playwright

from accredit.console.app import console_app
from accredit.serving import bound, served
from tests.console.desk import Desk
from tests.console.looking import Looking
from tests.living import living

_FLAGS = (
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
_PATIENCE_S = 30


@contextlib.asynccontextmanager
async def _serving(desk: Desk) -> AsyncIterator[str]:
    listener = bound("127.0.0.1", 0)
    app = console_app(desk.services(f"http://127.0.0.1:{listener.getsockname()[1]}"))
    async with served(app, listener) as url:
        yield url


@pytest.fixture
def desk() -> Desk:
    return Desk()


@pytest.fixture
def url(desk: Desk) -> Iterator[str]:
    with living(_serving(desk)) as (at, _):
        yield at


@pytest.fixture
def visit(desk: Desk, url: str) -> Iterator[Callable[[str], httpx2.Client]]:
    """A client with a session of a person's, which sends forms as a browser would."""
    with contextlib.ExitStack() as stack:

        def visited(person: str) -> httpx2.Client:
            name = f"accredit-{httpx2.URL(url).port}"
            cookies = {name: desk.signed_in(person)} if person else {}
            client = httpx2.Client(base_url=url, cookies=cookies, trust_env=False, timeout=_PATIENCE_S)
            client.headers["sec-fetch-site"] = "same-origin"
            return stack.enter_context(client)

        yield visited


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """One browser for a module: no test beside those of a module that uses it may run an event loop of its own."""
    program = shutil.which("chromium")
    assert program, "the tests of the console need a browser: install Debian's package chromium"
    flags = [*_FLAGS, "--no-sandbox"] if os.geteuid() == 0 else list(_FLAGS)
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=program, args=flags)
        yield started
        started.close()


@pytest.fixture
def looking(browser: Browser, desk: Desk, url: str) -> Iterator[Callable[..., Looking]]:
    """Opens windows, each with a session of its own, and holds that nothing broke the policy in any of them."""
    opened: list[Looking] = []

    def look(person: str | None = "sam", *, scheme: str = "light", width: int = 1280) -> Looking:
        context = browser.new_context(
            color_scheme="dark" if scheme == "dark" else "light", viewport={"width": width, "height": 900}
        )
        context.set_default_timeout(_PATIENCE_S * 1000)
        if person is not None:
            name = f"accredit-{httpx2.URL(url).port}"
            context.add_cookies([{"name": name, "value": desk.signed_in(person), "url": url}])
        window = Looking(context.new_page(), url)
        opened.append(window)
        return window

    yield look
    for window in opened:
        broken = window.broken
        window.page.context.close()
        assert broken == []
