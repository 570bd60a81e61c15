"""The audit trail's seals: every event gets one, a second after it; what is changed behind the sealer's back is found
and named; and the roles of the services can change nothing. Before a real PostgreSQL, with the roles of the product."""

import asyncio
import json
import logging
import re
import shutil
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest
from prometheus_client import REGISTRY
from psycopg.rows import dict_row
from typer import Typer
from typer.testing import CliRunner

from deploy.databases import SERVICES, Passwords, prepare_service
from deploy.embedded import EmbeddedPostgres
from services.common import audit_sealer
from services.common.audit import AuditEvent, record
from services.common.audit_chain import START, digest, follow
from services.common.audit_check import LATE_SECONDS, ChainCheck, Finding, KnownHead
from services.common.audit_command import add_verify_audit
from services.common.audit_sealer import Head, Sealer
from services.common.audit_trail import AuditTrail, TrailPosition
from services.common.clock import FixedClock
from services.common.migrate import migrate
from services.common.postgres import Database
from services.common.settings import ServiceSettings
from tests.conftest import MakeDatabase, sealer_of

NOW = datetime(2026, 11, 16, 9, 30, tzinfo=UTC)
SERVICE = "notifier"
ROOT = Path(__file__).parents[2]


async def no_wait(seconds: float) -> None:
    """Nothing is on its way in these tests."""


@dataclass
class Trail:
    """A service's trail: its application role, its sealer, and a superuser behind the back of both."""

    postgres: EmbeddedPostgres
    url: str
    password: str
    application: Database
    clock: FixedClock
    new_sealer: Callable[[], Awaitable[Sealer]]
    sealer: Sealer

    @property
    def name(self) -> str:
        return str(psycopg.conninfo.conninfo_to_dict(self.url)["dbname"])

    async def write(self, count: int = 1, clinic: str = "cli_1", kind: str = "delivery.sent", **detail: Any) -> None:
        for _ in range(count):
            event = AuditEvent(kind, self.clock.now(), clinic, "user", "usr_1", "usr_2", "192.0.2.1", detail)
            async with self.application.transaction() as connection:
                await record(connection, event)

    def sql(self, query: str, values: list[Any] | None = None) -> list[dict[str, Any]]:
        with self.postgres.connect(self.name) as connection:
            cursor = connection.cursor(row_factory=dict_row)
            cursor.execute(query, values or [])
            return cursor.fetchall() if cursor.description else []

    def event(self, seq: int) -> str:
        return str(self.sql("SELECT id::text AS id FROM audit_event WHERE seq = %s", [seq])[0]["id"])

    async def findings(self, *heads: KnownHead) -> list[Finding]:
        check = ChainCheck(self.application, SERVICE, no_wait)
        return [found async for found in check.findings(heads)]

    async def found(self, *heads: KnownHead) -> list[tuple[str, str]]:
        return [(one.what, one.where) for one in await self.findings(*heads)]

    async def head(self) -> KnownHead:
        head = await self.sealer.head()
        return KnownHead(head.position, head.hash.hex())


@pytest.fixture
async def trail(database: MakeDatabase, postgres: EmbeddedPostgres) -> AsyncIterator[Trail]:
    url, password = database(SERVICE)
    application, clock = Database(url, password), FixedClock(NOW)
    await application.open()
    opened = [application]

    async def new_sealer() -> Sealer:
        role = Database(*sealer_of(SERVICE, url), 1)
        await role.open()
        opened.append(role)
        return Sealer(role, clock)

    yield Trail(postgres, url, password, application, clock, new_sealer, await new_sealer())
    for one in opened:
        await one.close()


@pytest.fixture
async def sealed(trail: Trail) -> Trail:
    """Twelve events with seals, seq and position 1 to 12."""
    for number in range(4):
        await trail.write(3, number=number)
        await trail.sealer.seal()
        trail.clock.advance(timedelta(seconds=1))
    return trail


async def test_every_event_is_sealed_in_its_order_and_a_sound_trail_gives_no_finding(sealed: Trail) -> None:
    seals = sealed.sql("SELECT position, event_seq, hash, digest FROM audit_seal ORDER BY position")
    assert [(row["position"], row["event_seq"]) for row in seals] == [(n, n) for n in range(1, 13)]
    before = START
    for row in seals:
        before = follow(before, bytes(row["digest"]))
        assert before == bytes(row["hash"])
    assert await sealed.found() == []
    assert await sealed.found(await sealed.head(), KnownHead(5, bytes(seals[4]["hash"]).hex())) == []
    assert await sealed.sealer.seal() == 0, "nothing is sealed twice"


async def test_the_digest_is_of_every_column(sealed: Trail) -> None:
    columns = {row["column_name"] for row in sealed.sql(
        "SELECT column_name FROM information_schema.columns WHERE table_name = 'audit_event'"
    )}  # fmt: skip
    changes = {
        "id": "gen_random_uuid()",
        "at": "at + interval '1 microsecond'",
        "clinic_id": "'cli_9'",
        "actor_kind": "'system'",
        "actor_id": "NULL",
        "subject_id": "''",
        "kind": "kind || ' '",
        "address": "'192.0.2.2'",
        "request_id": "'another'",
        "detail": "detail || '{\"number\": 1.0}'",
        "written_by": "written_by || '2'",
    }
    assert columns == changes.keys() | {"seq"}
    for column, value in changes.items():
        before = sealed.sql(f"SELECT {column} AS value FROM audit_event WHERE seq = 5")[0]["value"]
        event = sealed.event(5)
        sealed.sql(f"UPDATE audit_event SET {column} = {value} WHERE seq = 5")
        assert await sealed.found() == [("edited", f"event {event} (seq 5, position 5)")], column
        old = json.dumps(before) if column == "detail" else before
        sealed.sql(f"UPDATE audit_event SET {column} = %s WHERE seq = 5", [old])
        assert await sealed.found() == [], column


async def test_p18_a_removed_event_is_named(sealed: Trail) -> None:
    event = sealed.event(7)
    sealed.sql("DELETE FROM audit_event WHERE seq = 7")
    assert await sealed.found() == [("removed", f"event {event} (seq 7, position 7)")]


async def test_p18_an_event_removed_with_its_seal_leaves_a_hole_in_the_chain(sealed: Trail) -> None:
    sealed.sql("DELETE FROM audit_event WHERE seq IN (7, 8)")
    sealed.sql("DELETE FROM audit_seal WHERE event_seq IN (7, 8)")
    assert [str(found) for found in await sealed.findings()] == [
        "removed: positions 7 to 8: events between seq 6 and 9 were taken away with their seals"
    ]


async def test_p18_an_event_that_another_role_put_in_is_named_sealed_or_not(sealed: Trail) -> None:
    insert = (
        "INSERT INTO audit_event (id, at, clinic_id, actor_kind, kind, detail)"
        " VALUES (gen_random_uuid(), %s, 'cli_1', 'user', 'delivery.sent', '{}')"
    )
    sealed.sql(insert, [NOW])
    seq = sealed.sql("SELECT max(seq) AS seq FROM audit_event")[0]["seq"]
    event = sealed.event(seq)
    assert await sealed.found() == [("inserted", f"event {event} (seq {seq})")]
    assert await sealed.sealer.seal() == 1
    assert [str(found) for found in await sealed.findings()] == [
        f"inserted: event {event} (seq {seq}, position 13): postgres wrote it, not notifier"
    ]


async def test_p18_an_event_put_in_among_older_ones_is_named_though_it_claims_the_right_role(sealed: Trail) -> None:
    with sealed.postgres.connect(sealed.name) as connection:  # a number that a transaction took and did not use
        connection.execute("SELECT nextval(pg_get_serial_sequence('audit_event', 'seq'))")
    await sealed.write(2)
    await sealed.sealer.seal()
    sealed.clock.advance(timedelta(seconds=LATE_SECONDS + 1))
    sealed.sql(
        "INSERT INTO audit_event (seq, id, at, clinic_id, actor_kind, kind, detail, written_by) OVERRIDING SYSTEM VALUE"
        " VALUES (13, gen_random_uuid(), %s, 'cli_1', 'user', 'delivery.sent', '{}', 'notifier')",
        [NOW],
    )
    event = sealed.event(13)
    assert await sealed.found() == [("unsealed", f"event {event} (seq 13)")]
    assert await sealed.sealer.seal() == 1
    assert await sealed.found() == [("inserted", f"event {event} (seq 13, position 15)")]


async def test_p18_a_seal_that_was_changed_is_named(sealed: Trail) -> None:
    event = sealed.event(4)
    sealed.sql("UPDATE audit_seal SET hash = sha256('x') WHERE position = 4")
    after = f"event {sealed.event(5)} (seq 5, position 5)"
    assert await sealed.found() == [("broken", f"event {event} (seq 4, position 4)"), ("broken", after)]


async def test_p18_a_seal_made_to_fit_a_changed_event_breaks_the_chain(sealed: Trail) -> None:
    sealed.sql("UPDATE audit_event SET kind = 'delivery.failed' WHERE seq = 4")
    sealed.sql("UPDATE audit_seal SET digest = sha256('whatever the event is now') WHERE position = 4")
    event = f"event {sealed.event(4)} (seq 4, position 4)"
    assert await sealed.found() == [("broken", event), ("edited", event)]


async def test_p18_a_cut_tail_shows_by_a_head_logged_before(sealed: Trail) -> None:
    logged = await sealed.head()
    sealed.sql("DELETE FROM audit_event WHERE seq > 9")
    sealed.sql("DELETE FROM audit_seal WHERE position > 9")
    assert await sealed.found() == [], "by itself a shorter trail is a sound one"
    assert await sealed.found(logged) == [("cut", "position 12")]
    await sealed.write(5)
    await (await sealed.new_sealer()).seal()
    assert await sealed.found() == []
    assert await sealed.found(logged) == [("cut", "position 12")], "growing again does not hide it"


async def test_a_sealer_that_runs_says_at_once_that_what_it_sealed_is_gone(
    sealed: Trail, capsys: pytest.CaptureFixture[str]
) -> None:
    before = REGISTRY.get_sample_value("audit_chain_cut_total") or 0.0
    sealed.sql("DELETE FROM audit_event WHERE seq > 9")
    sealed.sql("DELETE FROM audit_seal WHERE position > 9")
    assert (await sealed.sealer.head()).position == 9
    assert REGISTRY.get_sample_value("audit_chain_cut_total") == before + 1
    assert "audit_chain_cut" in capsys.readouterr().out


async def test_p18_the_trail_made_anew_as_a_whole_shows_by_a_head_logged_before(sealed: Trail) -> None:
    logged = await sealed.head()
    sealed.sql("UPDATE audit_event SET actor_id = 'usr_other' WHERE seq = 2")
    sealed.sql("DELETE FROM audit_seal")
    await (await sealed.new_sealer()).seal()
    assert await sealed.found() == []
    assert await sealed.found(logged) == [("cut", "position 12")]


async def test_an_event_whose_number_commits_late_is_sealed_all_the_same(trail: Trail) -> None:
    async with trail.application.transaction() as slow:
        await record(slow, AuditEvent("delivery.sent", NOW, "cli_1", "user", None, None))
        await trail.write(2)
        assert await trail.sealer.seal() == 2
    assert await trail.sealer.seal() == 1
    seals = trail.sql("SELECT event_seq FROM audit_seal ORDER BY position")
    assert [row["event_seq"] for row in seals] == [2, 3, 1]
    assert await trail.found() == []


async def test_an_event_that_commits_after_the_sealer_has_passed_on_is_swept_up(
    trail: Trail, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audit_sealer, "_LATE_SECONDS", -1.0)
    monkeypatch.setattr(audit_sealer, "_MARK_EVERY_SECONDS", 0.0)
    monkeypatch.setattr(audit_sealer, "_STRETCH", 2)
    async with trail.application.transaction() as slow:
        await trail.write(3)
        await record(slow, AuditEvent("delivery.sent", NOW, "cli_1", "user", None, None))
        await trail.write(3)
        sealed = [await trail.sealer.seal() for _ in range(6)]  # to the end of the first sweep
        assert sealed == [6, 0, 0, 0, 0, 0]
    assert [await trail.sealer.seal() for _ in range(2)] == [0, 0], "it lies below what is looked at each second"
    trail.sealer._swept = 0  # as an hour later
    assert sum([await trail.sealer.seal() for _ in range(5)]) == 1
    assert await trail.found() == []


@pytest.mark.parametrize("service", SERVICES)
async def test_an_older_database_is_brought_up_and_its_trail_sealed_as_it_was_found(
    postgres: EmbeddedPostgres, tmp_path: Path, service: str
) -> None:
    """The files up to the seals first, with events of that time; then the rest."""
    name = f"{service}_of_before"
    secret = Passwords(f"{service}-password", f"{service}-owner-password", sealer_of(service)[1])
    with postgres.connect("postgres") as connection:
        prepare_service(connection, service, name, secret)
    whole = ROOT / "services" / service / "migrations"
    for file in whole.glob("*.sql"):
        if not file.name.endswith("_audit_seal.sql"):
            shutil.copy(file, tmp_path)
    owner = postgres.url(name, f"{service}_owner")
    earlier = [file for file in sorted(tmp_path.iterdir()) if file.name < next(whole.glob("*_audit_seal.sql")).name]
    for later in set(tmp_path.iterdir()) - set(earlier):
        later.unlink()
    migrate(owner, secret.owner, tmp_path)
    application = Database(postgres.url(name, service), secret.application)
    sealer_role = Database(*sealer_of(service, postgres.url(name, service)), 1)
    async with opened(application, sealer_role):
        async with application.transaction() as connection_:
            await record(connection_, AuditEvent("a.done", NOW, "cli_1", "user", "usr_1", "usr_1"))
        migrate(owner, secret.owner, whole)
        async with application.transaction() as connection_:
            await record(connection_, AuditEvent("a.done", NOW, "cli_1", "user", "usr_1", "usr_1"))
        assert await Sealer(sealer_role, FixedClock(NOW)).seal() == 2
        check = ChainCheck(application, service, no_wait)
        assert [found async for found in check.findings()] == []
        assert check.position == 2


@asynccontextmanager
async def opened(*databases: Database) -> AsyncIterator[None]:
    for database in databases:
        await database.open()
    yield
    for database in databases:
        await database.close()


async def test_a_new_sealer_seals_a_long_backlog_in_order(trail: Trail) -> None:
    """As after an upgrade: thousands of events without a seal."""
    trail.sql(
        "INSERT INTO audit_event (id, at, clinic_id, actor_kind, kind, detail, written_by)"
        " SELECT gen_random_uuid(), %s, 'cli_1', 'user', 'delivery.sent', '{}', 'notifier'"
        " FROM generate_series(1, 2300)",
        [NOW],
    )
    assert await trail.sealer.seal() == 2300
    assert trail.sql("SELECT count(*) AS n FROM audit_seal WHERE position = event_seq")[0]["n"] == 2300
    assert await trail.found() == []


async def test_two_sealers_at_once_make_one_chain(trail: Trail) -> None:
    other = await trail.new_sealer()

    async def seal_on(sealer: Sealer) -> int:
        return sum([await sealer.seal() for _ in range(40)])

    counts = await asyncio.gather(seal_on(trail.sealer), seal_on(other), *(trail.write(25) for _ in range(8)))
    rest = await trail.sealer.seal()
    assert sum(count or 0 for count in counts) + rest == 200
    assert trail.sql("SELECT count(*) AS n, max(position) AS last FROM audit_seal") == [{"n": 200, "last": 200}]
    assert await trail.found() == []


async def test_sealing_is_done_within_five_seconds_by_what_serves(
    trail: Trail, capsys: pytest.CaptureFixture[str]
) -> None:
    sealer = await trail.new_sealer()
    await sealer.start()
    try:
        for _ in range(2):
            await trail.write(10)
            async with asyncio.timeout(5):
                while trail.sql("SELECT 1 FROM audit_event e WHERE NOT EXISTS"
                                " (SELECT FROM audit_seal s WHERE s.event_seq = e.seq)"):  # fmt: skip
                    await asyncio.sleep(0.05)
        head = await sealer.head()
    finally:
        await sealer.close()
    assert head.position == 20
    said = capsys.readouterr().out
    assert said.count("audit_head") == 1, "at the start, then hourly"
    assert (REGISTRY.get_sample_value("audit_sealing_worked_timestamp_seconds") or 0) > 0


async def test_the_head_is_told_again_after_an_hour(
    trail: Trail, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(audit_sealer, "_TELL_HEAD_EVERY_SECONDS", 0.0)
    monkeypatch.setattr(audit_sealer, "_EVERY_SECONDS", 0.01)
    await trail.write(3)
    sealer = await trail.new_sealer()
    await sealer.start()
    async with asyncio.timeout(20):
        while (said := capsys.readouterr().out).count("audit_head ") < 2:
            await asyncio.sleep(0.1)
    await sealer.close()
    head = await trail.head()
    assert re.search(rf"audit_head .*hash={head.hash}.*position=3", said)


async def test_a_sealer_without_its_rights_says_so_and_seals_again_once_it_has_them(
    trail: Trail, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(audit_sealer, "_EVERY_SECONDS", 0.02)
    failures = REGISTRY.get_sample_value("audit_sealing_failures_total") or 0.0
    trail.sql("REVOKE INSERT ON audit_seal FROM notifier_sealer")
    await trail.write()
    sealer = await trail.new_sealer()
    await sealer.start()
    said = ""
    try:
        async with asyncio.timeout(20):
            while (REGISTRY.get_sample_value("audit_sealing_failures_total") or 0.0) < failures + 3:
                await asyncio.sleep(0.02)
        said += capsys.readouterr().out
        assert said.count("audit_not_sealed") == 1, "once a minute"
        assert "permission denied for table audit_seal" in said
        trail.sql("GRANT INSERT ON audit_seal TO notifier_sealer")
        async with asyncio.timeout(20):
            while not trail.sql("SELECT 1 FROM audit_seal"):
                await asyncio.sleep(0.02)
            while "audit_sealed_again" not in said:
                await asyncio.sleep(0.02)
                said += capsys.readouterr().out
    finally:
        await sealer.close()


@pytest.fixture(scope="session")
def each_database(database: MakeDatabase) -> dict[str, tuple[str, str]]:
    return {service: database(service) for service in SERVICES}


@pytest.mark.parametrize("service", SERVICES)
def test_p18_no_role_of_a_service_can_change_or_forge_its_trail(
    each_database: dict[str, tuple[str, str]], service: str
) -> None:
    url, password = each_database[service]
    event = (
        "INSERT INTO audit_event (id, at, actor_kind, kind, detail)"
        " VALUES (gen_random_uuid(), now(), 'user', 'a.b', '{}')"
    )
    seal = (
        "INSERT INTO audit_seal SELECT coalesce(max(position), 0) + 1, coalesce(max(event_seq), 0) + 1,"
        " gen_random_uuid(), sha256(''), sha256(''), now() FROM audit_seal"
    )
    read = ["SELECT FROM audit_event", "SELECT FROM audit_seal"]
    change = [
        f"{statement} {table}{rest}"
        for table in ("audit_event", "audit_seal")
        for statement, rest in (
            ("DELETE FROM", ""),
            ("TRUNCATE", ""),
            ("UPDATE", f" SET {'at' if table == 'audit_event' else 'sealed_at'} = now()"),
            ("ALTER TABLE", " DISABLE TRIGGER ALL"),
        )
    ]
    change += ["INSERT INTO audit_event (seq, id, at, actor_kind, kind, detail, written_by) OVERRIDING SYSTEM VALUE"
               " VALUES (-1, gen_random_uuid(), now(), 'user', 'a.b', '{}', 'another') ON CONFLICT (seq)"
               " DO UPDATE SET kind = 'x'"]  # fmt: skip
    assert allowed(url, password, [*read, event, seal, *change]) == [*read, event]
    assert allowed(*sealer_of(service, url), [*read, event, seal, *change]) == [*read, seal]
    owner = url.replace(f"user={service}", f"user={service}_owner")
    kept_from = [one for one in change if not one.startswith("ALTER")]
    assert allowed(owner, f"{service}-owner-password", kept_from) == []


def test_p22_a_sealer_reaches_the_trail_of_its_own_service_and_nothing_else(
    each_database: dict[str, tuple[str, str]], postgres: EmbeddedPostgres
) -> None:
    for service in SERVICES:
        url, _ = each_database[service]
        with psycopg.connect(
            url.replace(f"user={service}", "user=postgres"), password=postgres._password
        ) as connection:
            tables = {
                row[0] for row in connection.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
            }
        reached = allowed(*sealer_of(service, url), [f"SELECT FROM {table}" for table in sorted(tables)])
        assert reached == ["SELECT FROM audit_event", "SELECT FROM audit_seal"]
        for other in set(SERVICES) - {service}:
            name = psycopg.conninfo.conninfo_to_dict(each_database[other][0])["dbname"]
            own, password = sealer_of(service, url)
            with pytest.raises(psycopg.OperationalError, match="permission denied"):
                psycopg.connect(psycopg.conninfo.make_conninfo(own, dbname=name), password=password)


def allowed(url: str, password: str, statements: list[str]) -> list[str]:
    done = []
    with psycopg.connect(url, password=password, autocommit=True) as connection:
        for statement in statements:
            try:
                connection.execute(statement)  # type: ignore[arg-type]
            except psycopg.errors.InsufficientPrivilege:
                continue
            done.append(statement)
    return done


@pytest.fixture
def verify(sealed: Trail, tmp_path: Any) -> Iterator[Callable[..., Awaitable[Any]]]:
    app = Typer()
    app.callback()(lambda: None)
    settings = ServiceSettings(tls_dir=tmp_path, database_url=sealed.url, database_password=sealed.password)  # type: ignore[arg-type]
    add_verify_audit(app, SERVICE, lambda: settings)

    async def run(*arguments: str) -> Any:
        return await asyncio.to_thread(CliRunner().invoke, app, ["verify-audit", *arguments])

    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield run
    root.handlers[:], root.level = handlers, level


async def test_the_operator_s_command_tells_the_head_and_exits_with_1_on_a_finding(
    sealed: Trail, verify: Callable[..., Awaitable[Any]]
) -> None:
    head = await sealed.head()
    sound = await verify("--head", f"12:{head.hash}", "--head", f"0:{START.hex()}")
    assert (sound.exit_code, sound.stdout) == (
        0,
        f"notifier: 12 events sealed; nothing is wrong; head 12:{head.hash}\n",
    )
    event = sealed.event(3)
    sealed.sql("UPDATE audit_event SET subject_id = 'usr_9' WHERE seq = 3")
    wrong = await verify("--head", f"13:{head.hash}")
    assert wrong.exit_code == 1
    assert wrong.stdout.splitlines() == [
        f"edited: event {event} (seq 3, position 3): it is not what was sealed",
        "cut: position 13: a head was logged there earlier, and now the trail ends at 12",
        f"notifier: 12 events sealed; 2 findings; head 12:{head.hash}",
    ]
    refused = await verify("--head", "12")
    assert refused.exit_code == 2


def test_the_chain_is_what_it_is_documented_to_be() -> None:
    """A vector, so that a later version cannot hash otherwise than this one without noticing."""
    event = ["1", "0e1c…", "2026-11-16T09:30:00", None, "user", None, "usr_1", "session.opened", None, None, "{}", "x"]
    made = digest(event, "2026-11-16T09:30:01.5")
    assert made.hex() == "c003753db304d092315fe8859d88715e54d4adace878c0bc502c0eba544a404c"
    assert follow(START, made) == follow(Head().hash, made)


async def test_a_page_holds_one_clinic_s_events_newest_first_and_goes_on_where_it_ended(trail: Trail) -> None:
    for number in range(6):
        await trail.write(1, number=number)
        await trail.write(1, clinic="cli_2")
        if number % 2:
            trail.clock.advance(timedelta(seconds=1))
    reader = AuditTrail(trail.application)
    whole = await reader.page("cli_1", 500)
    assert [json.loads(event.detail)["number"] for event in whole] == [5, 4, 3, 2, 1, 0]
    assert {event.clinic_id for event in whole} == {"cli_1"}
    pages, before = [], None
    while page := await reader.page("cli_1", 1, before):
        pages += page
        before = TrailPosition(page[-1].at, page[-1].seq)
    assert pages == whole
    here = TrailPosition(whole[3].at, whole[3].seq, is_inclusive=True)
    assert await reader.page("cli_1", 2, here) == whole[3:5]
    assert await reader.page("cli_1", 500, None, "usr_1") == whole, "as the actor"
    assert await reader.page("cli_1", 500, None, "usr_2") == whole, "as the subject"
    assert await reader.page("cli_1", 500, None, "usr_3") == []
    assert await reader.page("cli_1", 500, None, "", "delivery.failed") == []
    assert await reader.page("", 500) == []
