"""One stack for the whole run, and clinics on it. A test that changes its clinic's rules takes `clinic`, which is its
own; one that only needs people makes them in `shared`, a clinic without any rule.

Invariant: tests share no person, so that none spends another's codes, guesses or sessions.
"""

import contextlib
import os
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect

from tests.end_to_end.browsing import Surfer, chromium
from tests.end_to_end.clinics import Clinic, ClinicMaker
from tests.end_to_end.manners import Manner
from tests.end_to_end.stack import ComposeStack, LocalStack, Stack, local_stack
from tests.end_to_end.traces import Collector, collecting

COMPOSE = os.environ.get("STACK") == "compose"
_HERE = Path(__file__).parent


def pytest_configure(config: pytest.Config) -> None:
    # What is expected of a page is looked at until it is so; on a machine with much else to do that may take a while.
    expect.set_options(timeout=15_000)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """On Compose, leaves out what only the local stack can show; deselected, because a skip would hide it."""
    if not COMPOSE:
        return
    left_out = [item for item in items if _HERE in item.path.parents and item.get_closest_marker("local_only")]
    reasons = {marker.args[0] for item in left_out if (marker := item.get_closest_marker("local_only"))}
    config.stash[_LEFT_OUT] = sorted(reasons)
    config.hook.pytest_deselected(items=left_out)
    items[:] = [item for item in items if item not in left_out]


_LEFT_OUT = pytest.StashKey[list[str]]()


def pytest_report_collectionfinish(config: pytest.Config) -> list[str]:
    return [f"local stack only: {reason}" for reason in config.stash.get(_LEFT_OUT, [])]


@pytest.fixture(scope="session")
def collector() -> Iterator[Collector]:
    """Takes the traces of the local stack that this run starts."""
    with collecting() as found:
        yield found


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory, collector: Collector) -> Iterator[Stack]:
    """The stack under test. The local one trusts this machine as a proxy, so that tests can come from many addresses,
    answers one foreign origin, sends its traces, and lives under a path, so that every test is one of `PUBLIC_URL` with
    a path too."""
    with contextlib.ExitStack() as stays:
        found: Stack
        if COMPOSE:
            found = ComposeStack()
            found.ready(60)
        elif named := os.environ.get("COUNTERSIGN_STACK"):
            found = LocalStack(Path(named).resolve(), os.environ)
        else:
            state = tmp_path_factory.mktemp("stack") / "state"
            found = stays.enter_context(local_stack(state, **local_settings(), OTLP_ENDPOINT=collector.url))
        yield found
        found.close()


def local_settings() -> dict[str, str]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    return {
        "PORT": port,
        "PUBLIC_URL": f"http://127.0.0.1:{port}/auth",
        "ALLOWED_ORIGINS": "https://app.harbour.example",
        "TRUSTED_PROXIES": "127.0.0.1",
    }


@pytest.fixture(scope="session")
def local(stack: Stack) -> LocalStack:
    """The local stack, for tests that reach for its processes and files (marked `local_only`)."""
    assert isinstance(stack, LocalStack)
    return stack


@pytest.fixture(scope="session")
def clinics(stack: Stack) -> Iterator[ClinicMaker]:
    maker = ClinicMaker(stack)
    yield maker
    maker.close()


@pytest.fixture
def clinic(clinics: ClinicMaker) -> Clinic:
    """A clinic of this test's own."""
    return clinics.take()


@pytest.fixture(scope="session")
def shared(clinics: ClinicMaker) -> Clinic:
    """A clinic without any rule, which nobody changes; each test makes its own people in it."""
    return clinics.take()


OpenBrowser = Callable[[], Surfer]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as opened:
        yield opened


@pytest.fixture
def surfers(browser: Browser, clinic: Clinic, manner: Manner) -> Iterator[OpenBrowser]:
    """Opens a browser of its own for each person, all used in the same manner."""
    opened: list[Surfer] = []

    def open_one() -> Surfer:
        opened.append(Surfer(browser, clinic.stack, **manner.options))
        return opened[-1]

    yield open_one
    for each in opened:
        each.close()


@pytest.fixture
def surfer(surfers: OpenBrowser) -> Surfer:
    return surfers()
