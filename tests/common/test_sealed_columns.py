"""No sealed column is forgotten by a rotation."""

from importlib import import_module

import psycopg
import pytest

from services.common.sealed_columns import SealedColumn
from tests.conftest import MakeDatabase

# Bytes that are not sealed: digests and keyed hashes, and the known texts, which a rotation treats by themselves.
_NOT_SEALED = ("digest", "hash", "mark")
_LISTS = {
    "identity": "services.identity.store.sealed",
    "otp": "services.otp.store.sealed",
    "notifier": "services.notifier.sealed",
}


@pytest.mark.parametrize("service", _LISTS)
def test_p23_every_column_of_bytes_is_rewrapped_or_a_digest(service: str, database: MakeDatabase) -> None:
    url, password = database(service)
    with psycopg.connect(url, password=password) as connection:
        found = connection.execute(
            "SELECT table_name, column_name FROM information_schema.columns"
            " WHERE table_schema = 'public' AND data_type = 'bytea' AND table_name <> 'sealing_check'"
        ).fetchall()
        sealed: tuple[SealedColumn, ...] = import_module(_LISTS[service]).SEALED
        assert {f"{table}.{column}" for table, column in found if not column.endswith(_NOT_SEALED)} == {
            str(column) for column in sealed
        }
        for column in sealed:  # its key names one row, in text
            kind = connection.execute(f"SELECT pg_typeof(min({column.key}))::text FROM {column.table}").fetchone()
            assert kind == ("text",)
