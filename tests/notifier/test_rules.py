"""The rules without a store: numbers, lengths, texts, settings."""

import re
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.notifier import sms, texts
from services.notifier.model import Kind, State, Text, is_delivery_id
from services.notifier.settings import FrontSettings, RelaySettings, WorkerSettings
from services.notifier.twilio_sms import _retry_after


@pytest.mark.parametrize("locale", ["en", "de", "fr", "es", "nl", "de-AT", "fr_CA", "NL", "pt", "", "x" * 100])
@pytest.mark.parametrize("kind", list(Kind))
def test_a56_each_text_begins_with_the_code_fits_one_message_and_holds_no_link(kind: Kind, locale: str) -> None:
    for product in ("Countersign", "P" * 30, "{" * 30):
        body = texts.render(kind, locale, "135790", product)
        assert body.startswith("135790 ")
        assert product in body
        assert sms.segments(body) == 1
        assert len(body) <= 160
        assert not re.search(r"https?:|www\.|\w\.\w|@", body)


def test_each_language_has_texts_of_its_own() -> None:
    for kind in Kind:
        assert len({texts.render(kind, language, "135790", "X") for language in texts.languages()}) == 5


@given(st.from_regex(re.compile(r"[^\s].{0,29}"), fullmatch=True), st.sampled_from(list(Kind)))
def test_a_text_is_one_message_whatever_the_product_is_called(product: str, kind: Kind) -> None:
    for language in texts.languages():
        body = texts.render(kind, language, "135790", product)
        assert body.startswith("135790 ")
        assert sms.segments(body) == 1


@pytest.mark.parametrize(
    ("product", "text"),
    [
        ("Clínica", "135790 is your Clínica code to sign in. Never tell it to anyone."),  # 65 letters, of any alphabet
        ("Clínica São João", "135790 is your Clinica Sao Joao code to sign in. Never tell it to anyone."),
        ("★ Harbour Clinic ★", "135790 is your Harbour Clinic code to sign in. Never tell it to anyone."),
        ("Клиника за морем", "135790 Клиника за морем"),
    ],
)
def test_a_name_that_would_make_it_two_messages_goes_without_accents_or_with_the_code_alone(
    product: str, text: str
) -> None:
    assert texts.render(Kind.SIGN_IN_CODE, "en", "135790", product) == text


@given(st.text(max_size=400))
def test_a_message_is_never_paid_for_as_fewer_than_its_letters_need(body: str) -> None:
    assert -(-len(body) // 160) <= sms.segments(body) <= max(1, -(-len(body) * 2 // 66))


GSM = (
    "@£$¥èéùìòÇ\nØø\rÅåΔ_ΦΓΛΩΠΨΣΘΞÆæßÉ !\"#¤%&'()*+,-./0123456789:;<=>?¡ABCDEFGHIJKLMNOPQRSTUVWXYZÄÖÑÜ§¿"
    "abcdefghijklmnopqrstuvwxyzäöñüà"
)


@pytest.mark.parametrize(
    ("body", "segments"),
    [
        ("", 1), ("a" * 160, 1), ("a" * 161, 2), ("a" * 306, 2), ("a" * 307, 3), ("a" * 459, 3), ("a" * 460, 4),
        (GSM, 1), (GSM + "a" * 33, 1), (GSM + "a" * 34, 2),  # 127 letters, as in table 6.2.1 of 3GPP TS 23.038
        ("€" * 80, 1), ("€" * 81, 2), ("\f^{}\\[~]|€" * 8, 1), ("\f^{}\\[~]|€" * 8 + "a", 2),
        ("a" * 152 + "€" + "a" * 152, 3),  # 306 places, but none may tear the pair apart
        ("ç" * 70, 1), ("ç" * 71, 2), ("ç" * 134, 2), ("ç" * 135, 3), ("a" * 70 + "ç", 2), ("a" * 69 + "ç", 1),
        ("í" + "a" * 133, 2), ("á" + "a" * 159, 3), ("\t", 1), ("`" + "a" * 70, 2),
        ("🙂" * 35, 1), ("🙂" * 36, 2), ("🙂" * 66, 2), ("🙂" * 67, 3),  # 33 to a part, not 33 and a half
    ],
)  # fmt: skip
def test_as_how_many_messages_a_text_is_paid_for(body: str, segments: int) -> None:
    assert sms.segments(body) == segments


@given(st.text(max_size=40))
def test_a_number_is_e164_in_ascii_or_nothing(number: str) -> None:
    if sms.is_textable(number):
        assert re.fullmatch(r"\+[1-9][0-9]{6,14}", number, re.ASCII)


@given(st.text(max_size=60))
def test_a_delivery_id_is_of_its_one_form(candidate: str) -> None:
    assert is_delivery_id(candidate) == bool(re.fullmatch(r"dlv_[0-9a-f]{32}", candidate))
    assert not is_delivery_id([candidate])


@pytest.mark.parametrize("value", ["12", "0", "-5", "nan", "inf", "", None, "soon", "Fri, 20 Nov 2026 12:00:00 GMT"])
def test_retry_after_is_never_negative_nor_endless(value: str | None) -> None:
    seconds = _retry_after(value)
    assert seconds is None or 0 <= seconds < 1e9


def test_every_end_but_a_good_one_is_told_in_words() -> None:
    assert not texts.detail(State.DELIVERED, None)
    assert not texts.detail(State.QUEUED, None)
    for state in (State.FAILED, State.UNKNOWN, State.EXPIRED):
        assert texts.detail(state, None).endswith(".")
    assert "opted out" in texts.detail(State.FAILED, texts.reason_for(21610))


def test_a_text_shows_neither_number_nor_code() -> None:
    assert repr(Text("+447700900123", "135790 is", datetime(2026, 11, 20, 12, tzinfo=UTC), 300, None)) == "Text(…)"


BASE = {
    "NOTIFIER_DATABASE_URL": "dbname=notifier",
    "NOTIFIER_DATABASE_PASSWORD": "x",
    "NOTIFIER_SEALER_DATABASE_URL": "dbname=notifier user=notifier_sealer",
    "NOTIFIER_SEALER_DATABASE_PASSWORD": "x",
    "NOTIFIER_TLS_DIR": "tls",
    "NOTIFIER_KEYRING_FILE": "keyring.json",
    "NOTIFIER_BROKER_URL": "redis://broker",
    "NOTIFIER_BROKER_PASSWORD": "x",
}


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    for name, value in BASE.items():
        monkeypatch.setenv(name, value)
    return monkeypatch


def test_each_process_insists_on_what_it_uses_and_on_nothing_else(environment: pytest.MonkeyPatch) -> None:
    for name in ("NOTIFIER_TLS_DIR", "NOTIFIER_KEYRING_FILE"):
        environment.delenv(name)
    assert RelaySettings.load().broker_url == "redis://broker"
    with pytest.raises(SystemExit, match="NOTIFIER_KEYRING_FILE"):
        WorkerSettings.load()
    environment.setenv("NOTIFIER_KEYRING_FILE", "keyring.json")
    assert WorkerSettings.load().keyring_file == Path("keyring.json")
    with pytest.raises(SystemExit, match="NOTIFIER_TLS_DIR"):
        FrontSettings.load()


@pytest.mark.parametrize(
    ("given", "missing"),
    [
        ({"NOTIFIER_TWILIO_ACCOUNT_SID": "AC1"}, "twilio_auth_token"),
        ({"NOTIFIER_TWILIO_ACCOUNT_SID": "AC1", "NOTIFIER_TWILIO_AUTH_TOKEN": "x"}, "one sender"),
        ({"NOTIFIER_TWILIO_FROM": "+15005550006"}, "twilio_account_sid"),
        ({"NOTIFIER_STANDIN_URL": "http://standin"}, "standin_account_sid"),
    ],
)
def test_half_an_account_stops_the_start(environment: pytest.MonkeyPatch, given: dict[str, str], missing: str) -> None:
    for name, value in given.items():
        environment.setenv(name, value)
    with pytest.raises(SystemExit, match=missing):
        FrontSettings.load()


@pytest.mark.parametrize(
    ("given", "address"),
    [
        ({}, None),
        ({"PUBLIC_URL": "http://127.0.0.1:8080"}, None),
        ({"PUBLIC_URL": "https://clinic.example/auth"}, "https://clinic.example/auth/v1/webhooks/twilio/status"),
        (
            {"PUBLIC_URL": "http://127.0.0.1:8080", "CALLBACK_URL": "http://gateway:8080"},
            "http://gateway:8080/v1/webhooks/twilio/status",
        ),
    ],
)
def test_callbacks_are_asked_for_only_at_an_address_that_can_be_reached(
    environment: pytest.MonkeyPatch, given: dict[str, str], address: str | None
) -> None:
    for name, value in given.items():
        environment.setenv(f"NOTIFIER_{name}", value)
    assert FrontSettings.load().status_callback == address
