"""What a password must be, how it is kept, and how many may be compared at once."""

import asyncio
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from zxcvbn.frequency_lists import FREQUENCY_LISTS

from services.common.errors import ErrorCode, ServiceError
from services.identity.password_rules import LEAST, MOST, check
from services.identity.passwords import Passwords

GOOD = "tidal harbour gravel moon"


@pytest.fixture
def passwords() -> Iterator[Passwords]:
    made = Passwords(b"pepper of tests" * 3, memory_kib=64, time_cost=1, parallelism=1)
    yield made
    made.close()


def refused(password: str, *context: str) -> bool:
    try:
        check(password, context, "password")
    except ServiceError as error:
        return error.code is ErrorCode.INVALID_REQUEST
    return False


def test_lengths_are_counted_in_code_points_at_both_ends() -> None:
    assert refused("kv9 Tq.zL2w")  # 11
    assert not refused("kv9 Tq.zL2w8")  # 12
    assert not refused("kv9 Tq.zL2w8" + "é🌊" * 58)  # 128
    assert refused("kv9 Tq.zL2w8" + "é🌊" * 58 + "x")
    assert (LEAST, MOST) == (12, 128)


@given(st.text(alphabet="abcdefghij 🌊éß", min_size=20, max_size=128))
@settings(max_examples=30, deadline=None)
def test_no_kind_of_character_is_asked_for_or_refused(password: str) -> None:
    try:
        check(password, (), "password")
    except ServiceError as error:
        assert "easy to guess" in error.members["errors"][0]["message"]  # noqa: PT017


def test_common_passwords_are_refused_all_of_the_top_three_thousand() -> None:
    common = FREQUENCY_LISTS["passwords"][:3000]
    assert all(refused(password) for password in common)
    assert all(refused(password * 3) for password in ("password", "letmein", "qwerty", "123456"))
    assert refused("qwertyuiopasdf")
    assert refused("aaaaaaaaaaaaaaaa")


@pytest.mark.parametrize(
    "password", ["HarbourClinic2026!", "harbour-clinic-1", "Mina.Okafor.1984", "mina@harbour.example"]
)
def test_words_around_the_person_do_not_make_a_password(password: str) -> None:
    assert refused(password, "Harbour Clinic", "harbour", "Mina Okafor", "mina", "harbour.example")
    assert refused("xq7.vlk@quay.test", "xq7.vlk@quay.test", "xq7.vlk", "quay.test"), "one's own address"
    assert not refused("gravel " + password, "Harbour Clinic", "harbour", "Mina Okafor", "mina", "harbour.example")


async def test_a_password_is_compared_verbatim(passwords: Passwords) -> None:
    stored = await passwords.hash("  Ünïcode 🌊 passphrase ")
    assert stored.startswith("$argon2id$")
    assert await passwords.is_right("  Ünïcode 🌊 passphrase ", stored)
    for near in ("Ünïcode 🌊 passphrase", "  ünïcode 🌊 passphrase ", "  U\u0308nïcode 🌊 passphrase "):
        assert not await passwords.is_right(near, stored)


async def test_nobody_has_no_password(passwords: Passwords) -> None:
    assert not await passwords.is_right(GOOD, None)
    assert not await passwords.is_right(GOOD, "not a hash")


async def test_p23_a_hash_without_the_pepper_compares_with_nothing(passwords: Passwords) -> None:
    stored = await passwords.hash(GOOD)
    other = Passwords(b"another pepper!" * 3, memory_kib=64, time_cost=1, parallelism=1)
    assert not await other.is_right(GOOD, stored)
    other.close()


async def test_a_hash_of_other_costs_is_made_anew(passwords: Passwords) -> None:
    dearer = Passwords(b"pepper of tests" * 3, memory_kib=128, time_cost=1, parallelism=1)
    stored = await passwords.hash(GOOD)
    assert not passwords.needs_rehash(stored)
    assert dearer.needs_rehash(stored)
    assert await dearer.is_right(GOOD, stored)
    dearer.close()


async def test_p28_past_the_line_the_answer_is_unavailable(passwords: Passwords) -> None:
    gate = asyncio.Event()

    async def wait_in_turn() -> str:
        try:
            async with passwords.turn():
                await gate.wait()
        except ServiceError as error:
            assert error.members["retry_after"] >= 1  # noqa: PT017
            return error.code.value
        return "done"

    tasks = [asyncio.create_task(wait_in_turn()) for _ in range(100)]
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    gate.set()
    outcomes = await asyncio.gather(*tasks)
    assert outcomes.count("done") == 68  # four in turn, 64 in line
    assert outcomes.count("unavailable") == 32
    async with passwords.turn():
        pass  # and the line is empty again
