"""Telling: at once, once, also when the process dies or the notifier is away; nobody waits for it; nothing that names a
number is left when it is done."""

import asyncio
import time
from datetime import timedelta

import pytest

from services.common.background import Background
from services.identity.notice_words import DueNotice
from services.identity.policy_words import SmsTerms
from services.otp import backup_codes
from tests.identity.people import PHONE, Person, SomeClinic, Stack
from tests.identity.told import prove_number, rows, shown, teller_of, texts, told


@pytest.fixture(autouse=True)
def cheap_backup_codes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backup_codes, "_MEMORY_KIB", 64)


@pytest.fixture
async def reachable(clinic: SomeClinic) -> Person:
    person = await clinic.person(phone=PHONE)
    prove_number(person)
    await person.sign_in()
    return person


async def until_taken(stack: Stack, person: Person, seconds: float = 10) -> None:
    async with asyncio.timeout(seconds):
        while all(notice.user_id != person.id for notice in stack.notifier.told):
            await asyncio.sleep(0.02)


async def test_a_notice_is_told_as_soon_as_its_change_is_committed(stack: Stack, reachable: Person) -> None:
    teller = teller_of(stack, sweep_seconds=3600)
    telling = Background(teller.keep_telling)
    telling.start()
    try:
        await asyncio.sleep(0.2)  # it waits for the bell by now
        await reachable.enrol_totp()
        await until_taken(stack, reachable)
    finally:
        await telling.close()


async def test_what_another_replica_left_is_found_by_the_sweep(stack: Stack, reachable: Person) -> None:
    another = await stack.another_app()
    teller = teller_of(another, sweep_seconds=0.1)
    telling = Background(teller.keep_telling)
    telling.start()
    try:
        await asyncio.sleep(0.2)
        await reachable.enrol_totp()  # whose bell rings in the first one, which tells nothing
        await until_taken(stack, reachable)
    finally:
        await telling.close()


async def test_a_process_that_dies_between_change_and_telling_loses_no_notice(stack: Stack, reachable: Person) -> None:
    await reachable.enrol_totp()
    # It has claimed the notice, handed it over or not, and died.
    store, at = stack.gateway.notice_store, stack.clock.now()
    claimed = await store.claim(at, 1000, timedelta(seconds=10), timedelta(minutes=10))
    mine = next(notice for notice in claimed if notice.user_id == reachable.id)
    await stack.gateway.notifier.notify(mine, PHONE, None, None)
    restarted = teller_of(await stack.another_app())
    assert await restarted.tell() == 0, "another may be at it"
    stack.clock.advance(timedelta(seconds=11))
    assert await restarted.tell() > 0
    assert await texts(stack, reachable) == [("factor_added", PHONE)], "the notifier takes it once"
    assert rows(reachable)[0]["told_at"] == stack.clock.now()


async def test_replicas_that_tell_at_once_hand_each_over_once(stack: Stack, reachable: Person) -> None:
    for _ in range(3):
        await reachable.enrol_totp()
    calls: list[str] = []
    notify = stack.gateway.notifier.notify

    async def counted(notice: DueNotice, phone: str | None, email: str | None, terms: SmsTerms | None) -> None:
        calls.append(notice.id)
        await notify(notice, phone, email, terms)

    stack.gateway.notifier.notify = counted  # type: ignore[method-assign]
    await asyncio.gather(*(teller_of(stack).tell() for _ in range(8)))
    assert len(calls) == len(set(calls)) >= 3


async def test_while_the_notifier_is_away_nothing_is_lost_and_nobody_waits(stack: Stack, reachable: Person) -> None:
    await reachable.enrol_totp()
    stack.notifier.takes_no_notices = True
    teller = teller_of(stack, sweep_seconds=0.05)
    telling = Background(teller.keep_telling)
    telling.start()
    try:
        began = time.monotonic()
        for _ in range(3):
            await reachable.enrol_totp()
            await reachable.sign_in_in_full()
        assert time.monotonic() - began < 20
        assert len(await shown(reachable)) == 4
    finally:
        await telling.close()
    tries = [row["tries"] for row in rows(reachable)]
    assert max(tries) >= 1
    stack.clock.advance(timedelta(hours=5))
    assert await texts(stack, reachable) == []
    stack.notifier.takes_no_notices = False
    stack.clock.advance(timedelta(minutes=11))
    assert sorted(await texts(stack, reachable)) == [("factor_added", PHONE), *[("factor_changed", PHONE)] * 3]


async def test_where_the_number_cannot_be_reached_the_address_still_is(
    stack: Stack, clinic: SomeClinic, reachable: Person
) -> None:
    stack.notifier.reaches = lambda request: not request.phone
    await reachable.enrol_totp()
    both = await told(stack, reachable)
    assert [(notice.phone, notice.email) for notice in both] == [("", reachable.email)]
    assert rows(reachable)[0]["told_at"] is not None
    stack.notifier.reaches = lambda request: False
    await reachable.enrol_totp()
    assert len(await told(stack, reachable)) == 1
    given_up = rows(reachable)[1]
    assert (given_up["told_at"], given_up["next_tell_at"], given_up["phone"]) == (None, None, None)


async def test_a_damaged_number_holds_up_neither_its_e_mail_nor_anybody_else(
    stack: Stack, clinic: SomeClinic, reachable: Person, capfd: pytest.CaptureFixture[str]
) -> None:
    without_address, whole = await clinic.person(phone=PHONE), await clinic.person(phone=PHONE)
    for person in (without_address, whole):
        prove_number(person)
        await person.sign_in()
    for person in (reachable, without_address, whole):
        await person.enrol_totp()
    damaged = "UPDATE notice SET phone = set_byte(phone, length(phone) - 1, get_byte(phone, length(phone) - 1) # 1)"
    stack.sql(f"{damaged} WHERE user_id = ANY (%s)", [[reachable.id, without_address.id]])
    stack.sql("UPDATE notice SET email = NULL WHERE user_id = %s", [without_address.id])
    assert await texts(stack, whole) == [("factor_added", PHONE)]
    assert [(notice.phone, notice.email) for notice in await told(stack, reachable)] == [("", reachable.email)]
    assert await told(stack, without_address) == []
    for person, was_told in ((reachable, True), (without_address, False)):
        [row] = rows(person)
        assert (row["next_tell_at"], row["phone"], row["told_at"] is not None) == (None, None, was_told), "settled"
        logged = [line for line in capfd.readouterr().out.splitlines() if "notice_number_damaged" in line]
        assert len(logged) == (2 if person is reachable else 0)
        assert not [line for line in logged if PHONE in line or "@" in line]


async def test_a_number_whose_key_is_not_here_waits_for_it_and_its_e_mail_does_not(
    stack: Stack, reachable: Person
) -> None:
    await reachable.enrol_totp()
    [sealed] = [row["phone"] for row in rows(reachable)]
    under_another_key = bytes([*sealed[:4], 99, *sealed[5:]])
    stack.sql("UPDATE notice SET phone = %s WHERE user_id = %s", [under_another_key, reachable.id])
    assert [(notice.phone, notice.email) for notice in await told(stack, reachable)] == [("", reachable.email)]
    assert rows(reachable)[0]["next_tell_at"] is not None
    stack.sql("UPDATE notice SET phone = %s WHERE user_id = %s", [sealed, reachable.id])
    stack.notifier.told.clear()
    stack.clock.advance(timedelta(minutes=11))
    assert await texts(stack, reachable) == [("factor_added", PHONE)]


async def test_tries_come_ever_later_and_end_after_a_day(stack: Stack, reachable: Person) -> None:
    await reachable.enrol_totp()
    stack.notifier.takes_no_notices = True
    waits = []
    for _ in range(200):
        await told(stack, reachable)
        row = rows(reachable)[0]
        if row["next_tell_at"] is None:
            break
        waits.append((row["next_tell_at"] - stack.clock.now()).total_seconds())
        stack.clock.set(row["next_tell_at"])
    assert waits[:4] == [10, 20, 40, 80]
    assert max(waits) == 600
    assert 24 * 3600 < (stack.clock.now() - row["at"]).total_seconds() < 25 * 3600
    assert (row["phone"], row["email"], row["told_at"]) == (None, None, None)
    stack.notifier.takes_no_notices = False
    assert await texts(stack, reachable) == []
    await reachable.sign_in()
    stack.clock.advance(timedelta(seconds=30))
    proven = await reachable.prove()
    reachable.token = proven.json()["token"]
    assert "factor_added" in [notice["kind"] for notice in await shown(reachable)]


async def test_p15_nothing_secret_is_in_a_notice_its_row_after_telling_or_the_log(
    stack: Stack, clinic: SomeClinic, capfd: pytest.CaptureFixture[str]
) -> None:
    person = await clinic.person(phone=PHONE)
    prove_number(person)
    await person.sign_in()
    await person.enrol_totp()
    made = (await person.call("POST", "/v1/me/two-factor/backup-codes", {})).json()["codes"]
    assert (await person.call("PATCH", "/v1/me", {"phone": "+447700900124"})).status_code == 200
    secrets = [person.secret, person.token, *made, PHONE, "+447700900124", PHONE.removeprefix("+44")]
    before = str([row["phone"] and bytes(row["phone"]) for row in rows(person)])
    assert not [secret for secret in secrets if secret in before], "sealed while it waits"
    sent = [str(notice).replace(PHONE, "") for notice in await told(stack, person)]
    assert len(sent) == 3
    found = rows(person)
    assert [(row["phone"], row["email"]) for row in found] == [(None, None)] * 3
    printed = capfd.readouterr()
    texts_of_all = [str(found), *sent, printed.out, printed.err, str(await shown(person))]
    leaked = [secret for secret in secrets for text in texts_of_all if secret in text]
    assert leaked == []
    assert not [text for text in texts_of_all[:-1] if "://" in text and "sentence" in text]
