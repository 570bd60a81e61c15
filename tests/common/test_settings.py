"""Settings: read once, from variables, files or a folder of secrets; nothing missing, nothing mistyped."""

from pathlib import Path

import pytest
from pydantic import SecretStr, ValidationError
from pydantic_settings import SettingsConfigDict

from services.common.settings import MigrationSettings, ServiceSettings, load_settings


class Settings(ServiceSettings):
    model_config = SettingsConfigDict(env_prefix="ECHO_")

    listen: str
    pepper: SecretStr
    keyring_file: Path | None = None


class OwnerSettings(MigrationSettings):
    model_config = SettingsConfigDict(env_prefix="ECHO_")


COMPLETE = {
    "ECHO_TLS_DIR": "/tls",
    "ECHO_DATABASE_URL": "host=db dbname=echo user=echo",
    "ECHO_DATABASE_PASSWORD": "database-canary",
    "ECHO_LISTEN": "127.0.0.1:0",
    "ECHO_PEPPER": "pepper-canary",
}


@pytest.fixture(autouse=True)
def complete(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in COMPLETE.items():
        monkeypatch.setenv(name, value)


def problems() -> list[str]:
    with pytest.raises(SystemExit) as stopped:
        Settings.load()
    first, *lines = str(stopped.value.code).splitlines()
    assert first == "The settings are not complete:"
    return [line.strip() for line in lines]


def test_what_is_complete_is_read_and_frozen() -> None:
    settings = Settings.load()
    assert settings.tls_dir == Path("/tls")
    assert settings.database_pool_size == 8
    assert settings.pepper.get_secret_value() == "pepper-canary"
    with pytest.raises(ValidationError):
        settings.listen = "elsewhere"  # type: ignore[misc]


def test_secrets_do_not_show_when_settings_are_printed() -> None:
    settings = Settings.load()
    assert "canary" not in f"{settings!r} {settings} {settings.model_dump()}"


def test_everything_missing_is_listed_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in COMPLETE:
        monkeypatch.delenv(name)
    assert problems() == [f"{name}: Field required" for name in sorted(COMPLETE)]


def test_a_mistyped_variable_stops_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ECHO_LISTN", "127.0.0.1:1")
    monkeypatch.setenv("ECHO_DATABASE_POOL_SIZE", "many")
    monkeypatch.setenv("OTHER_LISTN", "ignored")
    told = problems()
    assert told[0].startswith("ECHO_DATABASE_POOL_SIZE: Input should be a valid integer")
    assert told[1:] == ["ECHO_LISTN: no such setting"]


def test_an_empty_variable_is_one_that_is_not_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ECHO_PEPPER", "")
    assert problems() == ["ECHO_PEPPER: Field required"]


def test_a_value_may_stand_in_a_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "pepper").write_text("from a file\n")
    monkeypatch.delenv("ECHO_PEPPER")
    monkeypatch.setenv("ECHO_PEPPER_FILE", str(tmp_path / "pepper"))
    assert Settings.load().pepper.get_secret_value() == "from a file"


def test_a_field_whose_own_name_ends_in_file_is_a_path(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ECHO_KEYRING_FILE", "/secrets/keyring")
    assert Settings.load().keyring_file == Path("/secrets/keyring")


def test_a_value_and_a_file_for_the_same_setting_stop_the_start(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "pepper").write_text("another")
    monkeypatch.setenv("ECHO_PEPPER_FILE", str(tmp_path / "pepper"))
    assert problems() == ["ECHO_PEPPER_FILE: ECHO_PEPPER is set, too; which one counts?"]


@pytest.mark.parametrize("nothing", ["", "/dev/null", "empty"])
def test_an_empty_file_is_a_value_that_is_not_given(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, nothing: str
) -> None:
    (tmp_path / "empty").write_text("\n")
    (tmp_path / "pepper").write_text("from the folder")
    monkeypatch.setenv("ECHO_PEPPER_FILE", str(tmp_path / "empty") if nothing == "empty" else nothing)
    assert Settings.load().pepper.get_secret_value() == "pepper-canary"
    monkeypatch.setenv("ECHO_PEPPER", "")
    assert problems() == ["ECHO_PEPPER: Field required"]
    monkeypatch.setenv("ECHO_SECRETS_DIR", str(tmp_path))
    assert Settings.load().pepper.get_secret_value() == "from the folder"


def test_a_file_that_is_not_there_is_named_once(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("ECHO_PEPPER")
    monkeypatch.setenv("ECHO_PEPPER_FILE", str(tmp_path / "missing"))
    assert problems() == ["ECHO_PEPPER_FILE: cannot be read (No such file or directory)"]


def test_values_may_stand_in_a_folder_of_secrets(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("pepper", "database_password", "not_a_setting"):
        (tmp_path / name).write_text(f"{name} from the folder\n")
    monkeypatch.delenv("ECHO_PEPPER")
    monkeypatch.setenv("ECHO_SECRETS_DIR", str(tmp_path))
    settings = Settings.load()
    assert settings.pepper.get_secret_value() == "pepper from the folder"
    assert settings.database_password.get_secret_value() == "database-canary", "a variable comes before the folder"


def test_migrations_ask_only_for_the_owner(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in COMPLETE:
        monkeypatch.delenv(name)
    monkeypatch.setenv("ECHO_LISTEN", "is of no interest here")
    monkeypatch.setenv("ECHO_OWNER_DATABASE_URL", "dbname=echo user=echo_owner")
    with pytest.raises(SystemExit, match="ECHO_OWNER_DATABASE_PASSWORD: Field required"):
        load_settings(OwnerSettings, strict=False)
    monkeypatch.setenv("ECHO_OWNER_DATABASE_PASSWORD", "secret")
    assert load_settings(OwnerSettings, strict=False).owner_database_url == "dbname=echo user=echo_owner"
