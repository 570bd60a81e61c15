"""Promises with their numbers: live sessions stopped by a rule on two replicas, sign-ins while policy hangs, and a
whole clinic that enrols at once behind one address. A tenth where the number is over a thousand; whole in
`make test-full`."""

import asyncio
import itertools
import random
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import httpx
import pytest
from psycopg.conninfo import conninfo_to_dict

from deploy.embedded import EmbeddedPostgres
from services.common.clock import SystemClock
from services.identity.model import Client, ClinicId, Role, SessionState, User, UserId
from services.identity.peers import policy as policy_peer
from services.identity.sessions import new_token, opened
from services.otp import backup_codes
from tests.identity.people import Person, SomeClinic, Stack, slug_of
from tests.identity.test_serving import Served, serving

AT_ONCE = 2.0
"""Seconds within which a change of the rule meets every session at its next request (P9)."""


def make_sessions(clinic: SomeClinic, count: int) -> list[str]:
    """Tokens of live sessions, one each of so many people, as a password alone has opened them just now."""
    now, tokens = SystemClock().now(), []
    people, sessions = [], []
    for number in range(count):
        user_id, token = f"usr_{clinic.id}_{number}", new_token()
        user = User(
            UserId(user_id), ClinicId(clinic.id), "", "", Role.RECEPTIONIST, None, False, None, False, True, now
        )
        one = opened(user, token, SessionState.ACTIVE, None, Client("192.0.2.7"), now, shared=False)
        people.append((user_id, clinic.id, f"{user_id}@harbour.example", f"{user_id}@harbour.example", now))
        sessions.append((one.id, user_id, clinic.id, one.token_digest, now, now, 30, one.expires_at, "192.0.2.7"))
        tokens.append(token)
    with clinic.stack.postgres.connect(clinic.stack.database_name) as connection, connection.cursor() as cursor:
        cursor.executemany(
            "INSERT INTO app_user (id, clinic_id, email, email_key, name, role, created_at)"
            " VALUES (%s, %s, %s, %s, 'Mina Okafor', 'receptionist', %s)",
            people,
        )
        cursor.executemany(
            "INSERT INTO session (id, user_id, clinic_id, token_digest, authenticated_at, last_seen_at, idle_minutes,"
            " expires_at, address) VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s)",
            sessions,
        )
    return tokens


class Sweep:
    """Every session asks once, each at its own replica, many at a time; notes when it was sent and what came."""

    def __init__(self, replicas: list[Served], tokens: list[str]) -> None:
        self._line = [(replica.url, token) for replica, token in zip(itertools.cycle(replicas), tokens, strict=False)]
        self._http = httpx.AsyncClient(limits=httpx.Limits(max_connections=32), timeout=60)

    async def __call__(self) -> list[tuple[float, int]]:
        waiting, answers = iter(self._line), []

        async def ask() -> None:
            for url, token in waiting:
                sent = time.monotonic()
                headers = {"Authorization": f"Bearer {token}"}
                response = await self._http.get(f"{url}/v1/me/sessions", headers=headers)
                answers.append((sent, response.status_code))

        await asyncio.gather(*(ask() for _ in range(32)))
        return answers

    async def close(self) -> None:
        await self._http.aclose()


@pytest.mark.timeout(400)
@pytest.mark.parametrize("count", [100, pytest.param(1000, marks=pytest.mark.full)])
async def test_p09_live_sessions_are_stopped_on_two_replicas_within_two_seconds(
    stack: Stack, clinic: SomeClinic, tmp_path: Path, count: int
) -> None:
    tokens = make_sessions(clinic, count)
    async with serving(stack, tmp_path / "one") as one, serving(stack, tmp_path / "two") as two:
        sweep = Sweep([one, two], tokens)
        assert Counter(status for _, status in await sweep()) == {200: count}, "all work, on both replicas"
        stopping = asyncio.create_task(sweep())  # in mid-work, while the rule is switched on
        await clinic.require(phone_required=False)
        switched = time.monotonic()
        answers = await stopping
        while time.monotonic() < switched + AT_ONCE:
            answers += await sweep()
        last = await sweep()
        late = [status for sent, status in (*answers, *last) if sent >= switched + AT_ONCE]
        assert set(late) == {403}
        assert Counter(status for _, status in last) == {403: count}, "each of them has met it"
        await sweep.close()


@contextmanager
def hanging(policy: str, postgres: EmbeddedPostgres) -> Iterator[None]:
    """policy takes calls and answers none: its tables are locked under it."""
    with postgres.connect(str(conninfo_to_dict(policy)["dbname"])) as holder:
        holder.autocommit = False
        holder.execute("LOCK TABLE clinic_rule IN ACCESS EXCLUSIVE MODE")
        try:
            yield
        finally:
            holder.rollback()


@pytest.mark.timeout(600)
@pytest.mark.parametrize("count", [1000, pytest.param(10_000, marks=pytest.mark.full)])
async def test_p10_sign_ins_while_policy_hangs_open_no_full_session_without_a_factor(
    stack: Stack,
    clinic: SomeClinic,
    identity_databases: dict[str, tuple[str, str]],
    count: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with_factor, without = [[await clinic.person() for _ in range(5)] for _ in range(2)]
    for person in with_factor:
        await person.sign_in()
        await person.enrol_totp()
    before = stack.sql("SELECT count(*) AS n FROM session WHERE clinic_id = %s", [clinic.id])[0]["n"]
    monkeypatch.setattr(policy_peer, "_SECONDS", 0.05)  # how long each waits for nothing
    line = iter(range(count))
    met: Counter[tuple[bool, int, str]] = Counter()

    async def sign_in() -> None:
        for number in line:
            has_factor = number % 2 == 0
            person = (with_factor if has_factor else without)[number // 2 % 5]
            answer = await person.try_sign_in()
            state = answer.json()["state"] if answer.status_code == 201 else slug_of(answer)
            met[has_factor, answer.status_code, state] += 1

    with hanging(identity_databases["policy"][0], stack.postgres):
        await asyncio.gather(*(sign_in() for _ in range(16)))
    assert met == {(True, 201, "second_factor_required"): count / 2, (False, 503, "unavailable"): count / 2}
    rows = stack.sql("SELECT user_id, waiting_until, verified_at FROM session WHERE clinic_id = %s", [clinic.id])
    assert len(rows) == before + count / 2
    assert {row["user_id"] for row in rows} == {person.id for person in with_factor}
    assert sum(row["verified_at"] is None and row["waiting_until"] is None for row in rows) == 0


@pytest.fixture
def cheap_backup_codes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sixty times ten codes at their full cost are minutes of a busy machine; no limit depends on it."""
    monkeypatch.setattr(backup_codes, "_MEMORY_KIB", 64)


@pytest.mark.parametrize(
    "texts_of_two", [pytest.param(1, id="half by text", marks=pytest.mark.full), pytest.param(2, id="all by text")]
)
async def test_sixty_staff_behind_one_address_all_enrol_within_fifteen_minutes(
    cheap_backup_codes: None, stack: Stack, clinic: SomeClinic, texts_of_two: int
) -> None:
    """At default limits, stopped in the same minute, with the mistakes that people make, and with numbers of one range:
    some wait in vain for their first text, and ask again."""
    router = "198.51.100.20"
    chosen = random.Random(60)
    staff = [await clinic.person() for _ in range(60)]
    for each in staff:
        await each.sign_in(address=router)
    await clinic.require_here()
    began = stack.clock.now()

    async def call(person: Person, method: str, path: str, body: object = None) -> httpx.Response:
        return await stack.call(method, path, body, token=person.token, address=router)

    async def stopped(person: Person) -> None:
        refused = await call(person, "GET", "/v1/me/sessions")
        assert (refused.status_code, slug_of(refused)) == (403, "enrolment-required")
        if chosen.random() < 0.3:  # signs out and in again, with a typing error first
            await call(person, "DELETE", "/v1/session")
            assert (await person.try_sign_in(password="mistyped it", address=router)).status_code == 401
            assert (await person.sign_in(address=router))["state"] == "enrolment_required"

    async def give_number(number: int, person: Person) -> None:
        asked = await call(person, "POST", "/v1/me/two-factor/totp")
        assert (asked.status_code, asked.json().get("phone_required")) == (403, True)
        phone = await call(person, "PATCH", "/v1/me", {"phone": phone_of(number)})
        assert phone.status_code == 200, phone.text

    async def start(person: Person, method: str) -> str:
        started = await call(person, "POST", f"/v1/me/two-factor/{method}")
        assert started.status_code == (201 if method == "totp" else 202), started.text
        person.secret = started.json().get("secret", "")
        return f"/v1/me/two-factor/{method}/{started.json()['enrolment_id']}/confirm"

    async def confirm(number: int, person: Person, path: str) -> None:
        code = person.code() if person.secret else stack.notifier.code_to(phone_of(number))
        for _ in range(chosen.choice((0, 0, 0, 1, 2))):
            wrong = await call(person, "POST", path, {"code": person.wrong_code() if person.secret else mistyped(code)})
            assert (wrong.status_code, slug_of(wrong)) == (422, "invalid-code")
        confirmed = await call(person, "POST", path, {"code": code})
        assert confirmed.status_code == 200, confirmed.text
        person.token = confirmed.json()["session"]["token"]

    for each in staff:
        await stopped(each)
        stack.clock.advance(timedelta(seconds=1))
    in_vain: list[tuple[int, Person]] = []
    for number in range(len(staff) + 4):
        person = staff[number] if number < len(staff) else None
        if in_vain and in_vain[0][0] <= number - 4:  # forty seconds on
            late, waiting = in_vain.pop(0)
            await confirm(late, waiting, await start(waiting, "sms"))
        if person is not None:
            await give_number(number, person)
            path = await start(person, "sms" if number % 2 < texts_of_two else "totp")
            if not person.secret and chosen.random() < 0.2:
                in_vain.append((number, person))
            else:
                await confirm(number, person, path)
        stack.clock.advance(timedelta(seconds=10))
    assert not in_vain
    for each in staff:
        assert (await call(each, "GET", "/v1/me/sessions")).status_code == 200
        assert (await call(each, "GET", "/v1/session")).json()["acr"] == "aal2"
    assert stack.clock.now() - began <= timedelta(minutes=15)
    assert len(stack.notifier.taken) > 30 * texts_of_two, "some were sent twice"


def phone_of(number: int) -> str:
    return f"+4477009{number:05d}"


def mistyped(code: str) -> str:
    return code[:-1] + str((int(code[-1]) + 1) % 10)
