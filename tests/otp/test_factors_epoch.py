"""The epoch of a clinic's factors: whatever changes what others are shown of anybody's factors counts it up in the very
transaction; what every code moves does not. Over every call of the contract: a new one has to say which it is."""

import asyncio
import re
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any

import psycopg
import pytest
from countersign.otp.v1 import otp_pb2

from services.common.errors import ErrorCode, ServiceError
from services.otp import backup_codes
from tests.otp.conftest import CLINIC, PHONE, Otp, Person, fresh, result
from tests.otp.test_suspended import count_enrolled, remove_all, suspend

Step = Callable[[Person], Awaitable[object]]

PASSING = {"attempts_left", "retry_after_seconds", "locked", "last_used_at"}
"""What every code may move: whoever needs it asks for it."""


@pytest.fixture(autouse=True)
def cheap_backup_codes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each test here makes some; what they cost to hash is no matter."""
    monkeypatch.setattr(backup_codes, "_MEMORY_KIB", 64)


async def epoch_of(otp: Otp, clinic_id: str = CLINIC) -> int:
    answer: otp_pb2.GetFactorsEpochResponse = await otp.call(
        "GetFactorsEpoch", otp_pb2.GetFactorsEpochRequest(clinic_id=clinic_id)
    )
    return answer.epoch


async def shown(person: Person) -> Any:
    """The person's factors as identity is shown them, without what passes."""
    found = await person.factors()
    for field in PASSING - {"last_used_at"}:
        found.ClearField(field)
    for factor in found.factors:
        factor.ClearField("last_used_at")
    return found


async def confirm_totp(person: Person, **more: Any) -> None:
    offer = await person.start_totp()
    person.secret = offer.secret
    answer = await person.confirm(offer.enrolment_id, person.code(), **more)
    assert result(answer.verdict) == "accepted"
    person.backup_codes = list(answer.backup_codes.codes) or person.backup_codes


async def confirm_sms(person: Person, phone: str = PHONE) -> None:
    offer = await person.start_sms(phone)
    assert result((await person.confirm(offer.enrolment_id, person.otp.notifier.code_to(phone), "sms")).verdict) == (
        "accepted"
    )


async def prove_phone(person: Person) -> None:
    offer = await person.start_sms(purpose="phone_proof")
    code = person.otp.notifier.code_to(PHONE)
    answer = await person.confirm(offer.enrolment_id, code, "sms", purpose="phone_proof")
    assert result(answer.verdict) == "accepted"


async def hear_again(person: Person) -> None:
    """A confirmation whose answer was lost: told again, with fresh backup codes."""
    offer, login = await person.start_totp(), fresh("log")
    person.secret = offer.secret
    code = person.code()
    await person.confirm(offer.enrolment_id, code, login=login)
    before = await epoch_of(person.otp)
    person.otp.clock.advance(timedelta(seconds=6))
    assert (await person.confirm(offer.enrolment_id, code, login=login)).backup_codes.codes
    assert await epoch_of(person.otp) == before + 1


async def verify_sms(person: Person) -> None:
    login = fresh("log")
    await person.send_sms(login)
    assert await person.sees(person.otp.notifier.code_to(PHONE), "sms", login=login) == "accepted"


async def verify(person: Person, code: str, expected: str, method: str = "totp") -> None:
    assert await person.sees(code, method) == expected


async def spend_twice(person: Person) -> None:
    """A code that its own login sends again spends nothing more."""
    for _ in range(2):
        assert await person.sees(person.backup_codes[0], "backup_code", login="log_twice") == "accepted"


async def lock_and_reset(person: Person) -> None:
    await person.spend_budget()
    request = otp_pb2.ResetGuessBudgetRequest(user_id=person.user_id, clinic_id=CLINIC, cause="password_reset")
    await person.otp.call("ResetGuessBudget", request)


async def forget_number(person: Person) -> None:
    await person.otp.call("ForgetProvenNumber", otp_pb2.ForgetProvenNumberRequest(user_id=person.user_id))


# Call → the ways in which it is made, each with what it changes of what is shown: nothing (0) or something (1).
WAYS: dict[str, list[tuple[Step, int]]] = {
    "Verify": [
        (lambda person: verify(person, person.code(), "accepted"), 0),
        (lambda person: verify(person, person.wrong_code(), "wrong"), 0),
        (verify_sms, 0),
        (lambda person: verify(person, person.backup_codes[0], "accepted", "backup_code"), 1),
        (spend_twice, 1),
    ],
    "GetFactors": [(lambda person: person.factors(), 0)],
    "CountEnrolled": [(lambda person: count_enrolled(person.otp, person.user_id), 0)],
    "GetFactorsEpoch": [(lambda person: epoch_of(person.otp), 0)],
    "StartTotpEnrolment": [(lambda person: person.start_totp(), 0)],
    "GetTotpEnrolment": [],  # reads a row of another table, and needs one
    "StartSmsEnrolment": [(lambda person: person.start_sms(), 0)],
    "ConfirmEnrolment": [
        (confirm_totp, 1),
        (confirm_sms, 1),
        (lambda person: confirm_totp(person, allowed=("totp",)), 1),
        (lambda person: confirm_totp(person, replace_all=True), 1),
        (prove_phone, 0),
        (hear_again, 2),
    ],
    "SendSmsCode": [(lambda person: person.send_sms(fresh("log")), 0)],
    "GetSmsChallenge": [],  # reads a row of another table, and needs one
    "RegenerateBackupCodes": [(lambda person: person.regenerate(), 1)],
    "RemoveFactor": [(lambda person: person.remove("totp"), 1), (lambda person: person.remove("sms"), 1)],
    "SuspendFactors": [(suspend, 1)],
    "RemoveAllFactors": [(remove_all, 1)],
    "ResetGuessBudget": [(lock_and_reset, 0)],
    "ForgetProvenNumber": [(forget_number, 0)],
}


def test_every_call_of_the_contract_says_whether_it_changes_factors() -> None:
    assert WAYS.keys() == set(otp_pb2.DESCRIPTOR.services_by_name["Otp"].methods_by_name)


@pytest.mark.parametrize(
    ("step", "changes"),
    [pytest.param(*way, id=f"{name}-{n}") for name, ways in WAYS.items() for n, way in enumerate(ways)],
)
async def test_p09_what_changes_factors_counts_their_epoch_and_no_code_does(otp: Otp, step: Step, changes: int) -> None:
    person = await (await otp.user().enrol_totp()).enrol_sms()
    was, epoch = await shown(person), await epoch_of(otp)
    await step(person)
    assert await epoch_of(otp) == epoch + changes
    assert (await shown(person) != was) == (changes > 0)


async def test_an_epoch_is_of_one_clinic_and_0_where_nothing_ever_changed(otp: Otp) -> None:
    before = await epoch_of(otp)
    assert await epoch_of(otp, "cli_quiet") == 0
    await otp.user().enrol_totp()
    assert (await epoch_of(otp), await epoch_of(otp, "cli_quiet")) == (before + 1, 0)
    with pytest.raises(ServiceError) as refused:
        await epoch_of(otp, "")
    assert refused.value.code is ErrorCode.INVALID_REQUEST


async def test_what_is_rolled_back_counts_nothing_and_what_is_done_by_hand_counts(otp: Otp) -> None:
    person = await otp.user().enrol_totp()
    before = await epoch_of(otp)
    with otp.postgres.connect(otp.database_name) as connection:
        connection.autocommit = False
        connection.execute("UPDATE account SET suspended_at = now() WHERE user_id = %s", [person.user_id])
        connection.rollback()
    assert await epoch_of(otp) == before
    for statement in (
        "UPDATE account SET suspended_at = now() WHERE user_id = %s",
        "INSERT INTO account (user_id, clinic_id, totp_id, totp_secret) SELECT user_id || '_2', clinic_id, 't', 's'"
        " FROM account WHERE user_id = %s",
        "DELETE FROM account WHERE user_id = %s || '_2'",
    ):
        otp.sql(statement, [person.user_id])
        before += 1
        assert await epoch_of(otp) == before, statement


async def test_the_application_role_reads_it_and_can_neither_set_it_back_nor_forget_it(otp: Otp) -> None:
    url, password = otp.settings.database_url, otp.settings.database_password.get_secret_value()
    with psycopg.connect(url, password=password, autocommit=True) as connection:
        connection.execute("SELECT * FROM factors_epoch")
        for statement in (
            "UPDATE factors_epoch SET epoch = 1",
            "INSERT INTO factors_epoch VALUES ('cli_x', 1)",
            "DELETE FROM factors_epoch",
            "SELECT count_factors()",
            "DROP TRIGGER factors_changed ON account",
        ):
            with pytest.raises((psycopg.errors.InsufficientPrivilege, psycopg.errors.FeatureNotSupported)):
                connection.execute(statement)  # type: ignore[arg-type]


def test_every_column_of_an_account_is_counted_or_moves_with_every_code(otp_database: tuple[str, str]) -> None:
    url, password = otp_database
    with psycopg.connect(url, password=password) as connection:
        columns = connection.execute(
            "SELECT column_name FROM information_schema.columns WHERE table_name = 'account'"
        ).fetchall()
        found = connection.execute(
            "SELECT pg_get_triggerdef(oid) FROM pg_trigger WHERE tgname = 'factors_changed'"
        ).fetchone()
    assert found is not None
    by_codes = {"guesses", "locked_at", "totp_last_used_at", "totp_last_step", "totp_clock", "sms_last_used_at"}
    # What is sealed changes only with its id; whose an account is never changes.
    by_others = {"user_id", "clinic_id", "totp_secret", "sms_phone"}
    counted = set(re.findall(r"new\.(\w+)", found[0].lower()))
    assert {name for (name,) in columns} - counted == by_codes | by_others


async def test_a_whole_clinic_that_enrols_at_once_is_counted_one_by_one(otp: Otp) -> None:
    people = [otp.user() for _ in range(12)]
    for person in people:
        person.secret = (await person.start_totp()).secret
    offers = [await person.start_totp() for person in people]
    before = await epoch_of(otp)
    answers = await asyncio.gather(
        *(person.confirm(offer.enrolment_id, person.code()) for person, offer in zip(people, offers, strict=True))
    )
    assert {result(answer.verdict) for answer in answers} == {"accepted"}
    assert await epoch_of(otp) == before + len(people)
