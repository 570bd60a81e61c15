"""Notices by e-mail through the processes as they run, to a real mail server; and codes, which never go by e-mail."""

import asyncio
import secrets
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psycopg
import pytest
from countersign.notifier.v1 import notifier_pb2 as pb

from deploy.embedded import free_port
from services.notifier import notice_texts
from services.notifier.model import Channel, DailyCaps, DeliveryId, Happening, Kind, NewDelivery, NoticeKind, State
from services.notifier.settings import FrontSettings, RelaySettings, WorkerSettings
from tests.notifier.conftest import Client, MakeNotifier, Notifier, Standin, eventually
from tests.notifier.house import House
from tests.notifier.mail_server import MailServer, mailer
from tests.notifier.test_notice_texts import LINK
from tests.notifier.test_rules import BASE

AT = datetime(2026, 11, 22, 8, 12, tzinfo=UTC)
TO = "mina@harbour.example"


@pytest.fixture(scope="module")
def server() -> Iterator[MailServer]:
    server = MailServer().start()
    yield server
    server.stop()


@pytest.fixture(scope="module")
def mailing(make_lasting_notifier: MakeNotifier, server: MailServer) -> Iterator[Notifier]:
    notifier = make_lasting_notifier(
        smtp_host="localhost", smtp_port=str(server.port), smtp_security="none", smtp_from="x@y.example"
    )
    notifier.run().close()
    yield notifier
    notifier.stop()


@pytest.fixture
def identity(mailing: Notifier) -> Iterator[Client]:
    client = mailing.client("identity")
    yield client
    client.close()


def test_r23_a_notice_goes_by_every_channel_that_is_given(
    mailing: Notifier, identity: Client, server: MailServer, standin: Standin, number: str
) -> None:
    key = f"ntc_{secrets.token_hex(16)}"
    given = {"phone": number, "email": TO, "request_key": key, "locale": "es", "happened_at": AT}
    taken = [identity.notify(pb.NOTICE_KIND_FACTOR_CHANGED, method="totp", **given) for _ in range(3)]
    assert len({tuple(each.delivery_id for each in deliveries) for deliveries in taken}) == 1
    rows = [mailing.row(each.delivery_id) for each in taken[0]]
    assert [(row["channel"], row["request_key"], row["to_hint"]) for row in rows] == [
        ("sms", f"{key}:sms", f"+44 ••••{number[-2:]}"),
        ("email", f"{key}:email", "m…@harbour.example"),
    ]
    by_mail = taken[0][1].delivery_id
    assert eventually(lambda: mailing.row(by_mail)["state"] == "sent")
    [message] = [each for each in server.inbox if by_mail in each["Message-ID"]]
    assert message["Subject"] == "Countersign: El segundo paso de su inicio de sesión"
    assert message.get_content().split("\r\n\r\n")[:2] == [
        "Se sustituyó su aplicación de autenticación el 22 de noviembre a las 09:12.",
        "Si no fue usted, avise enseguida a su administrador.",
    ]
    assert eventually(lambda: standin.inbox(number))
    assert mailing.row(by_mail)["sealed"] is None
    assert (mailing.row(by_mail)["provider"], len(server.inbox)) == ("smtp", 1)
    assert TO not in mailing.said()
    assert TO not in str(mailing.rows("SELECT * FROM delivery")) + str(mailing.rows("SELECT * FROM audit_event"))


def test_the_mail_server_s_answers_move_the_row(mailing: Notifier, identity: Client, server: MailServer) -> None:
    server.answers["RCPT"] = ["450 later", "550 no such user"]
    [taken] = identity.notify(pb.NOTICE_KIND_PASSWORD_RESET, email="gone@harbour.example")
    assert eventually(lambda: mailing.row(taken.delivery_id)["state"] == "failed")
    row = mailing.row(taken.delivery_id)
    assert (row["reason"], row["provider_code"], row["attempt"], row["sealed"]) == ("bad_address", 550, 2, None)
    told = mailing.rows(
        "SELECT kind, detail FROM audit_event WHERE detail->>'delivery_id' = %s ORDER BY seq", taken.delivery_id
    )
    assert [event["kind"].removeprefix("delivery.") for event in told] == [
        *("queued", "sending", "queued", "sending", "failed")
    ]
    assert {event["detail"]["channel"] for event in told} == {"email"}


def test_what_a_deployment_can_send_is_said(identity: Client) -> None:
    assert identity.capabilities() == pb.Capabilities(sms=True, email=True)


async def test_while_no_mail_server_listens_a_notice_waits_and_keeps_what_it_tells(
    house: House, server: MailServer
) -> None:
    before = len(server.inbox)
    house.can_mail = True
    [taken] = await house.notify("", TO, seconds=3600)
    dispatch = house.dispatch()
    for the_mailer in (None, mailer(free_port())):
        dispatch._mailer = the_mailer
        await dispatch.send(taken.id)
        assert await house.state(taken) is State.QUEUED
        house.clock.advance(timedelta(seconds=5))
    dispatch._mailer = mailer(server.port)
    await dispatch.send(taken.id)
    assert await house.state(taken) is State.SENT
    assert [message["Message-ID"] for message in server.inbox[before:]] == [f"<{taken.id}@sign-in.example>"]


async def test_a56_each_notice_by_mail_holds_no_link_and_no_gap() -> None:
    for kind in NoticeKind:
        for language in notice_texts.languages():
            for method in ("totp", "sms", ""):
                happening = Happening(AT, "Europe/Berlin", "203.0.113.7", "Firefox on Windows", method, 3)
                subject, body = notice_texts.mail(kind, language, happening, "Harbour Sign In")
                assert subject.startswith("Harbour Sign In: ")
                assert len(subject) <= 78  # a line of a header
                for text in (subject, body):
                    assert not LINK.search(text)
                    assert not set(text) & set("{}<>")
                assert ("09:12" in body) == (kind is not NoticeKind.BACKUP_CODES_LOW)
                assert "Harbour Sign In" in body.split("\n\n")[-1]


def test_a_code_cannot_be_ordered_by_mail() -> None:
    assert {field.name for field in pb.SubmitRequest.DESCRIPTOR.fields} == {
        *("request_key", "kind", "to", "code", "not_after", "clinic_id", "user_id", "locale"),
        *("clinic_daily_cap", "countries", "replaces"),
    }
    assert not {field.name for field in pb.NotifyRequest.DESCRIPTOR.fields} & {"code", "codes", "url", "link"}


@pytest.mark.parametrize("kind", list(Kind))
async def test_a_code_never_goes_by_mail(house: House, server: MailServer, number: str, kind: Kind) -> None:
    """Not by an address in place of a number, and not by a row that somebody made or changed."""
    before = len(server.inbox)
    with pytest.raises(Exception, match="cannot be sent to this number"):
        await house.submit(TO)
    taken = await house.submit(number)
    assert taken.channel is Channel.SMS
    delivery_id, until = DeliveryId("dlv_" + secrets.token_hex(16)), taken.not_after
    new = NewDelivery(delivery_id, "key", kind, Channel.EMAIL, 0, "", b"", until, "c", "u", "en")
    with pytest.raises(psycopg.errors.CheckViolation):
        await house.store.insert([new], house.clock.now(), DailyCaps(1, 1))
    async with house.store._database.connection() as connection:
        with pytest.raises(psycopg.errors.CheckViolation):
            await connection.execute("UPDATE delivery SET channel = 'email' WHERE id = %s", [taken.id])
        # Even where the row is made out to be a notice: what is sealed in it is a code.
        await connection.execute(
            "UPDATE delivery SET channel = 'email', is_notice = true, kind = 'password_reset' WHERE id = %s", [taken.id]
        )
    dispatch = house.dispatch()
    dispatch._mailer = mailer(server.port)
    with pytest.raises(AssertionError):
        await dispatch.send(taken.id)
    assert len(server.inbox) == before


async def test_of_fifty_claims_of_a_mail_one_succeeds(house: House, server: MailServer) -> None:
    before = len(server.inbox)
    house.can_mail = True
    [taken] = await house.notify("", TO)
    dispatch = house.dispatch()
    dispatch._mailer = mailer(server.port)
    await asyncio.gather(*(dispatch.send(taken.id) for _ in range(50)))
    assert len(server.inbox) == before + 1
    assert await house.state(taken) is State.SENT


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    for name, value in BASE.items():
        monkeypatch.setenv(name, value)
    return monkeypatch


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        ({"SMTP_HOST": "mail.example"}, "smtp_from"),
        ({"SMTP_FROM": "a@b.example"}, "smtp_host"),
        ({"SMTP_HOST": "mail.example", "SMTP_FROM": "A <a@b.example>"}, "plain e-mail address"),
        ({"SMTP_HOST": "mail.example", "SMTP_FROM": "a@b.example", "SMTP_USER": "a"}, "go together"),
        ({"SMTP_HOST": "mail.example", "SMTP_FROM": "a@b.example", "SMTP_SECURITY": "none"}, "SMTP|smtp"),
        ({"SMTP_HOST": "10.0.0.1", "SMTP_FROM": "a@b.example", "SMTP_SECURITY": "none"}, "anyone to read"),
        ({"SMTP_HOST": "mail.example", "SMTP_FROM": "a@b.example", "SMTP_SECURITY": "ssl"}, "SMTP_SECURITY"),
    ],
)
def test_half_a_mail_server_stops_the_start(
    environment: pytest.MonkeyPatch, given: dict[str, str], problem: str
) -> None:
    for name, value in given.items():
        environment.setenv(f"NOTIFIER_{name}", value)
    for settings in (FrontSettings, WorkerSettings, RelaySettings):
        with pytest.raises(SystemExit, match=problem):
            settings.load()


@pytest.mark.parametrize(
    ("given", "port"),
    [
        ({}, 587),
        ({"SMTP_SECURITY": "tls"}, 465),
        ({"SMTP_SECURITY": "tls", "SMTP_PORT": "2525"}, 2525),
        ({"SMTP_SECURITY": "none", "SMTP_HOST": "localhost"}, 25),
        ({"SMTP_SECURITY": "none", "SMTP_HOST": "::1"}, 25),
        ({"SMTP_SECURITY": "none", "SMTP_ALLOW_UNENCRYPTED": "true"}, 25),
    ],
)
def test_a_mail_server_has_the_port_of_its_encryption(
    environment: pytest.MonkeyPatch, tmp_path: Path, given: dict[str, str], port: int
) -> None:
    for name, value in {"SMTP_HOST": "mail.example", "SMTP_FROM": "a@b.example", **given}.items():
        environment.setenv(f"NOTIFIER_{name}", value)
    assert WorkerSettings.load().mail_port == port
