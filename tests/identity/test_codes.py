"""The shape of codes, of telephone numbers and of addresses: what is read alike, and what is refused unread."""

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.common.errors import ErrorCode, ServiceError
from services.identity.addresses import client_of, network_of, subscriber_of
from services.identity.codes import canonical
from services.identity.model import Method
from services.identity.phones import normalised


@pytest.mark.parametrize(
    "typed", ["123456", " 123 456 ", "123-456", "12\u200b3456", "1\ufeff23\u00a0456", "123\u2013456", "\t123456\n"]
)
def test_a17_spaces_hyphens_and_zero_width_characters_do_not_count(typed: str) -> None:
    assert canonical(Method.TOTP, typed) == canonical(Method.SMS, typed) == "123456"


@pytest.mark.parametrize(
    "typed",
    [
        "",
        "1",
        "12345",
        "1234567",
        "+12345",
        "12345a",
        "\uff11\uff12\uff13\uff14\uff15\uff16",
        "١٢٣٤٥٦",
        "1" * 6 + "\x00",
        "0x1234",
        " " * 101,
    ],
)
@pytest.mark.parametrize("method", [Method.TOTP, Method.SMS])
def test_a13_what_is_not_six_ascii_digits_is_never_compared(method: Method, typed: str) -> None:
    with pytest.raises(ServiceError) as refused:
        canonical(method, typed)
    assert refused.value.code is ErrorCode.INVALID_REQUEST


@pytest.mark.parametrize(
    "typed", ["0ABC-DEFG-HJKM-NPQR", "oabc defg hjkm npqr", "0abcdefghjkmnpqr", "OABC\u2013DEFG\u2013HJKM\u2013NPQR"]
)
def test_backup_codes_read_alike_however_they_are_typed(typed: str) -> None:
    assert canonical(Method.BACKUP_CODE, typed) == "0ABCDEFGHJKMNPQR"


def test_letters_that_look_like_digits_are_digits_in_a_backup_code() -> None:
    assert canonical(Method.BACKUP_CODE, "oOiIlL1 00000000 0") == "0011111000000000"


@pytest.mark.parametrize(
    "typed", ["", "0ABC-DEFG-HJKM-NPQ", "0ABC-DEFG-HJKM-NPQR-S", "UABC-DEFG-HJKM-NPQR", "0ABC-DEFG-HJKM-NPQ\uff32"]
)
def test_a13_what_is_not_shaped_like_a_backup_code_is_never_compared(typed: str) -> None:
    with pytest.raises(ServiceError):
        canonical(Method.BACKUP_CODE, typed)


@given(st.text(), st.sampled_from(Method))
def test_a_code_is_canonical_or_refused(typed: str, method: Method) -> None:
    with suppress(ServiceError):
        once = canonical(method, typed)
        assert once.isascii()
        assert canonical(method, once) == once


@pytest.mark.parametrize(
    ("typed", "country", "expected"),
    [
        ("07700 900123", "GB", "+447700900123"),
        ("+44 7700 900123", "DE", "+447700900123"),
        ("0491 570 006", "AU", "+61491570006"),
    ],
)
def test_numbers_are_kept_in_e164_and_read_as_of_the_clinic(typed: str, country: str, expected: str) -> None:
    assert normalised(typed, country) == expected


@pytest.mark.parametrize(
    "typed", ["", "abc", "123", "+44 909 879 0000", "+88216 5555 1234", "+1 555", "0" * 50, "+" + "9" * 14]
)
def test_a50_premium_stateless_and_impossible_numbers_are_refused(typed: str) -> None:
    with pytest.raises(ServiceError) as refused:
        normalised(typed, "GB")
    assert refused.value.members["errors"][0]["field"] == "phone"


def _scope(peer: str, *forwarded: str) -> dict[str, object]:
    headers = [(b"x-forwarded-for", value.encode()) for value in forwarded]
    headers += [(b"x-real-ip", b"203.0.113.99"), (b"forwarded", b"for=203.0.113.98")]
    return {"client": (peer, 1), "headers": headers}


@pytest.mark.parametrize(
    ("peer", "forwarded", "expected"),
    [
        ("198.51.100.1", (), "198.51.100.1"),
        ("198.51.100.1", ("203.0.113.5",), "198.51.100.1"),  # not a proxy of ours
        ("192.0.2.200", ("203.0.113.5",), "203.0.113.5"),
        ("192.0.2.200", ("10.0.0.1, 203.0.113.5",), "203.0.113.5"),  # the client wrote the first
        ("192.0.2.200", ("10.0.0.1", "203.0.113.5"), "203.0.113.5"),
        ("192.0.2.200", ("nonsense",), "192.0.2.200"),
        ("192.0.2.200", (), "192.0.2.200"),
        ("::ffff:198.51.100.1", (), "198.51.100.1"),
        ("2001:db8::1%eth0", (), "2001:db8::1"),
    ],
)
def test_a04_only_the_last_hop_of_a_trusted_proxy_is_believed(
    peer: str, forwarded: tuple[str, ...], expected: str
) -> None:
    assert client_of(_scope(peer, *forwarded), frozenset({"192.0.2.200"})).address == expected


def test_networks_are_as_large_as_one_place() -> None:
    assert network_of("198.51.100.77") == "198.51.100.0/24"
    assert network_of("2001:db8:1:2:3::4") == "2001:db8:1::/48"
    assert subscriber_of("198.51.100.77") == "198.51.100.77"
    assert subscriber_of("2001:db8:1:2:3::4") == "2001:db8:1:2::/64"
