"""A rotation goes on from wherever the one before was ended, and takes no key away that a record still needs (P23)."""

import os
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import psycopg
import pytest
import typer
from pydantic import SecretStr
from typer.testing import CliRunner

from deploy.embedded import EmbeddedPostgres
from services.common.clock import SystemClock
from services.common.errors import ServiceError
from services.common.key_command import add_key_commands
from services.common.key_rotation import Refused, Rotated, Rotation
from services.common.keyring_in_use import KeyringInUse, known_text
from services.common.postgres import Database
from services.common.sealed_columns import DatabaseChecks, RotationStore, SealedColumn
from services.common.sealing import Keyring, key_id_of
from tests.conftest import MakeDatabase

COLUMN = SealedColumn("delivery", "id", "sealed")
Row = tuple[str, bytes]


class House:
    """A keyring, and records under it: the notifier's table, since a row of it stands alone."""

    def __init__(
        self, folder: Path, connection: "psycopg.Connection[tuple[object, ...]]", url: tuple[str, str]
    ) -> None:
        self.path = folder / "keyring.json"
        self.keyring = Keyring(1, {1: os.urandom(32)})
        self.path.write_bytes(self.keyring.as_file())
        self.sql = connection.execute
        self.url = url
        self.told: list[str] = []
        self.sql("TRUNCATE delivery, sealing_check")

    def put(self, name: str, keyring: Keyring | None = None) -> bytes:
        sealed = (keyring or self.keyring).seal(name.encode(), name)
        self.sql(
            "INSERT INTO delivery (id, request_key, kind, locale, clinic_id, user_id, to_hint, sealed, state,"
            " request_id, created_at, not_after, next_at, updated_at)"
            " VALUES (%s, %s, 'k', 'en', 'c', 'u', 'h', %s, 'queued', 'r', now(), now(), now(), now())",
            [name, name, sealed],
        )
        return sealed

    def sealed(self) -> dict[str, bytes]:
        return dict(self.sql("SELECT id, sealed FROM delivery").fetchall())  # type: ignore[arg-type]

    def checks(self) -> set[int]:
        return {int(str(row[0])) for row in self.sql("SELECT key_id FROM sealing_check")}

    def store(self) -> RotationStore:
        return RotationStore(*self.url, [COLUMN])

    def rotate(self) -> Rotated:
        with self.store() as store:
            return Rotation("notifier", self.path, store, SystemClock(), "keys.rotated", self.told.append, 0.05).run()

    def in_use(self, database: Database) -> KeyringInUse:
        return KeyringInUse("notifier", self.path, DatabaseChecks(database, [COLUMN]))


@pytest.fixture(scope="session")
def one_database(database: MakeDatabase) -> tuple[str, str]:
    return database("notifier")


@pytest.fixture
def house(one_database: tuple[str, str], postgres: EmbeddedPostgres, tmp_path: Path) -> Iterator[House]:
    name = str(psycopg.conninfo.conninfo_to_dict(one_database[0])["dbname"])
    with postgres.connect(name) as connection:
        yield House(tmp_path, connection, one_database)


def is_done(house: House, names: list[str]) -> None:
    keyring = Keyring.load(house.path)
    assert (keyring.ids, house.checks()) == ({keyring.active}, {keyring.active})
    assert {name: keyring.open(sealed, name) for name, sealed in house.sealed().items()} == {
        name: name.encode() for name in names
    }


def test_everything_is_under_the_new_key_and_the_old_one_is_gone(house: House) -> None:
    names = [f"d{number:04}" for number in range(450)]  # more than two batches
    for name in names:
        house.put(name)
    assert house.rotate() == Rotated((1,), 2, {"delivery.sealed": 450})
    is_done(house, names)
    assert house.rotate() == Rotated((2,), 3, {"delivery.sealed": 450})
    is_done(house, names)


def test_p23_killed_after_the_key_was_added_it_goes_on_with_that_key(house: House) -> None:
    house.put("old")
    both = house.keyring.with_new_key(2)
    house.path.write_bytes(both.as_file())
    house.put("new", both)
    assert house.rotate() == Rotated((1,), 2, {"delivery.sealed": 1})
    is_done(house, ["new", "old"])


def test_p23_killed_before_the_old_key_left_the_file_it_ends_what_was_begun(house: House) -> None:
    house.put("one")
    house.rotate()
    done = Keyring.load(house.path)
    house.path.write_bytes(Keyring(2, {**house.keyring._keys, **done._keys}).as_file())
    assert house.rotate() == Rotated((1,), 2, {"delivery.sealed": 0})
    is_done(house, ["one"])


def test_an_id_is_never_given_to_a_second_key(house: House) -> None:
    """Neither one that is forgotten in the file, but known to the database."""
    house.sql("INSERT INTO sealing_check VALUES (7, 'x')")
    assert house.rotate().active == 8


def test_a_record_that_does_not_open_keeps_its_key_and_is_named(house: House) -> None:
    house.put("whole")
    sealed = house.put("broken")
    house.sql("UPDATE delivery SET sealed = %s WHERE id = 'broken'", [sealed[:5] + bytes(40) + sealed[45:]])
    with pytest.raises(Refused, match=r"delivery\.sealed of broken"):
        house.rotate()
    assert Keyring.load(house.path).ids == {1, 2}
    assert key_id_of(house.sealed()["whole"]) == 2
    house.sql("DELETE FROM delivery WHERE id = 'broken'")
    house.rotate()
    is_done(house, ["whole"])


def test_f16_a_keyring_that_is_not_this_database_s_own_is_not_rotated(house: House) -> None:
    house.put("one")
    for other in (Keyring(1, {1: os.urandom(32)}), Keyring(2, {2: os.urandom(32)})):
        house.path.write_bytes(other.as_file())
        with pytest.raises(Refused):
            house.rotate()
        assert house.path.read_bytes() == other.as_file()
    house.path.unlink()
    with pytest.raises(Refused, match="cannot be read"):
        house.rotate()


@pytest.mark.parametrize("is_known", [True, False])
@pytest.mark.parametrize("key_id", [1, 2])
def test_f16_the_keys_of_another_database_s_keyring_are_not_listed_as_this_one_s(
    house: House, is_known: bool, key_id: int
) -> None:
    """Ids and counts alone look alike: a wrong keyring has a key 1, too."""
    settings = SimpleNamespace(
        database_url=house.url[0],
        database_password=SecretStr(house.url[1]),
        keyring_file=house.path,
        log_level="INFO",
    )
    app = typer.Typer()
    add_key_commands(app, "notifier", lambda: settings, [COLUMN], "keys.rotated")
    if is_known:
        house.sql("INSERT INTO sealing_check VALUES (1, %s)", [known_text(house.keyring, "notifier")])
    else:
        house.put("one")
    right = CliRunner().invoke(app, ["keys"])
    assert (right.exit_code, "active" in right.stdout) == (0, True)
    house.path.write_bytes(Keyring(key_id, {key_id: os.urandom(32)}).as_file())
    wrong = CliRunner().invoke(app, ["keys"])
    assert (wrong.exit_code, "restore it from your backup" in wrong.stderr) == (1, True)
    assert ("not the keyring of this service's database" in wrong.stderr) == (key_id == 1)
    assert ("missing" in wrong.stdout) == (key_id == 2), "what it lacks is listed"
    if key_id == 1:
        assert wrong.stdout == ""
        refused = CliRunner().invoke(app, ["rotate-keys"])
        assert (refused.exit_code, "not the keyring of this service's database" in refused.stderr) == (1, True)


def test_a_change_that_was_made_meanwhile_wins_and_a_row_that_is_held_is_left_for_later(
    house: House, postgres: EmbeddedPostgres, one_database: tuple[str, str]
) -> None:
    both = house.keyring.with_new_key(2)
    rows = {name: house.put(name) for name in ("changed", "held", "plain")}
    house.sql("UPDATE delivery SET sealed = %s WHERE id = 'changed'", [newer := both.seal(b"newer", "changed")])
    name = str(psycopg.conninfo.conninfo_to_dict(one_database[0])["dbname"])
    with postgres.connect(name) as other, house.store() as store, other.transaction():
        other.execute("SELECT FROM delivery WHERE id = 'held' FOR UPDATE")
        assert store.replace(COLUMN, [(key, old, both.rewrap(old)) for key, old in rows.items()]) == 1
    assert house.sealed() == {"changed": newer, "held": rows["held"], "plain": house.sealed()["plain"]}
    assert key_id_of(house.sealed()["plain"]) == 2


def test_a_folder_that_cannot_be_written_is_said_and_changes_nothing(house: House) -> None:
    before = house.path.read_bytes()
    house.path.parent.chmod(0o500)
    try:
        if os.getuid():
            with pytest.raises(Refused, match="cannot be used"):
                house.rotate()
            assert house.path.read_bytes() == before
    finally:
        house.path.parent.chmod(0o700)


async def test_p23_a_running_process_knows_a_key_at_once_that_it_meets_in_a_record(house: House) -> None:
    database = Database(*house.url)
    await database.open()
    try:
        now = 0.0
        running = KeyringInUse("notifier", house.path, DatabaseChecks(database, [COLUMN]), lambda: now)
        with pytest.raises(ServiceError):
            running.seal(b"x", "x")  # nothing before it was checked
        await running.ensure_ready()
        both = house.keyring.with_new_key(2)
        house.path.write_bytes(both.as_file())
        assert key_id_of(running.seal(b"x", "x")) == 1, "looked at a moment ago"
        assert running.open(both.seal(b"x", "x"), "x") == b"x"
        assert key_id_of(running.seal(b"x", "x")) == 2
        house.sql("DELETE FROM sealing_check")  # as a rotation does before the key leaves the file
        house.path.write_bytes(both.with_active_key_only().with_new_key(3).as_file())
        now = 1.0
        assert key_id_of(running.seal(b"x", "x")) == 3
        await running.ensure_ready()
    finally:
        await database.close()


async def test_f16_where_no_known_text_is_kept_yet_the_records_themselves_tell_a_wrong_keyring(house: House) -> None:
    house.put("one")
    database = Database(*house.url)
    await database.open()
    try:
        house.path.write_bytes(Keyring(1, {1: os.urandom(32)}).as_file())
        with pytest.raises(ServiceError, match="unavailable") as caught:
            await house.in_use(database).ensure_ready()
        assert "not the keyring of this service's database" in caught.value.why
        assert house.checks() == set()
        house.path.write_bytes(house.keyring.as_file())
        await house.in_use(database).ensure_ready()
        assert house.checks() == {1}
    finally:
        await database.close()


@pytest.mark.parametrize("notices_by", ["a look", "a check"])
async def test_f16_a_keyring_file_that_was_away_and_is_back_seals_again(house: House, notices_by: str) -> None:
    """Moved away and back it is the same file to the letter, down to its times."""
    database = Database(*house.url)
    await database.open()
    try:
        now = 0.0
        running = KeyringInUse("notifier", house.path, DatabaseChecks(database, [COLUMN]), lambda: now)
        await running.ensure_ready()
        away = house.path.rename(house.path.with_name("away.json"))
        now = 1.0
        with pytest.raises(ServiceError, match="unavailable"):
            running.seal(b"x", "x")
        with pytest.raises(ServiceError, match="unavailable"):
            await running.ensure_ready()
        away.rename(house.path)
        now = 2.0
        if notices_by == "a check":
            await running.ensure_ready()
        assert key_id_of(running.seal(b"x", "x")) == 1
        await running.ensure_ready()
    finally:
        await database.close()
