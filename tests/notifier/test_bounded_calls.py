"""Nothing leaves after its end, however slowly the provider is reached; and what may have left never counts as not
sent. Against sockets that behave as no provider should."""

import contextlib
import socket
import ssl
import struct
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta

import pytest

from services.common.clock import Clock, FixedClock, SystemClock
from services.notifier.model import LONGEST_START, Outcome, State, Text, Verdict
from tests.conftest import MakeCertificates
from tests.notifier.conftest import Standin, twilio_at
from tests.notifier.house import House

NOT_REACHED = Outcome(Verdict.NOT_SENT, "not_reached")
NO_ANSWER = Outcome(Verdict.UNKNOWN, "no_answer")


def a_text(number: str = "+447700900999", seconds: float = 300) -> Text:
    valid_seconds = int(seconds - LONGEST_START.total_seconds())
    return Text(number, "246810 is your code.", datetime.now(UTC) + timedelta(seconds=seconds), valid_seconds, None)


def send(url: str, seconds: float = 2, clock: Clock | None = None, text: Text | None = None) -> Outcome:
    return twilio_at(url, clock or SystemClock(), seconds).send(text or a_text())


class Port:
    """Listens, and treats one connection after the other as `talk` says; `heard` is what they said, once each ended."""

    def __init__(self, talk: Callable[[socket.socket, threading.Event], bytes]) -> None:
        self.heard: list[bytes] = []
        self.stopped = threading.Event()
        self._talk = talk
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._thread = threading.Thread(target=self._listen)
        self._thread.start()

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self._listener.getsockname()[1]}"

    def stop(self) -> None:
        self.stopped.set()
        # Closing alone would leave the thread in its accept.
        self._listener.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        self._listener.close()

    def _listen(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self._listener.accept()
                with connection:
                    connection.settimeout(60)
                    self.heard.append(self._talk(connection, self.stopped))


@contextlib.contextmanager
def port(talk: Callable[[socket.socket, threading.Event], bytes]) -> Iterator[Port]:
    opened = Port(talk)
    try:
        yield opened
    finally:
        opened.stop()


def all_of(connection: socket.socket) -> bytes:
    """What the other side says until it ends the connection, in whichever way."""
    heard = b""
    with contextlib.suppress(OSError):
        while more := connection.recv(65_536):
            heard += more
    return heard


def test_r21_a_port_that_takes_no_connection_in_time_was_not_reached(deaf_port: int) -> None:
    assert send(f"http://127.0.0.1:{deaf_port}", seconds=1) == NOT_REACHED


def test_r21_many_addresses_take_no_longer_than_one(deaf_port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    one = (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", deaf_port))
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: [one] * 100)
    started = time.monotonic()
    assert send(f"http://provider.example:{deaf_port}", seconds=1) == NOT_REACHED
    assert time.monotonic() - started < 30


def test_of_many_addresses_a_later_one_may_answer(
    deaf_port: int, standin: Standin, number: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    good = int(standin.url.rpartition(":")[2])
    found = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", each)) for each in (deaf_port, good)]
    with monkeypatch.context() as patched:
        patched.setattr(socket, "getaddrinfo", lambda *_, **__: found)
        outcome = send("http://provider.example", seconds=4, text=a_text(number))
    assert outcome.verdict is Verdict.ACCEPTED
    assert len(standin.calls(number)) == 1


def test_r21_an_encryption_that_is_not_there_in_time_counts_as_connecting() -> None:
    """The connection stands at once, the handshake never does: not a byte of the request has left."""
    with port(lambda connection, _: all_of(connection)) as silent:
        assert send(f"https://{silent.address}", seconds=1) == NOT_REACHED
    assert b"246810" not in silent.heard[0]


def test_r21_what_is_reached_but_by_then_too_late_does_not_leave(
    certificates: MakeCertificates, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The handshake ends well within every timeout; meanwhile the time is up."""
    folder = certificates("localhost")
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(folder / "ca.pem"))
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(folder / "cert.pem", folder / "key.pem")
    now = datetime.now(UTC)
    clock, passing = FixedClock(now), timedelta(0)

    def talk(connection: socket.socket, _: threading.Event) -> bytes:
        clock.advance(passing)
        with contextlib.suppress(OSError), context.wrap_socket(connection, server_side=True) as encrypted:
            return encrypted.recv(65_536)
        return b""

    with port(talk) as slow:
        text = Text("+447700900999", "246810 is your code.", now + timedelta(seconds=10), 6, None)
        url = f"https://localhost:{slow.address.rpartition(':')[2]}"
        passing = timedelta(seconds=4)
        assert send(url, 20, clock, text) == NO_ANSWER  # in time, to the moment: it leaves
        clock.set(now)
        passing = timedelta(seconds=4.001)
        assert send(url, 20, clock, text) == Outcome(Verdict.NOT_SENT, "too_late")
    in_time, too_late = slow.heard
    assert in_time.startswith(b"POST ")
    assert too_late == b""


def test_an_answer_that_never_ends_is_cut_off_and_not_known() -> None:
    def talk(connection: socket.socket, stopped: threading.Event) -> bytes:
        with contextlib.suppress(OSError):
            connection.sendall(b"HTTP/1.1 201 Created\r\nX-Slow: ")
            while not stopped.wait(0.1):
                connection.sendall(b".")
        return all_of(connection)

    with port(talk) as dribbling:
        assert send(f"http://{dribbling.address}", seconds=1).verdict is Verdict.UNKNOWN


def test_r21_an_answer_is_waited_for_no_longer_than_the_message_lives() -> None:
    """So that what the network still holds back at its end is given up, not sent after it."""
    with port(lambda connection, _: all_of(connection)) as silent:
        text = Text("+447700900999", "246810 is your code.", datetime.now(UTC) + timedelta(seconds=2), 1, None)
        started = time.monotonic()
        assert send(f"http://{silent.address}", seconds=60, text=text) == NO_ANSWER
        assert time.monotonic() - started < 30
    assert b"246810" in silent.heard[0]


def test_a_connection_that_breaks_once_the_request_may_have_left_is_not_known() -> None:
    def talk(connection: socket.socket, _: threading.Event) -> bytes:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # ends with a reset
        return connection.recv(1)

    with port(talk) as rude:
        assert send(f"http://{rude.address}", seconds=5) == NO_ANSWER


async def test_r21_a_provider_that_takes_connections_late_gets_each_message_once_and_in_its_life(
    house: House, standin: Standin, deaf_port: int, number: str
) -> None:
    delivery = await house.submit(number, seconds=13)
    reachable = house.provider
    house.provider = twilio_at(f"http://127.0.0.1:{deaf_port}", house.clock, seconds=1)
    await house.dispatch().send(delivery.id)
    assert await house.state(delivery) is State.QUEUED
    house.clock.advance(timedelta(seconds=2))
    house.provider = reachable
    await house.dispatch().send(delivery.id)
    assert await house.state(delivery) is State.SENT
    assert [call["form"]["ValidityPeriod"] for call in standin.calls(number)] == ["7"]
