"""The roles and databases of the four services in one PostgreSQL: a database each, an owner for migrations, an
application role, and a sealer of the audit trail; each may connect to its own database and to no other. Running it
again makes what a newer version adds, and else changes only passwords."""

from collections.abc import Mapping
from dataclasses import dataclass

import psycopg
from psycopg import sql

SERVICES = ("identity", "otp", "policy", "notifier")


@dataclass(frozen=True, slots=True)
class Passwords:
    """Of a service's three roles."""

    application: str
    owner: str
    sealer: str


def prepare(connection: "psycopg.Connection[tuple[object, ...]]", passwords: Mapping[str, Passwords]) -> None:
    """Makes what is missing and sets the passwords. `connection`: a superuser's, in autocommit mode."""
    for service, secret in passwords.items():
        prepare_service(connection, service, service, secret)
    # A server that outlived an upgrade may not have read who may sign in now.
    connection.execute("SELECT pg_reload_conf()")


def prepare_service(
    connection: "psycopg.Connection[tuple[object, ...]]", service: str, database: str, secret: Passwords
) -> None:
    """One service's roles (`service`, `service`_owner, `service`_sealer) and one database of theirs."""
    owner, sealer = f"{service}_owner", f"{service}_sealer"
    for role, password in ((service, secret.application), (owner, secret.owner), (sealer, secret.sealer)):
        if not connection.execute("SELECT 1 FROM pg_roles WHERE rolname = %s", [role]).fetchone():
            connection.execute(sql.SQL("CREATE ROLE {} LOGIN").format(sql.Identifier(role)))
        connection.execute(
            sql.SQL("ALTER ROLE {} NOSUPERUSER NOCREATEDB NOCREATEROLE PASSWORD {}").format(
                sql.Identifier(role), sql.Literal(password)
            )
        )
    if not connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", [database]).fetchone():
        connection.execute(
            sql.SQL("CREATE DATABASE {} OWNER {}").format(sql.Identifier(database), sql.Identifier(owner))
        )
    connection.execute(sql.SQL("REVOKE ALL ON DATABASE {} FROM PUBLIC").format(sql.Identifier(database)))
    connection.execute(
        sql.SQL("GRANT CONNECT ON DATABASE {} TO {}, {}").format(
            sql.Identifier(database), sql.Identifier(service), sql.Identifier(sealer)
        )
    )
