"""A real browser in front of the stack, watched: whatever a page asks of another origin, says in the console or breaks
of its own policy fails the test. It is used with a mouse or with the keyboard alone. And what a page is checked for on
the way: axe's rules in light and dark, its width and its weight.

Invariant: with the keyboard alone nothing is reached but by the Tab key, and what has the focus shows it.
"""

import json
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

from playwright.sync_api import Browser, BrowserContext, Locator, Page, Request, Response, sync_playwright

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

    def __init__(self, browser: Browser, stack: Stack, *, has_mouse: bool = True, **options: Any) -> None:
        self.stack = stack
        self.origins = {_origin(stack.public_url)}
        self.has_mouse = has_mouse
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
        self.fill("#email", person.email)
        self.fill("#password", person.password)
        self.press("main form button")
        return page

    def give(self, code: str) -> None:
        """Types a code; where scripts run it goes off by itself, unless it mends a wrong one."""
        is_mending = self.page.locator("#code").input_value() != ""
        self.fill("#code", code)
        if is_mending or not self.has_scripts:
            self.press("form:has(#code) button")

    # What a hand does, each at the first element that fits: a selector, which is the same in every language.

    def fill(self, where: str, text: str) -> None:
        """Types into a field, over what is there. Dates and times as their field's value is written."""
        field = self._found(where)
        if self.has_mouse or field.get_attribute("type") in ("date", "time", "datetime-local"):
            field.fill(text)
            return
        self._reach(field)
        self.page.keyboard.press("Control+A")
        self.page.keyboard.insert_text(text)

    def press(self, where: str) -> None:
        """A button, a link, or the line that unfolds something."""
        target = self._found(where)
        if self.has_mouse:
            target.click()
            return
        self._reach(target)
        self.page.keyboard.press("Enter")

    def tick(self, where: str, on: bool = True) -> None:
        """A tick box; one that stands so already is left alone."""
        box = self._found(where)
        if box.is_checked() == on:
            return
        if self.has_mouse:
            box.set_checked(on)
            return
        self._reach(box)
        self.page.keyboard.press("Space")
        assert box.is_checked() == on

    def choose(self, where: str, value: str) -> None:
        """One entry of a drop-down."""
        menu = self._found(where)
        if self.has_mouse:
            menu.select_option(value)
            return
        self._reach(menu)
        self.page.keyboard.press("Home")
        for _ in range(menu.locator("option").count()):
            if menu.input_value() == value:
                return
            self.page.keyboard.press("ArrowDown")
        assert menu.input_value() == value

    def _found(self, where: str) -> Locator:
        found = self.page.locator(where).first
        found.wait_for()
        return found

    def _reach(self, target: Locator) -> None:
        """By the Tab key, once around the page at most; whoever watches must see where it has got to."""
        for _ in range(target.evaluate(_WAY, _STOPS)):  # as many times as it should take
            self.page.keyboard.press("Tab")
        for _ in range(2 + self.page.locator(_STOPS).count()):
            if target.evaluate("element => element === document.activeElement"):
                assert target.evaluate(_SHOWS_FOCUS), f"nothing shows the focus on {target}"
                return
            self.page.keyboard.press("Tab")
        raise AssertionError(f"the Tab key does not lead to {target} on {self.page.url}")

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
        if request.url.startswith("http") and _origin(request.url) not in self.origins:
            self.complaints.append(f"asked {request.url}")

    def _answered(self, response: Response) -> None:
        if response.status == 200:
            self.bytes[urlsplit(response.url).path] = int(response.headers.get("content-length", "0"))

    def _complained(self, kind: str, text: str) -> None:
        # Chromium also reports each 4xx answer here; those are what some tests are about.
        if kind == "error" and "Failed to load resource" not in text:
            self.complaints.append(text)


def _origin(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}"


_LOADED = "performance.getEntriesByType('resource').map(each => each.name)"
_STOPS = "a, button, input, select, textarea, summary, [tabindex]"
_WAY = """(element, selector) => {
  const stops = [...document.querySelectorAll(selector)].filter((each) => each.tabIndex >= 0 && !each.disabled);
  const there = stops.indexOf(element), here = stops.indexOf(document.activeElement);
  return Math.max(0, there - here - 2);
}"""
_SHOWS_FOCUS = """element => {
  const style = getComputedStyle(element);
  return element.matches(":focus-visible") && (parseFloat(style.outlineWidth) >= 2 && style.outlineStyle !== "none");
}"""
