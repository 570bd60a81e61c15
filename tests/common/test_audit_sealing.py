"""The audit trail's seals: every event gets one, a second after it, whatever commits late, comes at once or was there;
and the trail is read page by page."""

import asyncio
import json
import re
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path

import pytest
from prometheus_client import REGISTRY

from deploy.databases import SERVICES, Passwords, prepare_service
from deploy.embedded import EmbeddedPostgres
from services.common import audit_sealer
from services.common.audit import AuditEvent, record
from services.common.audit_chain import START, digest, follow
from services.common.audit_check import ChainCheck
from services.common.audit_sealer import Head, Sealer
from services.common.audit_trail import AuditTrail, TrailPosition
from services.common.clock import FixedClock
from services.common.migrate import migrate
from services.common.postgres import Database
from tests.common.trail import NOW, Trail, no_wait
from tests.conftest import sealer_of

ROOT = Path(__file__).parents[2]


async def test_a_sealer_that_runs_says_at_once_that_what_it_sealed_is_gone(
    sealed: Trail, capsys: pytest.CaptureFixture[str]
) -> None:
    before = REGISTRY.get_sample_value("audit_chain_cut_total") or 0.0
    sealed.sql("DELETE FROM audit_event WHERE seq > 9")
    sealed.sql("DELETE FROM audit_seal WHERE position > 9")
    assert (await sealed.sealer.head()).position == 9
    assert REGISTRY.get_sample_value("audit_chain_cut_total") == before + 1
    assert "audit_chain_cut" in capsys.readouterr().out


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
    trail.as_service(
        "INSERT INTO audit_event (id, at, clinic_id, actor_kind, kind, detail)"
        " SELECT gen_random_uuid(), %s, 'cli_1', 'user', 'delivery.sent', '{}'"
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
