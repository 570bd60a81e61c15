"""The pictures: each page at a desk and on a phone, in light and in dark, under a name that says what is on it; and the
four of the README, smaller, in a folder of their own (pictures/).

Invariant: the page is left as it was found, so that a scene goes on where it was.
"""

from pathlib import Path
from typing import Literal

from playwright.sync_api import Page

from tests.end_to_end.browsing import DESK, PHONE

_Scheme = Literal["light", "dark"]
_SCREENS = {"desk": DESK, "phone": PHONE}
_IN_README = {"code-app": (560, 532), "set-up-scan": (540, 690), "preview": (720, 574), "users": (720, 492)}
"""Width and height of the small pictures in pictures/."""


class Album:
    """One language's. `has_dark`: whether pictures are taken in dark, too; `only`: beginnings of names, or all."""

    def __init__(self, folder: Path, *, has_dark: bool, only: tuple[str, ...] = ()) -> None:
        self._folder = folder
        self._has_dark = has_dark
        self._only = only
        self.count = 0

    def shoot(self, page: Page, name: str, *, dark: bool = True) -> None:
        """`dark`: whether this page is worth looking at in dark."""
        if self._only and not name.startswith(self._only):
            return
        schemes: tuple[_Scheme, ...] = ("light", "dark") if dark and self._has_dark else ("light",)
        for screen, size in _SCREENS.items():
            page.set_viewport_size(size)  # type: ignore[arg-type]
            for scheme in schemes:
                page.emulate_media(color_scheme=scheme)
                self._take(page, f"{name}-{screen}-{scheme}", "device" if screen == "phone" else "css")
        if self._has_dark and name in _IN_README:
            width, height = _IN_README[name]
            page.set_viewport_size({"width": width, "height": height})
            page.emulate_media(color_scheme="light")
            page.screenshot(path=self._folder / "pictures" / f"{name}.png", animations="disabled", scale="css")
        page.set_viewport_size(DESK)  # type: ignore[arg-type]
        page.emulate_media(color_scheme="light")

    def print(self, page: Page, name: str) -> None:
        """As it comes out of a printer, about the size of a sheet."""
        if self._only and not name.startswith(self._only):
            return
        page.set_viewport_size({"width": 794, "height": 1123})
        page.emulate_media(media="print")
        self._take(page, f"{name}-desk-light", "css")
        page.emulate_media(media="screen")
        page.set_viewport_size(DESK)  # type: ignore[arg-type]

    def _take(self, page: Page, name: str, scale: Literal["css", "device"]) -> None:
        page.screenshot(path=self._folder / f"{name}.png", full_page=True, animations="disabled", scale=scale)
        self.count += 1
