"""Reads a service's settings once, at the start: typed, frozen, secrets from files, nothing silently ignored."""

import os
from pathlib import Path
from typing import Any, Self, TypeVar

from pydantic import SecretStr, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

T = TypeVar("T", bound=BaseSettings)


class ServiceSettings(BaseSettings):
    """What every service needs to run. A subclass sets `env_prefix` and adds its own.

    Variables are `<PREFIX><FIELD>`; `<PREFIX><FIELD>_FILE` names a file that holds the value, and
    `<PREFIX>SECRETS_DIR` a folder with one file a field (named as the field). A variable comes before the folder; a
    variable and a file that is not empty stop the start. A secret has no default.
    """

    model_config = SettingsConfigDict(frozen=True, extra="forbid", env_ignore_empty=True)

    log_level: str = "INFO"
    tls_dir: Path
    """Folder with ca.pem, cert.pem and key.pem of this service."""
    metrics_listen: str = "127.0.0.1:0"
    """host:port of the Prometheus endpoint; never public."""
    database_url: str
    """libpq connection string of the application role, without its password."""
    database_password: SecretStr
    database_pool_size: int = 8
    otlp_endpoint: str | None = None
    """OTLP over HTTP, e.g. http://collector:4318/v1/traces; unset: no traces."""

    @classmethod
    def load(cls) -> Self:
        """Reads the environment; a missing, malformed or unknown variable stops the start with the full list."""
        return load_settings(cls)


class SealedServiceSettings(ServiceSettings):
    """Of a service that keeps an audit trail: the role that seals it, which may do nothing else."""

    sealer_database_url: str
    sealer_database_password: SecretStr


class MigrationSettings(BaseSettings):
    """What `migrate` needs: the owner role, which the running service never sees."""

    model_config = SettingsConfigDict(frozen=True, extra="ignore", env_ignore_empty=True)

    owner_database_url: str
    owner_database_password: SecretStr


def load_settings(cls: type[T], prefix: str | None = None, *, strict: bool = True) -> T:
    """Builds `cls` from variables that begin with its prefix; exits with one line a problem.

    `strict` refuses prefixed variables that no field knows: a mistyped name must not be ignored.
    """
    prefix = prefix if prefix is not None else cls.model_config.get("env_prefix") or ""
    problems: list[str] = []
    unreadable: set[tuple[int | str, ...]] = set()
    values: dict[str, Any] = {}
    fields = cls.model_fields
    secrets_dir = os.environ.get(f"{prefix}SECRETS_DIR")
    if secrets_dir:
        for name in fields:
            path = Path(secrets_dir, name)
            if path.is_file():
                values[name] = path.read_text().strip()
    for key, value in os.environ.items():
        if not key.startswith(prefix) or key == f"{prefix}SECRETS_DIR":
            continue
        name = key.removeprefix(prefix).lower()
        if name in fields:
            if value:
                values[name] = value
        elif name.endswith("_file") and name.removesuffix("_file") in fields:
            name = name.removesuffix("_file")
            try:
                content = Path(value).read_text().strip() if value else ""
            except OSError as error:
                unreadable.add((name,))
                problems.append(f"{key}: cannot be read ({error.strerror})")
                continue
            if not content:  # as an empty variable: where a file must be named, /dev/null says that there is none
                continue
            if os.environ.get(prefix + name.upper()):
                problems.append(f"{key}: {prefix}{name.upper()} is set, too; which one counts?")
            values[name] = content
        elif strict:
            problems.append(f"{key}: no such setting")
    try:
        settings = cls(**values)
    except ValidationError as error:
        for item in error.errors(include_input=False, include_url=False):
            if item["loc"] in unreadable:
                continue
            name = "_".join(str(part) for part in item["loc"]).upper()
            problems.append(f"{prefix}{name}: {item['msg']}")
        settings = None
    if problems or settings is None:
        raise SystemExit("The settings are not complete:\n" + "\n".join(f"  {line}" for line in sorted(problems)))
    return settings
