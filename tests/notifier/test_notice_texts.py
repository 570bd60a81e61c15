"""What notices say: every kind in every language, how long at the most, and what no stranger can put into one (A56)."""

import dataclasses
import itertools
import re
import string
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.notifier import addresses, notice_texts, notice_times, sms
from services.notifier.model import Happening, NoticeKind, State
from services.notifier.notice_words import ADVISES, SAYS

AT = datetime(2026, 11, 22, 8, 12, tzinfo=UTC)
METHODS = ("totp", "sms", "", "carrier-pigeon")
ABOUT_A_FACTOR = ("factor_added", "factor_changed", "factor_removed", "bypass_enrolled")
# The longest that comes: September in Spanish, all of an IPv6 address, the longest name of a browser in use.
LONGEST = Happening(
    at=datetime(2026, 9, 22, 8, 12, tzinfo=UTC),
    timezone="Europe/Berlin",
    address="2001:db8:aaaa:bbbb:cccc:dddd:eeee:ffff",
    browser="Samsung Internet on Android",
    backup_codes_left=10,
)
LINK = re.compile(r"https?:|www|//|@|[a-z]\.[a-z]", re.IGNORECASE)


def said(kind: NoticeKind = NoticeKind.PASSWORD_CHANGED, locale: str = "en", product: str = "X", **more: object) -> str:
    happening = Happening(**{"at": AT, "timezone": "Europe/Berlin", **more})  # type: ignore[arg-type]
    return notice_texts.text_message(kind, locale, happening, product)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("language", notice_texts.languages())
@pytest.mark.parametrize("kind", list(NoticeKind))
def test_a56_each_notice_is_two_messages_at_most_and_holds_no_link_and_no_gap(
    kind: NoticeKind, language: str, method: str
) -> None:
    # The longest that may come says less of where from, rather than be a third message.
    longer = dataclasses.replace(LONGEST, timezone="Not/There", browser="Some Browser on a Very New Kind of Phone")
    for product, happening in (("Countersign", LONGEST), ("Harbour Clinic Group Sign In X", longer)):
        body = notice_texts.text_message(kind, language, dataclasses.replace(happening, method=method), product)
        assert sms.segments(body) <= 2
        assert len(body) <= 306
        assert body.startswith(f"{product}: ")
        assert body.endswith(".")
        assert not set(body) & set("{}[]<>")
        assert not LINK.search(body)
        assert "  " not in body
        if kind is not NoticeKind.BACKUP_CODES_LOW:
            assert re.search(r"10:12( Uhr)? \(" if happening is LONGEST else r"08:12( Uhr)? UTC", body)
            assert LONGEST.address in body
            assert happening.browser in body or happening is longer


def test_each_language_has_every_sentence_of_its_own() -> None:
    assert notice_texts.languages() == ["en", "de", "fr", "es", "nl"]
    kinds = {str(kind) for kind in NoticeKind}
    sentences = kinds | {f"{kind}:{method}" for kind, method in itertools.product(ABOUT_A_FACTOR, ("totp", "sms"))}
    for words in (SAYS, ADVISES):
        assert {frozenset(of_one) for of_one in words.values()} == {frozenset(words["en"])}
        for name in words["en"]:
            assert len({of_one[name] for of_one in words.values()}) == 5, name
    assert set(SAYS["en"]) == sentences
    assert set(ADVISES["en"]) - {""} <= kinds
    for of_one in SAYS.values():
        for name, sentence in of_one.items():
            placeholders = [field for _, field, _, _ in string.Formatter().parse(sentence) if field is not None]
            assert placeholders in ([["left"]] if name == "backup_codes_low" else [["when"], ["When"]]), name
            assert sentence.startswith("{When}") == ("{When}" in sentence)


@pytest.mark.parametrize(
    ("locale", "text"),
    [
        ("en", "Countersign: Your authenticator app was replaced on 22 Nov at 09:12. "
         "If that was not you, tell your administrator at once."),
        ("de-AT", "Countersign: Ihre Authenticator-App wurde am 22. November um 09:12 Uhr ersetzt. "
         "Wenn Sie das nicht waren, sagen Sie es sofort Ihrer Administration."),
        ("fr_CA", "Countersign: Votre application d'authentification a été remplacée le 22 novembre à 09:12. "
         "Si ce n'était pas vous, prévenez tout de suite votre administrateur."),
        ("ES", "Countersign: Se sustituyo su aplicacion de autenticacion el 22 de noviembre a las 09:12. "
         "Si no fue usted, avise enseguida a su administrador."),
        ("nl", "Countersign: Uw authenticator-app is op 22 november om 09:12 vervangen. "
         "Als u dat niet was, waarschuw dan meteen uw beheerder."),
        ("tlh", "Countersign: Your authenticator app was replaced on 22 Nov at 09:12. "
         "If that was not you, tell your administrator at once."),
    ],
)  # fmt: skip
def test_a_notice_says_what_when_and_what_to_do_in_its_reader_s_language(locale: str, text: str) -> None:
    assert said(NoticeKind.FACTOR_CHANGED, locale, "Countersign", method="totp") == text


def test_a_bypass_used_says_where_from_as_far_as_that_is_known() -> None:
    for kind in (NoticeKind.BYPASS_USED, NoticeKind.BYPASS_ENROLLED, NoticeKind.GRANTED_BYPASS_USED):
        whole = said(kind, address="203.0.113.7", browser="Firefox on Windows")
        assert "22 Nov at 09:12 (203.0.113.7, Firefox on Windows)" in whole
        assert "22 Nov at 09:12 (203.0.113.7)" in said(kind, address="203.0.113.7")
        assert "22 Nov at 09:12 (Safari on iPhone)" in said(kind, browser="Safari on iPhone")
        assert "(" not in said(kind)


def test_spent_guesses_say_that_someone_knows_the_password() -> None:
    body = said(NoticeKind.GUESSES_SPENT)
    assert "someone knows your password: change it, or ask your administrator." in body


@pytest.mark.parametrize("left", [0, 1, 3])
def test_few_backup_codes_are_counted(left: int) -> None:
    assert f": {left} left." in said(NoticeKind.BACKUP_CODES_LOW, backup_codes_left=left)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("browser", "see evil.example"),
        ("browser", "Firefox\nBcc: x"),
        ("browser", "call 0900 123456"),
        ("browser", "F" * 41),
        ("browser", "Фirefox"),
        ("address", "evil.example"),
        ("address", "203.0.113.7 or evil"),
        ("address", "fe80::1%evil.example"),
        ("address", "unknown"),
        ("method", "{product.__class__}"),
    ],
)
def test_a56_what_is_no_address_and_no_browser_is_not_said(name: str, value: str) -> None:
    assert said(NoticeKind.BYPASS_USED, **{name: value}) == said(NoticeKind.BYPASS_USED)


@given(st.text(max_size=30), st.text(max_size=60), st.text(max_size=60), st.sampled_from(list(NoticeKind)))
def test_a56_whatever_is_given_a_text_stays_two_messages_of_gsm_letters(
    product: str, browser: str, address: str, kind: NoticeKind
) -> None:
    for language in notice_texts.languages():
        assert sms.segments(said(kind, language, product, browser=browser, address=address)) <= 2


@pytest.mark.parametrize(
    ("language", "at", "timezone", "text"),
    [
        ("en", AT, "America/New_York", "on 22 Nov at 03:12"),
        ("en", AT, "Asia/Kolkata", "on 22 Nov at 13:42"),
        ("en", AT, "Pacific/Kiritimati", "on 22 Nov at 22:12"),
        ("en", AT, "Europe", "on 22 Nov at 08:12 UTC"),
        ("en", AT, "../../etc/passwd", "on 22 Nov at 08:12 UTC"),
        ("en", AT, "", "on 22 Nov at 08:12 UTC"),
        ("de", datetime(2026, 3, 29, 1, 30, tzinfo=UTC), "Europe/Berlin", "am 29. März um 03:30 Uhr"),
        ("fr", datetime(2026, 8, 1, 10, tzinfo=UTC), "Europe/Paris", "le 1er août à 12:00"),
        ("es", datetime(2026, 1, 31, 23, 30, tzinfo=UTC), "Europe/Madrid", "el 1 de febrero a las 00:30"),
        ("nl", datetime(2026, 5, 2, 10, tzinfo=UTC), "Europe/Amsterdam", "op 2 mei om 12:00"),
    ],
)
def test_the_time_is_the_reader_s(language: str, at: datetime, timezone: str, text: str) -> None:
    assert notice_times.when(language, at, timezone) == text


@given(st.text(max_size=60))
def test_folding_leaves_gsm_letters_as_they_are_and_nothing_else(text: str) -> None:
    folded = sms.in_gsm(text)
    assert sms.in_gsm(folded) == folded
    assert sms.segments(folded[:306]) <= 2


@pytest.mark.parametrize(
    "address",
    ["a@b", "a b@example.com", "a@example.com\r\nBcc: b@example.com", "a@example.com\n", "a@b.c, d@e.f", "@x.example",
     "a@-x.example", "ä@example.com", '"a b"@example.com', "a@[192.0.2.1]", "a@x." + "y" * 250, "a@exam\0ple.com"],
)  # fmt: skip
def test_an_address_that_could_carry_more_than_itself_is_none(address: str) -> None:
    assert not addresses.is_mailable(address)


def test_an_address_is_shown_masked() -> None:
    assert addresses.is_mailable("mina.o'neil+x@sub.example.com")
    assert addresses.masked("mina@example.com") == "m…@example.com"


def test_a_notice_that_did_not_go_is_told_without_a_word_of_codes() -> None:
    for state in State:
        told = notice_texts.detail(state)
        assert bool(told) == (state in (State.FAILED, State.UNKNOWN, State.EXPIRED))
        assert "code" not in told
