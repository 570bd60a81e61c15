"""The roles of the services can neither change nor forge the audit trail, and a sealer's reaches nothing else."""

import psycopg
import pytest

from deploy.databases import SERVICES
from deploy.embedded import EmbeddedPostgres
from tests.conftest import MakeDatabase, sealer_of


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
    kept_from = [event, seal, *(one for one in change if not one.startswith("ALTER"))]
    assert allowed(owner, f"{service}-owner-password", kept_from) == []


@pytest.mark.parametrize("service", SERVICES)
def test_p18_the_database_says_which_role_wrote_an_event_whatever_the_event_claims(
    each_database: dict[str, tuple[str, str]], postgres: EmbeddedPostgres, service: str
) -> None:
    """The migrations' role, which owns the table, cannot lift that without altering it; a service's role not at all."""
    url, password = each_database[service]
    owner = url.replace(f"user={service}", f"user={service}_owner"), f"{service}-owner-password"
    event = (
        "INSERT INTO audit_event (id, at, actor_kind, kind, detail, written_by)"
        f" VALUES (gen_random_uuid(), now(), 'user', 'a.claimed', '{{}}', '{service}')"
    )
    off = [f"ALTER TABLE audit_event {verb} TRIGGER audit_event_names_its_writer" for verb in ("DISABLE", "ENABLE")]
    drop = ["DROP TRIGGER audit_event_names_its_writer ON audit_event", "DROP FUNCTION audit_event_names_its_writer"]
    replace = [
        "CREATE OR REPLACE FUNCTION audit_event_names_its_writer() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN END'"
    ]
    assert allowed(url, password, [event, *off, *drop, *replace, "SET session_replication_role = replica"]) == [event]
    with psycopg.connect(owner[0], password=owner[1], autocommit=True) as connection:
        connection.execute(f"GRANT INSERT ON audit_event TO {service}_owner")  # its own to give
        connection.execute(event)  # type: ignore[arg-type]
        connection.execute(f"REVOKE INSERT ON audit_event FROM {service}_owner")
    with psycopg.connect(url, password=password) as connection:
        writers = connection.execute("SELECT written_by FROM audit_event WHERE kind = 'a.claimed' ORDER BY seq")
        assert writers.fetchall() == [(service,), (f"{service}_owner",)]


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
