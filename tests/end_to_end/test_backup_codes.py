"""Backup codes: ten, each once, shown once, read however they were typed."""

import re

from tests.end_to_end.client import Client, ok, problem
from tests.end_to_end.clinics import Clinic


def remaining(client: Client) -> int:
    return int(ok(client.get("/v1/me/two-factor"))["backup_codes"]["remaining"])


def test_p03_a_backup_code_signs_in_once(shared: Clinic) -> None:
    person, _ = shared.enrolled()
    code = person.backup_codes[0]
    client = shared.client()
    client.sign_in(person)
    session = ok(client.factor("backup_code", code))
    assert session["state"] == "active"
    assert session["backup_codes_remaining"] == 9
    client.token = session["token"]
    assert remaining(client) == 9
    client.sign_in(person)
    problem(client.factor("backup_code", code), 422, "code-already-used")
    problem(client.factor("totp", person.app.wrong_code()), 422, "invalid-code", attempts_left=4)


def test_a_backup_code_is_read_however_it_was_typed(shared: Clinic) -> None:
    person, _ = shared.enrolled()
    assert all(re.fullmatch(r"([0-9A-HJKMNP-TV-Z]{4}-){3}[0-9A-HJKMNP-TV-Z]{4}", code) for code in person.backup_codes)
    assert len({code[0] for code in person.backup_codes}) == 10, "the first character is the slot"
    typed = [
        lambda code: code.lower(),
        lambda code: code.replace("-", ""),
        lambda code: f"  {code.replace('-', ' ')} ",
        lambda code: code.replace("0", "O").replace("1", "l"),
    ]
    for alter, code in zip(typed, person.backup_codes, strict=False):
        client = shared.client()
        client.sign_in(person)
        ok(client.factor("backup_code", alter(code)))


def test_a_wrong_backup_code_counts_in_the_one_budget(shared: Clinic) -> None:
    person, _ = shared.enrolled()
    client = shared.client()
    client.sign_in(person)
    code = person.backup_codes[0]
    wrong = code[:-4] + ("2222" if code[-4:] != "2222" else "3333")
    problem(client.factor("backup_code", wrong), 422, "invalid-code", attempts_left=4)
    problem(client.factor("totp", person.app.wrong_code()), 422, "invalid-code", attempts_left=3)
    for malformed in ("", "ABCD", code + "A", code[:-1] + "U", "1234-5678-90", None, [code]):
        problem(client.factor("backup_code", malformed), 422, "invalid-request")
    problem(client.factor("backup_code", wrong), 422, "invalid-code", attempts_left=2)
    assert ok(client.factor("backup_code", code))["state"] == "active"


def test_new_codes_kill_the_old(shared: Clinic) -> None:
    person, client = shared.enrolled()
    made = ok(client.post("/v1/me/two-factor/backup-codes"), 201)
    assert len(made["codes"]) == 10
    assert not set(made["codes"]) & set(person.backup_codes)
    assert made["generated_at"] == ok(client.get("/v1/me/two-factor"))["backup_codes"]["generated_at"]
    other = shared.client()
    other.sign_in(person)
    problem(other.factor("backup_code", person.backup_codes[0]), 422, "invalid-code")
    assert ok(other.factor("backup_code", made["codes"][0]))["backup_codes_remaining"] == 9


def test_another_persons_code_opens_nothing(shared: Clinic) -> None:
    one, _ = shared.enrolled()
    other, _ = shared.enrolled()
    client = shared.client()
    client.sign_in(one)
    problem(client.factor("backup_code", other.backup_codes[0]), 422, "invalid-code")
    # It is still its owner's to use.
    client.sign_in(other)
    ok(client.factor("backup_code", other.backup_codes[0]))


def test_without_a_factor_there_are_no_codes_to_make(shared: Clinic) -> None:
    _, client = shared.member()
    problem(client.post("/v1/me/two-factor/backup-codes"), 409, "conflict")


def test_the_codes_are_shown_once(shared: Clinic) -> None:
    person, client = shared.enrolled()
    shown = ok(client.get("/v1/me/two-factor"))
    assert not any(code in str(shown) for code in person.backup_codes)
