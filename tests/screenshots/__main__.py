"""`make screenshots`: every page in every state worth seeing, to be looked at with one's own eyes.

    python -m tests.screenshots [--scenes NAME …] [--only BEGINNING …] [--languages de-DE …]

Writes .local/screenshots/NAME-{desk,phone}-{light,dark}.png, and the same in German, where words are longest, to
.local/screenshots/de/. The stack, the clinics and their people are made for it and thrown away.
"""

import argparse
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from playwright.sync_api import expect

from tests.end_to_end.browsing import chromium
from tests.end_to_end.conftest import local_settings
from tests.end_to_end.stack import ROOT, LocalStack, local_stack
from tests.screenshots.administering import administering
from tests.screenshots.album import Album
from tests.screenshots.elsewhere import elsewhere, not_now
from tests.screenshots.my_info import my_info
from tests.screenshots.setting_up import setting_up
from tests.screenshots.signing_in import signing_in
from tests.screenshots.studio import Studio

FOLDER = ROOT / ".local" / "screenshots"
ENGLISH = "en-GB"
Scene = Callable[[Studio], None]
SCENES: dict[str, Scene] = {
    "signing-in": signing_in,
    "setting-up": setting_up,
    "my-info": my_info,
    "administering": administering,
    "elsewhere": elsewhere,
}


def play(stack: LocalStack, language: str, scenes: list[Scene], only: tuple[str, ...]) -> int:
    """The scenes in one language; how many pictures that made."""
    folder = FOLDER if language == ENGLISH else FOLDER / language[:2]
    folder.mkdir(parents=True, exist_ok=True)
    album = Album(folder, has_dark=language == ENGLISH, only=only)
    expect.set_options(timeout=20_000)
    with chromium() as browser:
        for scene in scenes:
            studio, began = Studio(stack, browser, album, language), time.monotonic()
            scene(studio)
            studio.close()
            print(f"  {language}: {scene.__name__}, {time.monotonic() - began:.0f} s", file=sys.stderr)
    return album.count


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.screenshots", description=__doc__.splitlines()[0])
    parser.add_argument("--only", nargs="+", default=[], help="beginnings of the pictures' names")
    parser.add_argument("--scenes", nargs="+", choices=SCENES, default=list(SCENES))
    parser.add_argument("--languages", nargs="+", default=[ENGLISH, "de-DE"], help="as a browser names them")
    chosen = parser.parse_args()
    began = time.monotonic()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    if not chosen.only and chosen.scenes == list(SCENES):
        shutil.rmtree(FOLDER, ignore_errors=True)
    scenes, only = [SCENES[name] for name in chosen.scenes], tuple(chosen.only)
    settings = {**local_settings(), "SUPPORT_CONTACT": "Call the help desk: 020 7946 0123"}
    with tempfile.TemporaryDirectory(prefix="countersign-screenshots-") as folder:
        print("Starting a stack of its own …", file=sys.stderr)
        with local_stack(Path(folder) / "state", **settings) as stack, ThreadPoolExecutor(2) as pool:
            count = sum(pool.map(lambda language: play(stack, language, scenes, only), chosen.languages))
            if "elsewhere" in chosen.scenes:
                count += play(stack, ENGLISH, [not_now], only)
            stack.close()
    print(f"{count} pictures in {FOLDER}, {time.monotonic() - began:.0f} s.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
