"""Files of authenticator secrets of other systems: what is read of each form, what is refused, and the algorithms that
imported apps may compute (P26)."""

import base64
from datetime import UTC, datetime, timedelta

import pyotp
import pytest

from services.otp import clock_coach, totp
from services.otp.secret_formats import Entry, Format, UnusableEntry, UnusableFile, entries
from services.otp.totp import Algorithm

SECRET = "JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXP"
HEX = base64.b32decode(SECRET).hex()

# RFC 6238, appendix B: the time, and the codes of eight digits by SHA-1, SHA-256 and SHA-512. Ours are the last six.
RFC_6238 = [
    (59, "94287082", "46119246", "90693936"),
    (1111111109, "07081804", "68084774", "25091201"),
    (1111111111, "14050471", "67062674", "99943326"),
    (1234567890, "89005924", "91819424", "93441116"),
    (2000000000, "69279037", "90698825", "38618901"),
    (20000000000, "65353130", "77737706", "47863826"),
]
RFC_KEYS = {Algorithm.SHA1: 20, Algorithm.SHA256: 32, Algorithm.SHA512: 64}


def rfc_key(algorithm: Algorithm) -> str:
    key = (b"1234567890" * 7)[: RFC_KEYS[algorithm]]
    return totp.kept(base64.b32encode(key).decode().rstrip("="), algorithm)


@pytest.mark.parametrize(("seconds", "sha1", "sha256", "sha512"), RFC_6238)
def test_p26_the_vectors_of_rfc_6238_with_every_algorithm(seconds: int, sha1: str, sha256: str, sha512: str) -> None:
    now = datetime.fromtimestamp(seconds, UTC)
    codes = dict(zip(Algorithm, (sha1[-6:], sha256[-6:], sha512[-6:]), strict=True))
    for algorithm, code in codes.items():
        assert totp.match(rfc_key(algorithm), code, now, 0) == totp.Match(seconds // 30, is_spent=False)
        others = [other for other in Algorithm if other is not algorithm]
        assert all(totp.match(rfc_key(other), code, now, 0) is None for other in others)


@pytest.mark.parametrize("algorithm", Algorithm)
def test_the_clock_coach_reads_every_algorithm(algorithm: Algorithm) -> None:
    now = datetime(2026, 11, 16, 9, 30, 10, tzinfo=UTC)
    memory = clock_coach.NOTHING_REMEMBERED
    for at in (now, now + timedelta(seconds=30)):
        fast = totp.generator_of(rfc_key(algorithm)).at(at + timedelta(minutes=5))
        advice = clock_coach.advise(memory, rfc_key(algorithm), fast, at)
        memory = advice.memory
    assert advice.skew_seconds == 300


def read(text: str, written_as: Format | None = None) -> list[Entry | UnusableEntry]:
    lines = [(number, line) for number, line in enumerate(text.splitlines(), 1) if line.strip()]
    return [entry for _, entry in entries(lines, written_as)]


def reason(text: str, written_as: Format | None = None) -> str:
    (entry,) = read(text, written_as)
    assert isinstance(entry, UnusableEntry), entry
    assert SECRET not in str(entry)
    assert HEX not in str(entry)
    return str(entry)


def test_p26_our_own_golden_otpauth_address_is_read_again() -> None:
    (entry,) = read(totp.otpauth_uri("My Clinic", "Harbour: a@b.example", SECRET).replace("Harbour%20-%20", ""))
    assert entry == Entry("a@b.example", SECRET, Algorithm.SHA1)


@pytest.mark.parametrize(
    ("line", "owner", "algorithm"),
    [
        (f"otpauth://totp/ann@b.example?secret={SECRET}", "ann@b.example", "SHA1"),
        (
            f"otpauth://totp/Some%20Product%3A%20ann%40b.example?secret={SECRET.lower()}&issuer=X",
            "ann@b.example",
            "SHA1",
        ),
        (f"ann@b.example,otpauth://totp/Product:a.nn?secret={SECRET}&algorithm=SHA256", "ann@b.example", "SHA256"),
        (f'ann@b.example, "otpauth://totp/P:a?secret={SECRET}&period=30&digits=6"', "ann@b.example", "SHA1"),
        (f"OTPAUTH://TOTP/P:ann?SECRET={SECRET}&Algorithm=HmacSHA512", "ann", "SHA512"),
        (pyotp.TOTP(SECRET, name="ann@b.example", issuer="Ünï: cöde").provisioning_uri(), "ann@b.example", "SHA1"),
    ],
)
def test_otpauth_addresses(line: str, owner: str, algorithm: str) -> None:
    assert read(line) == [Entry(owner, SECRET, Algorithm(algorithm))]


def test_a_csv_with_a_header() -> None:
    spaced = " ".join(SECRET[start : start + 4] for start in range(0, 32, 4)).lower()
    text = (
        "\ufeffemail,secret,algorithm,digits,period\n".lstrip("\ufeff")
        + f"ann@b.example,{SECRET},,,\n"
        + f'"bob@b.example","{spaced}",sha-256,6,30\n'
        + "cid@b.example,short\n"
    )
    ann, bob, cid = read(text)
    assert ann == Entry("ann@b.example", SECRET, Algorithm.SHA1)
    assert bob == Entry("bob@b.example", SECRET, Algorithm.SHA256)
    assert "as many columns" in str(cid)
    # Authelia's `export csv` is one, too.
    authelia = f"issuer,username,algorithm,digits,period,secret\nAuthelia,ann,SHA512,6,30,{SECRET}\n"
    assert read(authelia) == [Entry("ann", SECRET, Algorithm.SHA512)]


@pytest.mark.parametrize(
    "text",
    [
        '"email","secret"\n"ann@b.example","{0}"',
        '"Email" , "Secret"\nann@b.example,{0}',
        '"email";"secret"\n"ann@b.example";"{0}"',
        "secret;email\n{0}; ann@b.example",
    ],
)
@pytest.mark.parametrize("written_as", [None, Format.CSV])
def test_a_csv_whose_header_is_quoted_or_whose_columns_a_spreadsheet_parts(
    text: str, written_as: Format | None
) -> None:
    assert read(text.format(SECRET), written_as) == [Entry("ann@b.example", SECRET, Algorithm.SHA1)]


@pytest.mark.parametrize("header", ["email\tsecret", "email|secret", '"email,secret', "mail,secret", "secret"])
@pytest.mark.parametrize("written_as", [None, Format.CSV])
def test_a_header_that_cannot_be_read_is_refused_with_a_sentence_about_headers(
    header: str, written_as: Format | None
) -> None:
    with pytest.raises(UnusableFile, match="first line must name the columns, with commas"):
        read(f"{header}\nann@b.example,{SECRET}\n", written_as)


@pytest.mark.parametrize(("length", "likely"), [(32, "SHA256"), (64, "SHA512")])
def test_a_privacyidea_seed_of_another_algorithms_length_is_not_taken_for_sha_1(length: int, likely: str) -> None:
    raw = bytes(range(length))
    secret = base64.b32encode(raw).decode().rstrip("=")
    line = f"# version: 2\nann@b.example, staff, realm1, TOTP0001, {raw.hex()}, totp, 6, 30"
    for silent in (line, f"{line},", f"{line}, "):
        said = reason(silent)
        assert "does not say by which algorithm" in said
        assert (likely in said, "ninth column" in said, raw.hex() in said) == (True, True, False)
    for algorithm in Algorithm:  # told, it is believed
        assert read(f"{line}, {algorithm}") == [Entry("ann@b.example", secret, algorithm)]


def test_privacyideas_oath_csv() -> None:
    text = (
        "# version: 2\n"
        f"ann@b.example, staff, realm1, TOTP0001, {HEX}, totp, 6, 30\n"
        f"bob, staff, realm1, TOTP0002, {HEX.upper()}, TOTP, 6, 30, SHA256\n"
        f"cid, staff, realm1, OATH0001, {HEX}, hotp, 6, 17\n"
        f"dan, staff, realm1, OATH0002, {HEX}\n"
        f"eve, staff, realm1, TOTP0003, nothex, totp\n"
        f"fay, staff, realm1, TOTP0004, {HEX}, totp, 8, 30\n"
        f"gus, staff, realm1, TOTP0005, {HEX}, totp, 6, 60\n"
        f"hal, staff, realm1, TAN1, {HEX}, tan, 1 2 3\n"
        "ivy\n"
    )
    ann, bob, *refused = read(text)
    assert ann == Entry("ann@b.example", SECRET, Algorithm.SHA1)
    assert bob == Entry("bob", SECRET, Algorithm.SHA256)
    for unusable, words in zip(
        refused,
        ("HOTP", "HOTP", "hexadecimal", "8 digits", "60 seconds", "no authenticator", "HOTP"),
        strict=True,
    ):
        assert isinstance(unusable, UnusableEntry)
        assert words in str(unusable)
    assert "names nobody" in reason(f"TOTP0001, {HEX}, totp, 6, 30")


AUTHELIA = """\
# yaml-language-server: $schema=https://www.authelia.com/schemas/v4.39/json-schema/export.totp.json
totp_configurations:
    - created_at: 2024-03-01T06:00:00.000000Z
      last_used_at: null
      username: ann
      issuer: Authelia
      algorithm: SHA1
      digits: 6
      period: 30
      secret: {wrapped}
    - {{username: bob@b.example, algorithm: SHA256, digits: 6, period: 30, secret: {secret}}}
    - username: cid
      algorithm: SHA1
      digits: 8
      period: 30
      secret: {wrapped}
    - just text
    - username: dan
      ? [not, a, name]
      : nothing
"""


def test_authelias_export() -> None:
    text = AUTHELIA.format(wrapped=base64.b64encode(SECRET.encode()).decode(), secret=SECRET)
    lines = list(enumerate(text.splitlines(), 1))
    (one, ann), (two, bob), (three, cid), (four, text_entry), (_, dan) = entries(lines, None)
    assert (one, two, three, four) == (3, 11, 12, 17)
    assert ann == Entry("ann", SECRET, Algorithm.SHA1)
    assert bob == Entry("bob@b.example", SECRET, Algorithm.SHA256)
    assert "8 digits" in str(cid)
    assert "no configuration" in str(text_entry)
    assert "missing" in str(dan)


@pytest.mark.parametrize(
    ("line", "words"),
    [
        (f"otpauth://hotp/ann@b.example?secret={SECRET}&counter=1", "HOTP"),
        (f"otpauth://steam/ann@b.example?secret={SECRET}", "no authenticator app"),
        (f"otpauth://totp/?secret={SECRET}", "names nobody"),
        (f"otpauth://totp/ann@b.example?secret={SECRET}&secret=AAAA", "twice"),
        (f"otpauth://totp/ann@b.example?secret={SECRET}&digits=8", "8 digits"),
        (f"otpauth://totp/ann@b.example?secret={SECRET}&digits=six", "in figures"),
        (f"otpauth://totp/ann@b.example?secret={SECRET}&period=60", "60 seconds"),
        (f"otpauth://totp/ann@b.example?secret={SECRET}&algorithm=MD5", "none of SHA1"),
        ("otpauth://totp/ann@b.example", "missing"),
        ("otpauth://totp/ann@b.example?secret=AAAA0000", "not in base32"),
        ("otpauth://totp/ann@b.example?secret=AAAAAAAAAAAAAAAAA", "cut off"),
        ("otpauth://totp/ann@b.example?secret=AAAAAAAA", "40 bits"),
        (f"otpauth://totp/ann@b.example?secret={'A' * 208}", "1040 bits"),
        (f"otpauth://[totp/ann@b.example?secret={SECRET}", "damaged"),
    ],
)
def test_what_no_app_of_ours_computes_is_refused_with_the_reason(line: str, words: str) -> None:
    assert words in reason(line)


def test_a_file_of_another_form_is_refused_whole() -> None:
    for text, written_as in (
        ("name,age\nann,7", Format.CSV),
        ("totp_configurations: {a: 1}", None),
        ("totp_configurations: [", None),
        ("totp_configurations: " + "[" * 5000, None),
        ("- a", Format.AUTHELIA),
    ):
        with pytest.raises(UnusableFile):
            read(text, written_as)
    assert read("") == []
    assert next(entries([(1, None)], Format.OTPAUTH))[0] == 1
