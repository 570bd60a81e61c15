"""The operator's commands, as processes of their own beside the running services."""

import asyncio
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.identity.people import PASSWORD, Person, SomeClinic, Stack, slug_of

ROOT = Path(__file__).parent.parent.parent


async def run(stack: Stack, *arguments: str) -> subprocess.CompletedProcess[str]:
    settings = stack.settings
    named = {
        "TLS_DIR": str(settings.tls_dir),
        "DATABASE_URL": settings.database_url,
        "DATABASE_PASSWORD": settings.database_password.get_secret_value(),
        "SEALER_DATABASE_URL": settings.sealer_database_url,
        "SEALER_DATABASE_PASSWORD": settings.sealer_database_password.get_secret_value(),
        "OTP_TARGET": settings.otp_target,
        "POLICY_TARGET": settings.policy_target,
        "NOTIFIER_TARGET": settings.notifier_target,
        "REDIS_URL": settings.redis_url,
        "REDIS_PASSWORD": settings.redis_password.get_secret_value(),
        "LIMITS_PEPPER": settings.limits_pepper.get_secret_value(),
        "PASSWORD_PEPPER": settings.password_pepper.get_secret_value(),
        "CSRF_KEY": settings.csrf_key.get_secret_value(),
        "KEYRING_FILE": str(settings.keyring_file),
        "PUBLIC_URL": settings.public_url,
    }
    environment = {f"IDENTITY_{name}": value for name, value in named.items()}
    environment |= {"PATH": os.environ["PATH"], "PYTHONPATH": f"{ROOT}:{ROOT / 'proto' / 'gen'}"}
    command = [sys.executable, "-m", "services.identity", *arguments]
    return await asyncio.to_thread(
        subprocess.run, command, env=environment, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False
    )


def clinic_options(**changes: str) -> list[str]:
    options = {
        "slug": "quay",
        "name": "Quay Clinic",
        "timezone": "Europe/London",
        "country": "GB",
        "admin-email": "ada@quay.example",
        "admin-name": "Ada Admin",
        **{name.replace("_", "-"): value for name, value in changes.items()},
    }
    return [part for name, value in options.items() for part in (f"--{name}", value)]


def answer_of(done: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    assert done.returncode == 0, done.stderr
    (line,) = done.stdout.splitlines()
    answer: dict[str, Any] = json.loads(line)
    return answer


async def test_a_clinic_is_made_with_an_administrator_who_can_take_it_over(stack: Stack) -> None:
    answer = answer_of(await run(stack, "create-clinic", *clinic_options(slug="quay-one")))
    assert answer.keys() >= {"clinic_id", "user_id", "activation_url", "activation_token"}
    assert answer["activation_url"] == f"{stack.settings.public_url}/activate/{answer['activation_token']}"
    used = await stack.call("POST", f"/v1/activations/{answer['activation_token']}", {"password": PASSWORD})
    assert used.status_code == 204
    ada = Person(SomeClinic(stack, answer["clinic_id"], "quay-one"), answer["user_id"], "ada@quay.example")
    assert (await ada.sign_in())["user"]["role"] == "admin"
    rule = (await ada.call("GET", "/v1/clinic/security")).json()
    assert (rule["require_two_factor"], rule["methods"], rule["sms_countries"]) == (False, ["totp", "sms"], ["GB"])
    (row,) = stack.sql(
        "SELECT actor_kind, kind FROM audit_event WHERE clinic_id = %s ORDER BY seq LIMIT 1", [ada.clinic.id]
    )
    assert row == {"actor_kind": "operator", "kind": "clinic.created"}

    again = await run(stack, "create-clinic", *clinic_options(slug="Quay-One"))
    assert (again.returncode, again.stdout) == (1, "")
    assert "'quay-one' already" in again.stderr


async def test_a_clinic_offers_what_the_installation_can_do(stack: Stack) -> None:
    stack.notifier.can_send_sms = False
    answer = answer_of(await run(stack, "create-clinic", *clinic_options(slug="quay-two")))
    (row,) = [await stack.gateway.policy.rule(answer["clinic_id"])]
    assert [method.value for method in row.methods] == ["totp"]


async def test_a_clinic_that_makes_no_sense_is_refused_in_sentences(stack: Stack) -> None:
    wrong = {"slug": "-quay", "name": " ", "timezone": "Europe/Atlantis", "country": "Britain", "admin_email": "ada"}
    done = await run(stack, "create-clinic", *clinic_options(**wrong, admin_name="A\nda"))
    assert (done.returncode, done.stdout) == (1, "")
    for word in ("slug", "clinic's name", "time zone", "country", "e-mail", "administrator's name"):
        assert word in done.stderr
    assert "Traceback" not in done.stderr
    assert stack.sql("SELECT 1 FROM clinic WHERE country = 'Britain'") == []


async def test_a_clinic_is_not_made_by_halves(stack: Stack) -> None:
    await stack.stop_policy()
    done = await run(stack, "create-clinic", *clinic_options(slug="quay-three"))
    assert done.returncode == 1
    assert "policy" in done.stderr
    assert stack.sql("SELECT 1 FROM clinic WHERE slug = 'quay-three'") == []


async def test_the_operator_offers_a_new_password(person: Person) -> None:
    stack, slug = person.stack, person.clinic.slug
    answer = answer_of(await run(stack, "reset-password", "--clinic", slug, "--email", person.email.upper()))
    assert answer["user_id"] == person.id
    await stack.call("POST", f"/v1/activations/{answer['activation_token']}", {"password": "quiet amber ladder 7"})
    assert slug_of(await person.try_sign_in()) == "invalid-credentials"
    await person.sign_in(password="quiet amber ladder 7")
    rows = stack.sql(
        "SELECT actor_kind FROM audit_event WHERE subject_id = %s AND kind = 'password.reset_offered'", [person.id]
    )
    assert [row["actor_kind"] for row in rows] == ["operator"]
    for options in (
        ("--clinic", slug, "--email", "nobody@quay.example"),
        ("--clinic", "nowhere", "--email", "a@b.example"),
    ):
        done = await run(stack, "reset-password", *options)
        assert (done.returncode, done.stdout) == (1, "")
        assert done.stderr.startswith("There is no")


async def test_the_operator_gives_a_role_but_leaves_an_administrator(clinic: SomeClinic) -> None:
    stack, admin, person = clinic.stack, await clinic.person("admin"), await clinic.person()
    refused = await run(stack, "set-role", "--clinic", clinic.slug, "--email", admin.email, "--role", "practitioner")
    assert refused.returncode == 1
    assert "only administrator" in refused.stderr
    done = await run(stack, "set-role", "--clinic", clinic.slug, "--email", person.email, "--role", "admin")
    assert answer_of(done) == {"user_id": person.id, "role": "admin"}
    await person.sign_in()
    assert (await person.call("GET", "/v1/users")).status_code == 200
    done = await run(stack, "set-role", "--clinic", clinic.slug, "--email", admin.email, "--role", "practitioner")
    assert done.returncode == 0
    done = await run(stack, "set-role", "--clinic", clinic.slug, "--email", admin.email, "--role", "owner")
    assert done.returncode == 2
