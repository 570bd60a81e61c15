"""The roles and databases of the four services in one PostgreSQL: a database each, an owner for migrations, and an
application role that may connect to its own database and nothing else. Running it again changes only passwords."""

from collections.abc import Mapping
from dataclasses import dataclass

import psycopg
from psycopg import sql

SERVICES = ("identity", "otp", "policy", "notifier")


@dataclass(frozen=True, slots=True)
class Passwords:
    """Of a service's two roles."""

    application: str
    owner: str


def prepare(connection: "psycopg.Connection[tuple[object, ...]]", passwords: Mapping[str, Passwords]) -> None:
    """Makes what is missing and sets the passwords. `connection`: a superuser's, in autocommit mode."""
    for service, secret in passwords.items():
        prepare_service(connection, service, service, secret)


def prepare_service(
    connection: "psycopg.Connection[tuple[object, ...]]", service: str, database: str, secret: Passwords
) -> None:
    """One service's roles (`service`, `service`_owner) and one database of theirs."""
    owner = f"{service}_owner"
    for role, password in ((service, secret.application), (owner, secret.owner)):
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
        sql.SQL("GRANT CONNECT ON DATABASE {} TO {}").format(sql.Identifier(database), sql.Identifier(service))
    )
