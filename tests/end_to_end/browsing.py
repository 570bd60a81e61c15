"""A real browser in front of the stack, watched: whatever a page asks of another origin, says in the console or breaks
of its own policy fails the test. And what a page is checked for on the way: axe's rules in light and dark, its width
and its weight.
"""

import json
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

from playwright.sync_api import Browser, BrowserContext, Page, Request, Response, sync_playwright

from tests.end_to_end.client import Person
from tests.end_to_end.stack import Stack

AXE = Path(__file__).parent / "axe" / "node_modules" / "axe-core" / "axe.min.js"
MOST_BYTES = 60_000
"""Of a page with everything it loads, uncompressed."""
PHONE = {"width": 360, "height": 740}
DESK = {"width": 1280, "height": 900}
_QUIET = "--no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking"
_QUIET += " --disable-component-update --disable-sync"
_RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]


@contextmanager
def chromium(*more: str) -> Iterator[Browser]:
    """`more`: what is said to it on its command line besides."""
    found = shutil.which("chromium") or shutil.which("chromium-browser")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=found, args=[*_QUIET.split(), *more])
        yield browser
        browser.close()


class Surfer:
    """One person's browser: its pages, and what they did that they should not have."""

    def __init__(self, browser: Browser, stack: Stack, **options: Any) -> None:
        self.stack = stack
        given: dict[str, Any] = {"viewport": DESK, "locale": "en-GB", "device_scale_factor": 2}
        given |= options
        self.context: BrowserContext = browser.new_context(**given)
        self.has_scripts: bool = given.get("java_script_enabled", True)
        self.complaints: list[str] = []
        self.bytes: dict[str, int] = {}
        self.context.on("request", self._asked)
        self.context.on("response", self._answered)
        self.context.on("console", lambda said: self._complained(said.type, said.text))
        self.context.on("weberror", lambda error: self.complaints.append(str(error.error)))
        self.page: Page = self.context.new_page()

    def go(self, path: str) -> Page:
        self.page.goto(f"{self.stack.public_url}{path}")
        return self.page

    def sign_in(self, person: Person) -> Page:
        page = self.go(f"/c/{person.clinic}")
        page.locator("#email").fill(person.email)
        page.locator("#password").fill(person.password)
        page.locator("main form button").first.click()
        return page

    def give(self, code: str) -> None:
        """Types a code; where scripts run it goes off by itself, unless it mends a wrong one."""
        box = self.page.locator("#code")
        is_mending = box.input_value() != ""
        box.fill(code)
        if is_mending or not self.has_scripts:
            self.page.locator("form:has(#code) button").first.click()

    def scanned(self, folder: Path) -> str:
        """The text of the QR code that is on the screen."""
        picture = folder / "screen.png"
        self.page.screenshot(path=str(picture), full_page=True)
        command = ["zbarimg", "--quiet", "--raw", "--nodbus", str(picture)]
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=30).stdout.strip()

    def check(self) -> None:
        """That the page that is open is accessible in light and dark, fits the width of its screen, and is light."""
        schemes: tuple[Literal["dark", "light"], ...] = ("dark", "light")
        for scheme in schemes:
            self.page.emulate_media(color_scheme=scheme)
            assert not self.violations(), f"{scheme}: {self.violations()}"
        too_wide = self.page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
        assert too_wide <= 0, f"{self.page.url} is {too_wide} px too wide"
        loaded = [urlsplit(url).path for url in self.page.evaluate(_LOADED)]
        weight = sum(self.bytes.get(path, 0) for path in {urlsplit(self.page.url).path, *loaded})
        assert 0 < weight <= MOST_BYTES, f"{self.page.url} weighs {weight} bytes"

    def violations(self) -> list[str]:
        """What axe-core finds wrong with the page."""
        # Not by a script element: the page's own policy would refuse it, rightly.
        self.page.evaluate(AXE.read_text())
        found = self.page.evaluate("rules => axe.run({runOnly: rules})", _RULES)["violations"]
        return [f"{each['id']}: {[node['html'][:200] for node in each['nodes']]}" for each in found]

    def close(self) -> None:
        """Raises where a page did what it should not."""
        self.context.close()
        assert not self.complaints, json.dumps(self.complaints, indent=1)

    def _asked(self, request: Request) -> None:
        asked, own = urlsplit(request.url), urlsplit(self.stack.public_url)
        if asked.scheme in ("http", "https") and (asked.scheme, asked.netloc) != (own.scheme, own.netloc):
            self.complaints.append(f"asked {request.url}")

    def _answered(self, response: Response) -> None:
        if response.status == 200:
            self.bytes[urlsplit(response.url).path] = int(response.headers.get("content-length", "0"))

    def _complained(self, kind: str, text: str) -> None:
        # Chromium also reports each 4xx answer here; those are what some tests are about.
        if kind == "error" and "Failed to load resource" not in text:
            self.complaints.append(text)


_LOADED = "performance.getEntriesByType('resource').map(each => each.name)"
