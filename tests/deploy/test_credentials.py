"""Bootstrap: secrets once, never a new key over old records, and nobody holds what they do not need."""

import json
import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509

from deploy.bootstrap import make_files
from deploy.certificates import make_leaf
from deploy.credentials import (
    ForDatabases,
    Layout,
    Lost,
    database_passwords,
    hand_over_to_databases,
    superuser_password,
)
from deploy.databases import SERVICES


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    made = Layout(tmp_path / "state", tmp_path / "authority")
    make_files(made, database_exists=False)
    return made


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_second_start_changes_nothing(layout: Layout) -> None:
    before = contents(layout.root)
    assert make_files(layout, database_exists=True) == []
    assert contents(layout.root) == before


def test_two_stacks_share_no_secret(layout: Layout, tmp_path: Path) -> None:
    other = Layout(tmp_path / "other", tmp_path / "other-authority")
    make_files(other, database_exists=False)
    public = {"standin_from", "from"}
    for name, value in contents(layout.root / "secrets").items():
        if Path(name).name not in public:
            assert (other.root / "secrets" / name).read_bytes() != value, name


@pytest.mark.parametrize(
    "name",
    [
        "otp/keyring.json",
        "otp/code_pepper",
        "notifier/keyring.json",
        "identity/keyring.json",
        "identity/password_pepper",
    ],
)
def test_f16_nothing_is_made_anew_over_records_that_depend_on_it(layout: Layout, name: str) -> None:
    path = layout.root / ("keyrings" if "keyring" in name else "secrets") / name
    path.unlink()
    with pytest.raises(Lost, match=path.name):
        make_files(layout, database_exists=True)
    assert not path.exists()


def test_f16_with_all_secrets_gone_and_records_there_all_of_them_are_named(layout: Layout) -> None:
    for folder in ("secrets", "keyrings"):
        shutil.rmtree(layout.root / folder)
    with pytest.raises(Lost) as lost:
        make_files(layout, database_exists=True)
    assert "otp/keyring.json" in str(lost.value)
    assert "password_pepper" in str(lost.value)
    assert not (layout.root / "secrets").exists()
    assert not (layout.root / "keyrings").exists()


def test_what_a_newer_version_adds_is_made_over_a_database_of_the_older_one(layout: Layout) -> None:
    made = layout.root / "made"
    names = made.read_text().replace("identity/keyring.json\n", "")
    made.unlink()
    made.write_text(names)
    layout.keyring("identity").unlink()
    make_files(layout, database_exists=True)
    assert layout.keyring("identity").exists()
    layout.keyring("identity").unlink()
    with pytest.raises(Lost, match="identity/keyring"):
        make_files(layout, database_exists=True)


def test_an_older_installation_gets_the_sealers_passwords_and_keeps_every_other_secret(layout: Layout) -> None:
    before = contents(layout.root / "secrets")
    sealers = [layout.secrets(service) / "sealer_database_password" for service in SERVICES]
    for path in sealers:
        path.unlink()
    make_files(layout, database_exists=True)
    after = contents(layout.root / "secrets")
    assert after.keys() == before.keys()
    assert {name for name in after if after[name] != before[name]} == {
        f"{service}/sealer_database_password" for service in SERVICES
    }
    assert len({path.read_text() for path in sealers}) == len(SERVICES)


def test_f16_without_the_list_of_what_was_made_everything_counts_as_made(layout: Layout) -> None:
    (layout.root / "made").unlink()
    layout.keyring("identity").unlink()
    with pytest.raises(Lost, match="identity/keyring"):
        make_files(layout, database_exists=True)


def test_a_keyring_is_one_key_of_256_bits(layout: Layout) -> None:
    import base64

    keyring = json.loads(layout.keyring("otp").read_text())
    assert keyring["active"] == 1
    assert len(base64.b64decode(keyring["keys"]["1"], validate=True)) == 32
    assert layout.keyring("otp").read_text() != layout.keyring("notifier").read_text()


@pytest.mark.parametrize("service", ["identity", "otp", "notifier"])
def test_an_older_installation_s_keyring_is_taken_over_and_its_copy_goes_once_it_was_rotated(
    layout: Layout, service: str
) -> None:
    holders = {"notifier": ("notifier", "worker")}.get(service, (service,))
    earlier = [layout.secrets(holder) / "keyring.json" for holder in holders]
    old = layout.keyring(service).read_bytes()
    shutil.rmtree(layout.keyring(service).parent)
    for path in earlier:
        path.write_bytes(old)
    make_files(layout, database_exists=True)
    assert layout.keyring(service).read_bytes() == old
    assert all(path.read_bytes() == old for path in earlier), "for going back to the version before"
    layout.keyring(service).chmod(0o600)
    layout.keyring(service).write_bytes(b"rotated")
    make_files(layout, database_exists=True)
    assert layout.keyring(service).read_bytes() == b"rotated"
    assert not any(path.exists() for path in earlier)


def test_p22_each_process_holds_what_it_needs_and_nothing_else(layout: Layout) -> None:
    held = {
        folder.name: {path.name for path in folder.iterdir()} for folder in sorted((layout.root / "secrets").iterdir())
    }
    account = {"standin_account_sid", "standin_auth_token", "standin_from"}
    assert held == {
        "broker": {"operator_password", "users.acl"},
        "identity": {
            *("csrf_key", "database_password", "limits_pepper", "password_pepper", "redis_password"),
            "sealer_database_password",
        },
        "notifier": {"database_password", "sealer_database_password", *account},
        "otp": {
            *("code_pepper", "database_password", "limits_pepper", "redis_password"),
            "sealer_database_password",
        },
        "policy": {"database_password", "sealer_database_password"},
        "postgres": {"superuser_password"},
        "redis": {"operator_password", "users.acl"},
        "relay": {"broker_password", "database_password"},
        "standin": {"account_sid", "auth_token", "from"},
        "worker": {"broker_password", "database_password", *account},
    }
    keyrings = {str(path.relative_to(layout.root / "keyrings")) for path in layout.root.rglob("keyring.json")}
    assert keyrings == {f"{service}/keyring.json" for service in ("identity", "otp", "notifier")}


def test_p22_who_makes_the_databases_gets_their_passwords_and_nothing_that_opens_a_record(layout: Layout) -> None:
    hand_over_to_databases(layout)
    folder = layout.secrets("databases")
    [handed] = folder.iterdir()
    assert (folder.stat().st_mode & 0o777, handed.stat().st_mode & 0o777) == (0o700, 0o400)
    assert ForDatabases.load(folder) == ForDatabases(superuser_password(layout), database_passwords(layout))
    others = [*(layout.root / "secrets").rglob("*_pepper"), layout.keyring("otp")]
    assert len(others) > 3
    assert not [path for path in others if path.read_text() in handed.read_text()]
    # A password of a newer version is handed over, too.
    (layout.secrets("policy") / "sealer_database_password").unlink()
    make_files(layout, database_exists=True)
    hand_over_to_databases(layout)
    assert ForDatabases.load(folder).roles == database_passwords(layout)


def test_secrets_can_be_read_by_their_owner_alone(layout: Layout) -> None:
    for folder in ("secrets", "owners", "keyrings"):
        for path in (layout.root / folder).rglob("*"):
            assert path.stat().st_mode & 0o077 == 0 or (path.is_dir() and path.parent == layout.root), path
    for key in layout.root.rglob("key.pem"):
        assert key.stat().st_mode & 0o777 == 0o400, key


def test_no_password_stands_in_the_redis_users_files(layout: Layout) -> None:
    users = "".join((layout.secrets(name) / "users.acl").read_text() for name in ("redis", "broker"))
    for path in (layout.root / "secrets").rglob("*_password"):
        assert path.read_text() not in users, path


def test_a_certificate_with_less_than_ten_days_left_is_renewed_and_the_others_stay(layout: Layout) -> None:
    old = datetime.now(UTC) - timedelta(days=21)
    shutil.rmtree(layout.tls("otp"))
    make_leaf(layout.authority, layout.tls("otp"), ["otp"], now=old)
    before = (layout.tls("otp") / "cert.pem").read_bytes()
    assert make_files(layout, database_exists=True) == ["otp"]
    after = (layout.tls("otp") / "cert.pem").read_bytes()
    assert after != before
    left = x509.load_pem_x509_certificate(after).not_valid_after_utc - datetime.now(UTC)
    assert timedelta(days=29) < left <= timedelta(days=30)


def test_who_looks_at_the_two_redis_gets_secrets_only_where_they_are_asked_for(layout: Layout) -> None:
    """Their rules need Redis 7; the local stack has neither them nor that."""
    before = contents(layout.root)
    for redis in ("redis", "broker"):
        assert " exporter " not in (layout.secrets(redis) / "users.acl").read_text()
    make_files(layout, database_exists=True, with_watchers=True)
    assert contents(layout.root).keys() - before.keys() == {
        *("secrets/flower/broker_password", "secrets/flower/web_password"),
        *(
            f"secrets/{redis}-exporter/{name}"
            for redis in ("redis", "broker")
            for name in ("password", "passwords.json")
        ),
    }
    told = json.loads((layout.secrets("broker-exporter") / "passwords.json").read_text())
    assert told == {"rediss://exporter@broker:6379": (layout.secrets("broker-exporter") / "password").read_text()}
    users = {line.split()[1] for line in (layout.secrets("broker") / "users.acl").read_text().splitlines()}
    assert users == {"default", "notifier", "flower", "exporter", "operator"}
    again = contents(layout.root)
    make_files(layout, database_exists=True, with_watchers=True)
    assert contents(layout.root) == again
