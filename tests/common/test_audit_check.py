"""What is changed in the audit trail behind the sealer's back is found and named; the operator's command says so."""

import asyncio
import json
import logging
from collections.abc import Awaitable, Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest
from typer import Typer
from typer.testing import CliRunner

from services.common.audit_chain import START, follow
from services.common.audit_check import LATE_SECONDS, KnownHead
from services.common.audit_command import add_verify_audit
from services.common.settings import ServiceSettings
from tests.common.trail import NOW, SERVICE, Trail


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


async def test_p18_an_event_that_claims_the_service_s_role_is_named_with_the_role_that_put_it_in(sealed: Trail) -> None:
    insert = (
        "INSERT INTO audit_event (id, at, clinic_id, actor_kind, kind, detail, written_by)"
        " VALUES (gen_random_uuid(), %s, 'cli_1', 'user', 'delivery.sent', '{}', 'notifier')"
    )
    sealed.sql(insert, [NOW])
    with sealed.postgres.connect(sealed.name) as connection:
        connection.execute("SET session_replication_role = replica")  # which leaves ordinary triggers out
        connection.execute(insert, [NOW])
    assert await sealed.sealer.seal() == 2
    assert [(found.what, found.why) for found in await sealed.findings()] == [
        ("inserted", "postgres wrote it, not notifier")
    ] * 2


@pytest.mark.parametrize("change", ["DISABLE TRIGGER USER", "ENABLE REPLICA TRIGGER audit_event_names_its_writer"])
async def test_p18_a_trail_that_does_not_name_its_writers_is_itself_a_finding(sealed: Trail, change: str) -> None:
    sealed.sql(f"ALTER TABLE audit_event {change}")
    assert await sealed.found() == [("unguarded", "audit_event")]
    sealed.sql("ALTER TABLE audit_event ENABLE ALWAYS TRIGGER audit_event_names_its_writer")
    assert await sealed.found() == []
    sealed.sql("DROP TRIGGER audit_event_names_its_writer ON audit_event")
    assert await sealed.found() == [("unguarded", "audit_event")]


async def test_p18_an_event_put_in_among_older_ones_is_named_though_the_right_role_wrote_it(sealed: Trail) -> None:
    with sealed.postgres.connect(sealed.name) as connection:  # a number that a transaction took and did not use
        connection.execute("SELECT nextval(pg_get_serial_sequence('audit_event', 'seq'))")
    await sealed.write(2)
    await sealed.sealer.seal()
    sealed.clock.advance(timedelta(seconds=LATE_SECONDS + 1))
    sealed.as_service(
        "INSERT INTO audit_event (seq, id, at, clinic_id, actor_kind, kind, detail) OVERRIDING SYSTEM VALUE"
        " VALUES (13, gen_random_uuid(), %s, 'cli_1', 'user', 'delivery.sent', '{}')",
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


async def test_p18_the_trail_made_anew_as_a_whole_shows_by_a_head_logged_before(sealed: Trail) -> None:
    logged = await sealed.head()
    sealed.sql("UPDATE audit_event SET actor_id = 'usr_other' WHERE seq = 2")
    sealed.sql("DELETE FROM audit_seal")
    await (await sealed.new_sealer()).seal()
    assert await sealed.found() == []
    assert await sealed.found(logged) == [("cut", "position 12")]


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
