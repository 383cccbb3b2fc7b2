"""A window of a browser, and what a test reads off it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import axe_playwright_python
from playwright.sync_api import ConsoleMessage, Error, Page, Response

__all__ = ["Looking", "press_until"]

_AXE = (Path(axe_playwright_python.__file__).parent / "axe.min.js").read_text()
_WATCH = """
window.violations = [];
document.addEventListener("securitypolicyviolation", (event) =>
  window.violations.push(`${event.violatedDirective} ${event.blockedURI}`));
"""


class Looking:
    """One page in a browser; what the browser complained of is kept."""

    def __init__(self, page: Page, url: str) -> None:
        self.page = page
        self.url = url
        self.broken: list[str] = []
        page.add_init_script(_WATCH)
        page.on("console", self._said)
        page.on("pageerror", self._failed)
        page.on("response", self._answered)

    def go(self, path: str) -> Page:
        """Open a page and hold that it is one."""
        answer = self.page.goto(self.url + path)
        assert answer is not None
        assert answer.status == 200, f"{path}: {answer.status}"
        return self.page

    def clean(self, *, axe: bool = True) -> None:
        """Hold that nothing broke the policy, and that axe finds nothing wrong."""
        found = [*(self.axe() if axe else ()), *self.page.evaluate("window.violations"), *self.broken]
        assert not found, f"{self.page.url}: {found}"

    def axe(self) -> list[str]:
        """What axe finds wrong: rule and place."""
        self.page.evaluate(_AXE)
        found: dict[str, Any] = self.page.evaluate(
            "axe.run(document, {runOnly: ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa', 'best-practice'],"
            " resultTypes: ['violations']})"
        )
        return [f"{one['id']}: {node['html'][:200]}" for one in found["violations"] for node in one["nodes"]]

    def overflow(self) -> int:
        """How many pixels the page is wider than its window."""
        return int(self.page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth"))

    def _said(self, message: ConsoleMessage) -> None:
        if message.type in {"error", "warning"} and "Failed to load resource" not in message.text:
            self.broken.append(message.text)

    def _failed(self, error: Error) -> None:
        self.broken.append(str(error))

    def _answered(self, answer: Response) -> None:
        if not answer.url.startswith(self.url):
            self.broken.append(f"asked elsewhere: {answer.url}")


def press_until(page: Page, what: str, *, key: str = "Tab") -> None:
    """Go on by keyboard until the element in focus says that."""
    for _ in range(160):
        page.keyboard.press(key)
        focused = page.evaluate(
            "(document.activeElement.labels?.[0] ?? document.activeElement).innerText?.trim() ?? ''"
        )
        if str(focused).startswith(what):
            return
    raise AssertionError(f"no way to {what!r} by keyboard")
