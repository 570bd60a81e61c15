"""People of another system: the operator's command, beside the running services."""

import asyncio
import dataclasses
import json
import os
import stat
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import bcrypt
import pytest
import typer

from services.common.errors import ServiceError
from services.common.import_report import Outcome, Result, lines_of
from services.common.sealing import Keyring
from services.identity.imported_hashes import ImportedHashes
from services.identity.store.clinics import ClinicStore
from services.identity.store.imports import ImportStore
from services.identity.user_import import UserImport
from tests.identity.people import PASSWORD, Person, SomeClinic, slug_of
from tests.identity.test_commands import run

Line = dict[str, Any]


def bcrypt_of(password: str) -> str:
    return bcrypt.hashpw(password.encode(), bcrypt.gensalt(8)).decode()


def someone(name: str, **more: Any) -> Line:
    return {"email": f"{name}@harbour.example", "name": name.title(), "role": "practitioner", **more}


def file_of(folder: Path, lines: Sequence[Line | str | bytes]) -> Path:
    file = folder / "people.jsonl"
    texts = (line if isinstance(line, (bytes, str)) else json.dumps(line) for line in lines)
    file.write_bytes(b"\n".join(text if isinstance(text, bytes) else text.encode() for text in texts) + b"\n")
    return file


async def imported(
    clinic: SomeClinic, folder: Path, lines: Sequence[Line | str | bytes], *, is_applied: bool = True
) -> list[Result]:
    """What becomes of each line, as the command is told."""
    gateway = clinic.stack.gateway
    store = ImportStore(gateway.database, gateway.phone_numbers)
    pepper = gateway.settings.password_pepper.get_secret_value().encode()
    importing = UserImport(store, ClinicStore(gateway.database), ImportedHashes(pepper), clinic.stack.clock, "")
    into = await importing.clinic(clinic.slug)
    return [
        result async for result in importing.run(into, lines_of(str(file_of(folder, lines))), is_applied=is_applied)
    ]


async def command(clinic: SomeClinic, *options: str) -> tuple[list[Line], Line, int]:
    """What the command prints for each line, the counts, and how it ended."""
    done = await run(clinic.stack, "import-users", "--clinic", clinic.slug, *options)
    assert "Traceback" not in done.stderr, done.stderr
    *told, counts = [json.loads(line) for line in done.stdout.splitlines()]
    return told, counts, done.returncode


def person_of(clinic: SomeClinic, email: str) -> Person:
    (row,) = clinic.stack.sql("SELECT id FROM app_user WHERE clinic_id = %s AND email_key = %s", [clinic.id, email])
    return Person(clinic, row["id"], email)


async def test_people_come_with_their_passwords_once_and_a_dry_run_makes_nobody(
    clinic: SomeClinic, tmp_path: Path
) -> None:
    stack = clinic.stack
    there = await clinic.person()
    old = bcrypt_of(PASSWORD)
    lines: list[Line | str | bytes] = [
        someone("Mina", phone="020 7946 0123", password_hash=old, locale="de"),
        "",
        someone("ada", role="admin", phone=None),
        {**someone("someone else"), "email": there.email.upper()},
        {**someone("Mina"), "email": "MINA@Harbour.example", "password_hash": bcrypt_of("another")},
    ]
    dry = await imported(clinic, tmp_path, lines, is_applied=False)
    outcomes = [(1, "would be made"), (3, "would be made"), (4, "already there"), (5, "already there")]
    assert [(one.line, one.outcome.value) for one in dry] == outcomes
    assert [one.reason for one in dry] == ["", "", "", "twice in this file (line 1)"]
    assert len(stack.sql("SELECT 1 FROM app_user WHERE clinic_id = %s", [clinic.id])) == 1
    done = await imported(clinic, tmp_path, lines)
    assert [one.outcome.value for one in done] == ["made", "made", "already there", "already there"]
    assert [one.reason for one in done] == [one.reason for one in dry]
    again = await imported(clinic, tmp_path, lines)
    assert {one.outcome for one in again} == {Outcome.THERE}

    mina = person_of(clinic, "mina@harbour.example")
    (row,) = stack.sql("SELECT * FROM app_user WHERE id = %s", [mina.id])
    assert (row["locale"], row["phone_proven"], row["email"]) == ("de", False, "Mina@harbour.example")
    assert old[-31:] not in row["password_hash"]
    assert slug_of(await mina.try_sign_in(password=PASSWORD + "!")) == "invalid-credentials"
    assert stack.sql("SELECT password_hash FROM app_user WHERE id = %s", [mina.id])[0]["password_hash"].startswith(
        "imported:"
    )
    await mina.sign_in()
    assert (await mina.call("GET", "/v1/me")).json()["phone"] == "+442079460123"
    (after,) = stack.sql("SELECT password_hash FROM app_user WHERE id = %s", [mina.id])
    assert after["password_hash"].startswith("$argon2id$")
    await mina.sign_in()
    events = stack.sql(
        "SELECT actor_kind, kind, detail FROM audit_event WHERE clinic_id = %s AND kind = 'user.imported' ORDER BY seq",
        [clinic.id],
    )
    assert [(event["actor_kind"], event["detail"]) for event in events] == [
        ("operator", {"role": "practitioner", "with_password": True}),
        ("operator", {"role": "admin", "with_password": False}),
    ]


async def test_a_bad_line_is_refused_with_its_reason_and_stops_no_other(clinic: SomeClinic, tmp_path: Path) -> None:
    bad: list[tuple[Line | str | bytes, str]] = [
        ("{", "no line with a JSON object"),
        ("[1]", "no line with a JSON object"),
        ("[" * 60_000, "no line with a JSON object"),
        (b'{"email": "\xff"}', "no line with a JSON object"),
        ('{"email": "' + "a" * 70_000 + '"}', "no line with a JSON object"),
        ({"email": "x@harbour.example"}, "There is no name and no role."),
        (someone("x", salary=7), "fields other than"),
        (someone("x", phone=7), "Every field is a text."),
        ('{"email": "x@harbour.example", "name": "\\ud800", "role": "admin"}', "Every field is a text."),
        ({**someone("x"), "email": "x"}, "not an e-mail address"),
        ({**someone("x"), "name": " "}, "The name has"),
        (someone("x", role="owner"), "The role is one of admin"),
        (someone("x", phone="12"), "not a telephone number"),
        (someone("x", locale="klingon!"), "The locale"),
        (someone("x", password_hash="5f4dcc3b5aa765d61d8327deb882cf99"), "no known form"),
        (someone("x", password_hash=bcrypt_of("x").replace("$08$", "$31$")), "bcrypt's cost"),
    ]
    *told, last = await imported(clinic, tmp_path, [*(line for line, _ in bad), someone("last")])
    assert last == Result(len(bad) + 1, Outcome.MADE, "last@harbour.example")
    for one, (line, reason) in zip(told, bad, strict=True):
        assert one.outcome is Outcome.REFUSED
        assert reason in one.reason, line
        assert "5f4dcc3b" not in one.reason + one.email


async def test_the_command_invites_who_comes_without_a_password_by_a_file_for_the_operator_alone(
    clinic: SomeClinic, tmp_path: Path
) -> None:
    links = tmp_path / "links.jsonl"
    file = file_of(tmp_path, [someone("without"), someone("with", password_hash=bcrypt_of(PASSWORD)), "?"])
    told, counts, code = await command(clinic, str(file), "--invitations", str(links))
    assert [one["result"] for one in told] == ["would be made", "would be made", "refused"]
    assert (counts, code) == ({"applied": False, "would_be_made": 2, "there": 0, "refused": 1}, 1)
    assert not links.exists(), "a dry run invites nobody"
    told, counts, code = await command(clinic, str(file), "--apply", "--invitations", str(links))
    assert told[0] == {"line": 1, "email": "without@harbour.example", "result": "made"}
    assert (counts, code) == ({"applied": True, "made": 2, "there": 0, "refused": 1}, 1)
    assert stat.S_IMODE(links.stat().st_mode) == 0o600
    (invitation,) = [json.loads(line) for line in links.read_text().splitlines()]
    assert invitation["email"] == "without@harbour.example"
    token = invitation["activation_url"].rpartition("/")[2]
    assert token not in json.dumps(told)
    used = await clinic.stack.call("POST", f"/v1/activations/{token}", {"password": PASSWORD})
    assert used.status_code == 204, used.text
    await person_of(clinic, "without@harbour.example").sign_in()
    await imported(clinic, tmp_path, [someone("nobody")])
    nobody = person_of(clinic, "nobody@harbour.example")
    assert clinic.stack.sql("SELECT 1 FROM activation WHERE user_id = %s", [nobody.id]) == []


async def test_what_is_not_there_or_is_there_already_is_a_sentence(
    clinic: SomeClinic, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    links = tmp_path / "links"
    links.touch()
    options = ["--clinic", clinic.slug, "--apply", "--invitations", str(links)]
    done = await run(clinic.stack, "import-users", "/dev/null", *options)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == f"{links} cannot be made (File exists).\n"
    with pytest.raises(typer.Exit):
        list(lines_of(str(tmp_path / "none")))
    assert "cannot be read" in capsys.readouterr().err
    with pytest.raises(ServiceError, match="There is no clinic"):
        await imported(SomeClinic(clinic.stack, "cli_nowhere", "nowhere"), tmp_path, [someone("mina")])


async def test_f16_a_keyring_of_another_database_is_said_in_a_sentence(clinic: SomeClinic, tmp_path: Path) -> None:
    stack, wrong = clinic.stack, tmp_path / "another.json"
    wrong.write_bytes(Keyring(1, {1: os.urandom(32)}).as_file())
    lame = dataclasses.replace(stack, settings=stack.settings.model_copy(update={"keyring_file": wrong}))
    for command in (["import-users", "/dev/null", "--clinic", clinic.slug], ["keys"]):
        done = await run(lame, *command)
        assert (done.returncode, done.stdout) == (1, ""), done.stderr
        assert "this is not the keyring of this service's database" in done.stderr.splitlines()[-1]


@pytest.mark.parametrize("count", [1_000, pytest.param(10_000, marks=pytest.mark.full)])
async def test_many_people_come_in_batches(clinic: SomeClinic, tmp_path: Path, count: int) -> None:
    old = bcrypt_of(PASSWORD)
    people = [someone(f"p{number}", password_hash=old, phone="+447700900123") for number in range(count)]
    made = await imported(clinic, tmp_path, people)
    assert [one.line for one in made] == list(range(1, count + 1))
    assert {one.outcome for one in made} == {Outcome.MADE}
    assert {one.outcome for one in await imported(clinic, tmp_path, people)} == {Outcome.THERE}
    (events,) = clinic.stack.sql(
        "SELECT count(*) AS n FROM audit_event WHERE clinic_id = %s AND kind = 'user.imported'", [clinic.id]
    )
    assert events["n"] == count


async def test_first_sign_ins_at_once_all_get_in_whichever_of_them_writes_the_new_hash(
    clinic: SomeClinic, tmp_path: Path
) -> None:
    """A double click: all compare with the old hash, one replaces it, and none is told that the password is wrong."""
    await imported(clinic, tmp_path, [someone("Mina", password_hash=bcrypt_of(PASSWORD))])
    mina = person_of(clinic, "mina@harbour.example")
    answers = await asyncio.gather(*(mina.try_sign_in() for _ in range(4)))
    assert [answer.status_code for answer in answers] == [201] * 4
