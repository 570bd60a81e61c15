"""What a mail server can answer, or not answer, and what that makes certain. Real servers, real sockets."""

import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from deploy.embedded import free_port
from services.notifier import smtp_mail
from services.notifier.model import DeliveryId, Mail, Verdict
from tests.notifier.mail_server import PASSWORD, USER, BrokenServer, MailServer, mailer, make_certificate

AT = datetime(2026, 11, 22, 8, 12, tzinfo=UTC)
ID = DeliveryId("dlv_" + "5a" * 16)


def a_mail(
    to: str = "mina@harbour.example", subject: str = "Countersign: Hé", body: str = "Größe.\n.\n..\nEnd\n"
) -> Mail:
    return Mail(ID, to, subject, body, AT)


@pytest.fixture(scope="module")
def one_server() -> Iterator[MailServer]:
    server = MailServer().start()
    yield server
    server.stop()


@pytest.fixture
def server(one_server: MailServer) -> MailServer:
    one_server.inbox.clear()
    one_server.envelopes.clear()
    one_server.answers.clear()
    return one_server


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_certificate(tmp_path_factory.mktemp("mail") / "mail.pem")


@pytest.fixture
def trusted(certificate: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    return certificate


def test_a_mail_arrives_whole_with_the_headers_of_a_machine_s_message(server: MailServer) -> None:
    outcome = mailer(server.port).send(a_mail())
    assert (outcome.verdict, outcome.reason, outcome.code) == (Verdict.ACCEPTED, "", None)
    [message], [envelope] = server.inbox, server.envelopes
    assert (envelope.mail_from, envelope.rcpt_tos) == ("no-reply@sign-in.example", ["mina@harbour.example"])
    assert {name.lower() for name in message} == {
        *("from", "to", "subject", "date", "message-id", "auto-submitted"),
        *("mime-version", "content-type", "content-transfer-encoding", "x-peer", "x-mailfrom", "x-rcptto"),
    } - {"x-peer", "x-mailfrom", "x-rcptto"}
    assert message["From"] == "Countersign <no-reply@sign-in.example>"
    assert message["To"] == "mina@harbour.example"
    assert message["Subject"] == "Countersign: Hé"
    assert message["Message-ID"] == f"<{ID}@sign-in.example>"
    assert message["Auto-Submitted"] == "auto-generated"
    assert message["Date"] == "Sun, 22 Nov 2026 08:12:00 +0000"
    assert message.get_content_type() == "text/plain"
    assert message.get_content().replace("\r\n", "\n") == "Größe.\n.\n..\nEnd\n"


def test_the_same_delivery_has_the_same_message_id_at_every_attempt(server: MailServer) -> None:
    server.answers["DATA"] = ["451 later"]
    for _ in range(2):
        mailer(server.port).send(a_mail())
        assert mailer(server.port).send(a_mail()).verdict is Verdict.ACCEPTED
    assert len({message["Message-ID"] for message in server.inbox}) == 1


# The server does not know TLS from the first byte for TLS.
@pytest.mark.filterwarnings("ignore:Requiring AUTH while not requiring TLS")
@pytest.mark.parametrize("security", ["starttls", "tls"])
def test_with_encryption_the_account_signs_in_only_after_it(trusted: Path, security: str) -> None:
    server = MailServer(trusted, implicit_tls=security == "tls", account=True).start()
    try:
        assert mailer(server.port, security, user=USER, password=PASSWORD).send(a_mail()).verdict is Verdict.ACCEPTED
        assert server.encrypted == [True]
        assert server.signed_in_as == [USER]
        wrong = mailer(server.port, security, user=USER, password="wrong").send(a_mail())
        assert (wrong.verdict, wrong.reason, wrong.code) == (Verdict.LOCKED_OUT, "locked_out", 535)
        nobody = mailer(server.port, security).send(a_mail())
        assert (nobody.verdict, nobody.code) == (Verdict.LOCKED_OUT, 530)
        assert len(server.inbox) == 1
    finally:
        server.stop()


def test_a_server_without_encryption_is_told_nothing(server: MailServer) -> None:
    outcome = mailer(server.port, "starttls", user=USER, password=PASSWORD).send(a_mail())
    assert (outcome.verdict, outcome.reason) == (Verdict.NOT_SENT, "no_encryption")
    plain = mailer(server.port, "tls").send(a_mail())
    assert (plain.verdict, plain.reason) == (Verdict.NOT_SENT, "no_encryption")
    assert server.inbox == []


@pytest.mark.parametrize("security", ["starttls", "tls"])
@pytest.mark.parametrize("stranger", ["of another name", "not vouched for"])
def test_a_server_that_cannot_prove_who_it_is_is_told_nothing(
    certificate: Path, monkeypatch: pytest.MonkeyPatch, security: str, stranger: str
) -> None:
    if stranger == "of another name":
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    server = MailServer(certificate, implicit_tls=security == "tls").start()
    try:
        host = "127.0.0.1" if stranger == "of another name" else "localhost"
        outcome = mailer(server.port, security, host).send(a_mail())
        assert (outcome.verdict, outcome.reason) == (Verdict.NOT_SENT, "no_encryption")
        assert server.inbox == []
    finally:
        server.stop()


@pytest.mark.parametrize(
    ("step", "answer", "verdict", "reason"),
    [
        ("MAIL", "451 busy", Verdict.BUSY, "mail_server_busy"),
        ("MAIL", "550 not you", Verdict.REFUSED, "mail_server_refused"),
        ("MAIL", "530 who are you", Verdict.LOCKED_OUT, "locked_out"),
        ("RCPT", "450 later", Verdict.BUSY, "mail_server_busy"),
        ("RCPT", "550 no such user", Verdict.REFUSED, "bad_address"),
        ("DATA", "421 closing", Verdict.BUSY, "mail_server_busy"),
        ("DATA", "452 full", Verdict.BUSY, "mail_server_busy"),
        ("DATA", "554 spam", Verdict.REFUSED, "mail_server_refused"),
    ],
)
def test_an_answer_is_believed(server: MailServer, step: str, answer: str, verdict: Verdict, reason: str) -> None:
    server.answers[step] = [answer]
    outcome = mailer(server.port).send(a_mail())
    assert (outcome.verdict, outcome.reason, outcome.code) == (verdict, reason, int(answer[:3]))
    assert server.inbox == []
    assert mailer(server.port).send(a_mail()).verdict is Verdict.ACCEPTED


@pytest.mark.parametrize("says", ["drop", "hang", "nonsense"])
@pytest.mark.parametrize("step", BrokenServer.STEPS)
def test_silence_before_the_message_is_handed_over_sent_nothing_and_after_it_is_not_known(step: str, says: str) -> None:
    server = BrokenServer(**{step: says})
    try:
        outcome = mailer(server.port, timeout_seconds=1.0 if says == "hang" else 5.0).send(a_mail())
        assert outcome.verdict is (Verdict.UNKNOWN if step == "message" else Verdict.NOT_SENT), outcome
        assert (b"End" in server.taken) == (step == "message")
        assert server.calls == 1
    finally:
        server.stop()


@pytest.mark.parametrize("step", ["greeting", "message"])
@pytest.mark.parametrize(("says", "verdict"), [("421 go away", Verdict.BUSY), ("554 no service", Verdict.REFUSED)])
def test_an_answer_at_the_door_counts_too(step: str, says: str, verdict: Verdict) -> None:
    server = BrokenServer(**{step: says})
    try:
        assert mailer(server.port).send(a_mail()).verdict is verdict
    finally:
        server.stop()


def test_who_never_falls_silent_but_never_comes_to_the_point_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each line comes in time; all of them together would hold a thread for as long as the server likes."""
    monkeypatch.setattr(smtp_mail, "_WHOLE_CALL_SECONDS", 1.0)
    for step, verdict in (("EHLO", Verdict.NOT_SENT), ("message", Verdict.UNKNOWN)):
        server = BrokenServer(**{step: "drip"})
        try:
            started = time.monotonic()
            assert mailer(server.port).send(a_mail()).verdict is verdict
            assert time.monotonic() - started < 8
        finally:
            server.stop()
    assert not [thread for thread in threading.enumerate() if isinstance(thread, threading.Timer) and not thread.daemon]


def test_nobody_there_is_not_sent() -> None:
    for host, port in (("localhost", free_port()), ("no-such-host.invalid", 25)):
        outcome = mailer(port, host=host).send(a_mail())
        assert (outcome.verdict, outcome.reason) == (Verdict.NOT_SENT, "not_reached")


@pytest.mark.parametrize(
    ("to", "subject", "sender_name"),
    [
        ("mina@harbour.example\r\nBcc: eve@evil.example", "x", "x"),
        ("mina@harbour.example>\r\nRCPT TO:<eve@evil.example", "x", "x"),
        ("mina@harbour.example, eve@evil.example", "x", "x"),
        ("mina@harbour.example", "x\r\nBcc: eve@evil.example", "x"),
        ("mina@harbour.example", "x", "x\r\nBcc: eve@evil.example"),
    ],
)
def test_nothing_that_is_given_becomes_a_header_or_a_recipient(
    server: MailServer, to: str, subject: str, sender_name: str
) -> None:
    outcome = mailer(server.port, sender_name=sender_name).send(a_mail(to, subject))
    assert outcome.verdict in (Verdict.REFUSED, Verdict.NOT_SENT)
    assert server.inbox == []


def test_a_body_stays_a_body(server: MailServer) -> None:
    body = "Line\r\n.\r\nMAIL FROM:<eve@evil.example>\r\n\r\nBcc: eve@evil.example\n"
    assert mailer(server.port).send(a_mail(body=body)).verdict is Verdict.ACCEPTED
    assert len(server.inbox) == 1
    assert server.inbox[0].get_content().splitlines() == body.splitlines()
    assert server.envelopes[0].rcpt_tos == ["mina@harbour.example"]


@pytest.mark.parametrize("to", ["mina.o'neil+tag@sub.harbour.example", "a..b@x.example", "{x}%y!z=#@x-y.example"])
def test_odd_but_plain_addresses_are_written_to(server: MailServer, to: str) -> None:
    assert mailer(server.port).send(a_mail(to)).verdict is Verdict.ACCEPTED
    assert server.envelopes[0].rcpt_tos == [to]


def test_a_mail_shows_neither_address_nor_words() -> None:
    assert repr(a_mail()) == "Mail(…)"
