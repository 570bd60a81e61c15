"""Password hashes of another system: which are taken over, what is kept of them, and that they still tell."""

from collections.abc import Iterator

import bcrypt
import pytest

from services.identity.imported_hashes import ImportedHashes, Unusable
from services.identity.passwords import Passwords

PEPPER = b"pepper of tests" * 3

# Published: examples of jBCrypt, passlib and Authelia, the vectors of the Argon2 reference, those for PBKDF2
# ("salt", and RFC 6070).
HASHES = {
    "bcrypt": ("abc", "$2a$10$WvvTPHKwdBJ3uk0Z37EMR.hLA2W6N9AEBhEgrAOljy2Ae5MtaSIUi"),
    "bcrypt of PHP": ("abc", "$2y$10$WvvTPHKwdBJ3uk0Z37EMR.hLA2W6N9AEBhEgrAOljy2Ae5MtaSIUi"),
    "bcrypt of Django": ("abc", "bcrypt$$2b$10$WvvTPHKwdBJ3uk0Z37EMR.hLA2W6N9AEBhEgrAOljy2Ae5MtaSIUi"),
    "bcrypt with a salt whose last bits are set": (
        "abc",
        "$2a$10$WvvTPHKwdBJ3uk0Z37EMR/hLA2W6N9AEBhEgrAOljy2Ae5MtaSIUi",
    ),
    "argon2id": (
        "password",
        "$argon2id$v=19$m=65536,t=2,p=1$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc",
    ),
    "argon2id of Django": (
        "password",
        "argon2$argon2id$v=19$m=65536,t=2,p=1$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc",
    ),
    "argon2i": (
        "password",
        "$argon2i$v=19$m=65536,t=2,p=1$c29tZXNhbHQ$wWKIMhR9lyDFvRz9YTZweHKfbftvj+qf+YFY4NeBbtA",
    ),
    "PBKDF2 of passlib": (
        "password",
        "$pbkdf2-sha256$6400$.6UI/S.nXIk8jcbdHx3Fhg$98jZicV16ODfEsEZeYPGHU3kbrUrvUEXOPimVSQDD44",
    ),
    "PBKDF2 of passlib with SHA-512": (
        "insecure_secret",
        "$pbkdf2-sha512$310000$c8p78n7pUMln0jzvd4aK4Q$JNRBzwAo0ek5qKn50cFzzvE9RXV88h1wJn5KGiHrD0YKtZaR/nCb2CJPOsKaPK0"
        "hjf.9yHxzQGZziziccp6Yng",
    ),
    "PBKDF2 of passlib with SHA-1": (
        "passwordPASSWORDpassword",
        "$pbkdf2$4096$c2FsdFNBTFRzYWx0U0FMVHNhbHRTQUxUc2FsdFNBTFRzYWx0$PS7sT.QchJuAyNg2YsDkSospGpY",
    ),
    "PBKDF2 of Django with SHA-1": ("password", "pbkdf2_sha1$4096$salt$SwB5AbdlSJq+rUnZJvch0GWkKcE="),
    "PBKDF2 of Django": ("password", "pbkdf2_sha256$4096$salt$xeR41ZKIyEGqUw22hFxMjZYok6ABzk4RpJY4c6qYE0o="),
    "PBKDF2 of Django with SHA-512": (
        "password",
        "pbkdf2_sha512$4096$salt$0Zexsz2wFD4BixLz0dFHnmzevcyXxcD4f2kC4HL0V7UUPzBgJkGz1VzTNZiM"
        "s2uEN2Bg7NUy4Dm3QqI5Q0ry1Q==",
    ),
}


@pytest.fixture
def passwords() -> Iterator[Passwords]:
    made = Passwords(PEPPER, memory_kib=64, time_cost=1, parallelism=1)
    yield made
    made.close()


@pytest.mark.parametrize("name", HASHES)
async def test_what_another_system_hashed_is_told_right_from_wrong(name: str, passwords: Passwords) -> None:
    password, made_elsewhere = HASHES[name]
    stored = ImportedHashes(PEPPER).wrapped(made_elsewhere)
    assert await passwords.is_right(password, stored)
    assert not await passwords.is_right(f"{password} ", stored)
    assert passwords.needs_rehash(stored)
    assert not passwords.needs_rehash(await passwords.hash(password))


@pytest.mark.parametrize("name", HASHES)
async def test_p23_what_is_stored_needs_the_pepper_as_well(name: str, passwords: Passwords) -> None:
    password, made_elsewhere = HASHES[name]
    stored = ImportedHashes(PEPPER).wrapped(made_elsewhere)
    assert made_elsewhere[-20:] not in stored
    assert not await passwords.is_right(password, ImportedHashes(b"another pepper").wrapped(made_elsewhere))
    assert not await passwords.is_right(password, made_elsewhere), "as it came it compares with nothing"


async def test_bcrypt_reads_the_first_72_bytes_as_ever_and_any_character(passwords: Passwords) -> None:
    long = "tidal harbour gravel moon " * 4
    stored = ImportedHashes(PEPPER).wrapped(bcrypt.hashpw(long.encode()[:72], bcrypt.gensalt(8)).decode())
    assert await passwords.is_right(long, stored)
    assert await passwords.is_right(long[:72], stored)
    for wrong in (long[:71], "", "\0", "ü" * 300):
        assert not await passwords.is_right(wrong, stored)


@pytest.mark.parametrize(
    ("made_elsewhere", "reason"),
    [
        ("", "no known form"),
        ("5f4dcc3b5aa765d61d8327deb882cf99", "no known form"),
        ("$1$salt$qJH7.N4xYta3aEG/dfqo/0", "no known form"),
        ("$6$rounds=5000$usesomesillystri$KqJWpanXZHKq2BOB43TSaYhEWsQ1Lr5QNyPCDH/Tp.6", "no known form"),
        ("pbkdf2_md5$4096$salt$SwB5AbdlSJq+rUnZJvch0GWkKcE=", "no known form"),
        ("pbkdf2_sha1$999$salt$SwB5AbdlSJq+rUnZJvch0GWkKcE=", "iterations"),
        ("$pbkdf2$2000001$THDqatpidANpadlLeTeOEg$HV3oi1k5C5LQCgG1BMOL.BX4YZc", "iterations"),
        ("$pbkdf2-md5$1212$THDqatpidANpadlLeTeOEg$HV3oi1k5C5LQCgG1BMOL.BX4YZc", "no known form"),
        ("$argon2d$v=19$m=65536,t=2,p=1$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc", "no known form"),
        ("$2x$10$WvvTPHKwdBJ3uk0Z37EMR.hLA2W6N9AEBhEgrAOljy2Ae5MtaSIUi", "no known form"),
        ("$2b$10$WvvTPHKwdBJ3uk0Z37EMR.hLA2W6N9AEBhEgrAOljy2Ae5MtaSI", "no known form"),
        ("$2b$15$WvvTPHKwdBJ3uk0Z37EMR.hLA2W6N9AEBhEgrAOljy2Ae5MtaSIUi", "bcrypt's cost"),
        ("$2b$04$WvvTPHKwdBJ3uk0Z37EMR.hLA2W6N9AEBhEgrAOljy2Ae5MtaSIUi", "bcrypt's cost"),
        ("pbkdf2_sha256$2000001$salt$xeR41ZKIyEGqUw22hFxMjZYok6ABzk4RpJY4c6qYE0o=", "iterations"),
        ("pbkdf2_sha512$1000001$salt$xeR41ZKIyEGqUw22hFxMjZYok6ABzk4RpJY4c6qYE0o=", "iterations"),
        ("pbkdf2_sha256$999$salt$xeR41ZKIyEGqUw22hFxMjZYok6ABzk4RpJY4c6qYE0o=", "iterations"),
        ("pbkdf2_sha256$4096$salt$xeR41ZKI", "shorter or longer"),
        ("pbkdf2_sha256$4096$salt$xeR41", "cut off"),
        ("$argon2id$v=19$m=1048576,t=1,p=1$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc", "KiB at most"),
        ("$argon2id$v=19$m=65536,t=9,p=1$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc", "KiB at most"),
        ("$argon2id$v=19$m=65536,t=2,p=99$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc", "none that it can"),
        ("$argon2id$v=19$m=65536,t=0,p=1$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc", "none that it can"),
        ("$argon2id$v=20$m=65536,t=2,p=1$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc", "version"),
        ("$argon2id$v=19$m=65536,t=2,p=1$c2Fs$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc", "salt"),
    ],
)
def test_what_cannot_be_honoured_is_refused_with_the_reason_and_without_the_hash(
    made_elsewhere: str, reason: str
) -> None:
    with pytest.raises(Unusable, match=reason) as caught:
        ImportedHashes(PEPPER).wrapped(made_elsewhere)
    assert not made_elsewhere or made_elsewhere not in str(caught.value)
