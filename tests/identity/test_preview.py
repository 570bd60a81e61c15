"""The preview equals what then happens (R17): over generated clinics, everybody's next request or next sign-in meets,
after the change, exactly the state that the preview named before it."""

import hashlib
import random
import secrets
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import psycopg
import pytest

from deploy.embedded import EmbeddedPostgres
from services.identity.model import BypassId, ClinicId, UserId
from services.identity.peers.policy_bypass import PolicyBypassPeer
from services.identity.peers.policy_settings import PolicySettingsPeer
from services.identity.policy_words import Actor, HoldTerms, Requirement, RequirementChange
from tests.identity.people import Json, Person, SomeClinic, Stack, slug_of

RULE = "/v1/clinic/security"
OPERATOR = Actor("operator")
STATES = {"second-factor-required": "second_factor_required", "enrolment-required": "enrolment_required"}


@dataclass
class Worker:
    """A generated person, with the tokens of their sessions."""

    person: Person
    tokens: list[str]
    is_disabled: bool


class Generated:
    """A clinic with people of every kind that a decision can tell apart."""

    def __init__(self, clinic: SomeClinic, otp_database: psycopg.Connection, seed: int) -> None:
        self.clinic = clinic
        self.own = clinic.stack.postgres.connect(clinic.stack.database_name)
        self.own.autocommit = True
        self.stack = clinic.stack
        self.otp = otp_database
        self.chance = random.Random(seed)
        self.workers: list[Worker] = []
        connection = self.stack.gateway.policy.connection
        self.settings, self.bypasses = PolicySettingsPeer(connection), PolicyBypassPeer(connection)

    async def fill(self, people: int) -> None:
        chance, clinic_id = self.chance, ClinicId(self.clinic.id)
        first = await self.clinic.person()
        (row,) = self.stack.sql("SELECT password_hash FROM app_user WHERE id = %s", [first.id])
        rule = {
            "require_two_factor": chance.random() < 0.4,
            "methods": tuple(chance.choice([["totp"], ["sms"], ["totp", "sms"]])),
            "phone_required": chance.random() < 0.5,
            "remember_device_days": chance.choice([0, 30]),
        }
        await self.clinic.require(**rule)
        if chance.random() < 0.6:
            terms = HoldTerms("ledger", chance.random() < 0.5, chance.choice([None, 0, 48]))
            await self.settings.put_hold(clinic_id, terms, OPERATOR)
        for number in range(people):
            person = Person(self.clinic, f"{self.clinic.id}_{number}", f"p{number}@harbour.example")
            has_phone, is_disabled = chance.random() < 0.6, chance.random() < 0.05
            self.own.execute(
                "INSERT INTO app_user (id, clinic_id, email, email_key, name, role, phone, password_hash, created_at,"
                " disabled_at) VALUES (%s, %s, %s, %s, 'Ada', 'practitioner', %s, %s, %s, %s)",
                [
                    *(person.id, self.clinic.id, person.email, person.email, None),
                    *(row["password_hash"], self.stack.clock.now(), self.stack.clock.now() if is_disabled else None),
                ],
            )
            if has_phone:
                sealed = self.stack.sealed(person.id, "+447700900123")
                self.own.execute("UPDATE app_user SET phone = %s WHERE id = %s", [sealed, person.id])
            self._factors(person.id)
            if chance.random() < 0.4:
                await self._setting(person.id)
            if chance.random() < 0.2 and not is_disabled:
                await self.bypasses.grant(
                    clinic_id,
                    UserId(person.id),
                    OPERATOR,
                    "lost",
                    expires_in_minutes=chance.choice([1, 60]),
                    suspend_factors=False,
                )
            if chance.random() < 0.5:  # got in since, and policy was away
                self._session(person.id, "over")
            tokens = [self._session(person.id) for _ in range(chance.choice([0, 1, 1, 2]))]
            self.workers.append(Worker(person, tokens, is_disabled))

    def _factors(self, user_id: str) -> None:
        held = self.chance.choice(["", "", "totp", "sms", "both"])
        if not held:
            return
        now = self.stack.clock.now()
        totp = ("t", b"sealed", now) if held in ("totp", "both") else (None, None, None)
        sms = ("s", b"sealed", "+44 ••••23", now) if held in ("sms", "both") else (None, None, None, None)
        suspended = now if self.chance.random() < 0.1 else None
        self.otp.execute(
            "INSERT INTO account (user_id, clinic_id, totp_id, totp_secret, totp_enrolled_at, sms_id, sms_phone,"
            " sms_phone_hint, sms_enrolled_at, suspended_at) VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s)",
            [user_id, self.clinic.id, *totp, *sms, suspended],
        )

    async def _setting(self, user_id: str) -> None:
        chance, now = self.chance, self.stack.clock.now()
        requirement = chance.choice(list(Requirement))
        ends = now + timedelta(seconds=chance.choice([1, 3600])) if requirement is Requirement.EXEMPT else None
        change = RequirementChange(
            requirement=requirement,
            reason="because",
            sets_expiry=ends is not None and chance.random() < 0.5,
            expires_at=ends,
            phone_required=chance.choice([None, False]),
        )
        await self.settings.set_requirement(
            ClinicId(self.clinic.id),
            UserId(user_id),
            change,
            OPERATOR,
            is_administrator=False,
            other_administrators=[],
        )

    def _session(self, user_id: str, kind: str = "") -> str:
        """As a session may stand: it has proven a factor, or none, in a remembered browser, or never was active."""
        chance, now, token = self.chance, self.stack.clock.now(), secrets.token_urlsafe(32)
        kind = kind or chance.choice(["proven", "plain", "plain", "remembered", "waiting", "led", "bypassed"])
        proven, waits = kind in ("proven", "led", "over"), kind in ("waiting", "bypassed")
        self.own.execute(
            "INSERT INTO session (id, user_id, clinic_id, token_digest, authenticated_at, verified_at, proven_by,"
            " enrol_after_proof, waiting_until, last_seen_at, idle_minutes, expires_at, bypass_id, remembered_at,"
            " ended_at, end_cause) VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, 30, %s, %s, %s, %s, %s)",
            [
                *(f"ses_{secrets.token_hex(8)}", user_id, self.clinic.id, hashlib.sha256(token.encode()).digest(), now),
                *(now if proven else None, "totp" if proven else None, kind == "led"),
                *(now + timedelta(minutes=5) if waits else None, now, now + timedelta(hours=12)),
                BypassId("byp_old") if kind == "bypassed" else None,
                now - timedelta(days=chance.choice([0, 1, 29])) if kind == "remembered" else None,
                *((now, "ended") if kind == "over" else (None, None)),
            ],
        )
        return token

    def would_be(self) -> Json:
        chance = self.chance
        if chance.random() < 0.3:
            name = chance.choice(["ledger", "payroll"])
            return {"hold": name, "requires_two_factor": chance.random() < 0.5, "max_device_trust_hours": 24}
        change = {
            "require_two_factor": chance.random() < 0.7,
            "methods": chance.choice([["totp"], ["sms"], ["totp", "sms"]]),
            "phone_required": chance.random() < 0.5,
            "remember_device_days": chance.choice([0, 10]),
        }
        return {name: change[name] for name in chance.sample(list(change), chance.randint(1, 3))}

    async def met(self, worker: Worker) -> str:
        """The strictest state that their next requests meet, or the one that a sign-in opens."""
        if not worker.tokens:
            return str((await worker.person.sign_in())["state"])
        states = set()
        for token in worker.tokens:
            response = await self.stack.call("GET", "/v1/me/sessions", token=token)
            states.add("active" if response.status_code == 200 else STATES[slug_of(response)])
        return next(one for one in ("second_factor_required", "enrolment_required", "active") if one in states)


@pytest.fixture
def otp_database(
    postgres: EmbeddedPostgres, identity_databases: dict[str, tuple[str, str]]
) -> Iterator[psycopg.Connection]:
    name = str(psycopg.conninfo.conninfo_to_dict(identity_databases["otp"][0])["dbname"])
    with postgres.connect(name) as connection:
        connection.autocommit = True
        yield connection


async def check(stack: Stack, otp_database: psycopg.Connection, seed: int, people: int) -> Counter[str]:
    """Generates a clinic, previews a change, makes it, and asks everybody; answers what the preview counted."""
    generated = Generated(await stack.make_clinic(), otp_database, seed)
    await generated.fill(people)
    generated.own.close()
    stack.clock.advance(timedelta(seconds=2))  # some exemptions are over by now
    admin = await generated.clinic.person("admin")
    await admin.sign_in()
    stack.sql(
        "UPDATE session SET verified_at = %s, proven_by = 'totp', waiting_until = NULL WHERE user_id = %s",
        [stack.clock.now(), admin.id],
    )
    otp_database.execute(
        "INSERT INTO account (user_id, clinic_id, totp_id, totp_secret, totp_enrolled_at)"
        " VALUES (%s, %s, 't', 's', %s)",
        [admin.id, generated.clinic.id, stack.clock.now()],
    )
    would_be = generated.would_be()
    response = await admin.call("POST", f"{RULE}/preview", would_be)
    if "hold" in would_be:
        terms = {name: would_be[name] for name in ("requires_two_factor", "max_device_trust_hours")}
        made = await admin.call("PUT", f"/v1/clinic/integrations/{would_be['hold']}", terms)
    else:
        made = await admin.call("PATCH", RULE, would_be)
    assert (response.status_code, made.status_code) in ((200, 200), (409, 409)), (seed, response.text, made.text)
    if response.status_code == 409:
        return Counter(refused=1)
    previewed = {one["user"]["id"]: one for one in response.json()["users"]}
    workers = [worker for worker in generated.workers if not worker.is_disabled]
    assert previewed.keys() >= {worker.person.id for worker in generated.workers}
    for worker in workers:
        one = previewed[worker.person.id]
        met = await generated.met(worker)
        assert met == one["then"], (seed, would_be, worker, one)
        assert one["signed_in"] == bool(worker.tokens)
    listed = [one for one in previewed.values() if not one["disabled"]]
    stopped = [one for one in listed if (one["now"] == "active") and one["then"] != "active"]
    totals = response.json()["totals"]
    assert totals == {
        "stopped_now": sum(one["signed_in"] for one in stopped),
        "stopped_at_sign_in": sum(not one["signed_in"] for one in stopped),
        "no_factor": sum(not one["enrolled"] for one in listed),
        "no_phone": sum(not one["has_phone"] for one in listed),
        "exempt": sum(one["exempt"] for one in listed),
        "unaffected": sum(one["now"] == one["then"] for one in listed),
    }
    return Counter(totals)


async def test_r17_the_preview_equals_what_then_happens(stack: Stack, otp_database: psycopg.Connection) -> None:
    counted: Counter[str] = Counter()
    for seed in range(6):
        counted += await check(stack, otp_database, seed, 16)
    assert all(counted[name] for name in ("stopped_now", "stopped_at_sign_in", "exempt", "unaffected")), counted


@pytest.mark.full
@pytest.mark.timeout(1800)
async def test_r17_the_preview_equals_what_then_happens_in_a_hundred_clinics(
    stack: Stack, otp_database: psycopg.Connection
) -> None:
    sizes = random.Random(100)
    for seed in range(1000, 1100):
        await check(stack, otp_database, seed, sizes.randint(1, 200))


async def test_a_preview_changes_nothing(clinic: SomeClinic, person: Person) -> None:
    admin = await clinic.person("admin")
    await admin.sign_in()
    await person.sign_in()
    before = (await admin.call("GET", RULE)).json()
    for would_be in ({"require_two_factor": True}, {"hold": "ledger"}, {}):
        previewed = await admin.call("POST", f"{RULE}/preview", would_be)
        assert previewed.status_code == 200
        one = next(one for one in previewed.json()["users"] if one["user"]["id"] == person.id)
        assert (one["now"], one["then"]) == ("active", "enrolment_required" if would_be else "active")
    assert (await admin.call("GET", RULE)).json() == before
    assert (await admin.call("GET", "/v1/clinic/integrations")).json() == {"integrations": []}
    assert await person.state() == "active"


async def test_a_hold_is_previewed_beside_the_one_that_stands(admin: Person, person: Person) -> None:
    await person.sign_in()
    stands = await admin.call("PUT", "/v1/clinic/integrations/ledger", {"requires_two_factor": True})
    assert stands.status_code == 200, stands.text
    milder = {"hold": "payroll", "requires_two_factor": False, "max_device_trust_hours": 24}
    previewed = (await admin.call("POST", f"{RULE}/preview", milder)).json()
    one = next(one for one in previewed["users"] if one["user"]["id"] == person.id)
    assert (one["now"], one["then"]) == ("enrolment_required", "enrolment_required")


async def test_a_scheduled_change_is_previewed_as_of_its_date(clinic: SomeClinic, person: Person) -> None:
    admin = await clinic.person("admin")
    await admin.sign_in()
    await person.sign_in()
    date = (clinic.stack.clock.now() + timedelta(days=1)).isoformat()
    previewed = (await admin.call("POST", f"{RULE}/preview", {"enforce_from": date})).json()
    one = next(one for one in previewed["users"] if one["user"]["id"] == person.id)
    assert (one["now"], one["then"]) == ("active", "enrolment_required")


@pytest.mark.parametrize(
    "body",
    [
        {"hold": "Ledger"},
        {"hold": "ledger", "require_two_factor": True},
        {"requires_two_factor": True},
        {"max_device_trust_hours": 1},
        {"hold": "ledger", "max_device_trust_hours": 2161},
        {"idle_minutes": 4},
        {"enforce_from": "2020-01-01T00:00:00Z"},
        {"version": 1},
    ],
    ids=repr,
)
async def test_a_preview_of_what_makes_no_sense_is_refused(clinic: SomeClinic, body: dict[str, Any]) -> None:
    admin = await clinic.person("admin")
    await admin.sign_in()
    refused = await admin.call("POST", f"{RULE}/preview", body)
    assert (refused.status_code, slug_of(refused)) == (422, "invalid-request")
