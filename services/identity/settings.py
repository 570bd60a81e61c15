"""What the identity service is told at its start. A secret has no default, and a password hash that is too cheap to
protect anybody stops the start."""

import ipaddress
from functools import cached_property
from pathlib import Path
from typing import Self
from urllib.parse import urlsplit

from pydantic import SecretStr, field_validator, model_validator
from pydantic_settings import SettingsConfigDict

from services.common.settings import MigrationSettings, SealedServiceSettings

# OWASP's table of equally strong minimums (Password Storage Cheat Sheet): passes → memory in KiB, one lane.
_OWASP_MINIMUM_KIB = {1: 47104, 2: 19456, 3: 12288, 4: 9216}
_OWASP_FLOOR_KIB = 7168


class IdentitySettings(SealedServiceSettings):
    """Variables `IDENTITY_<FIELD>`."""

    model_config = SettingsConfigDict(env_prefix="IDENTITY_", frozen=True, extra="forbid", env_ignore_empty=True)

    listen: str = "127.0.0.1:8080"
    otp_target: str
    policy_target: str
    notifier_target: str
    redis_url: str
    redis_password: SecretStr
    limits_pepper: SecretStr
    password_pepper: SecretStr
    csrf_key: SecretStr
    keyring_file: Path
    """The keys that seal telephone numbers in the database."""
    public_url: str = "http://127.0.0.1:8080"
    """Where people reach the gateway; may carry a path."""
    allowed_origins: str = ""
    """Origins, separated by commas, whose scripts may call with a bearer token."""
    trusted_proxies: str = ""
    """Addresses, separated by commas, whose X-Forwarded-For is believed; exactly one hop."""
    grpc_listen: str = ""
    """Where back ends ask who sent a request (`countersign.identity.v1`); empty: nowhere."""
    backends: str = "backend"
    """Names, separated by commas, of which a back end's certificate must carry one."""
    product_name: str = "Countersign"
    support_contact: str = ""
    argon2_memory_kib: int = 47104
    argon2_time_cost: int = 1
    argon2_parallelism: int = 1
    allow_cheap_password_hash_for_tests: bool = False

    @field_validator("public_url")
    @classmethod
    def _is_an_address(cls, value: str) -> str:
        parts = urlsplit(value)
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.fragment:
            raise ValueError("must be http(s)://host[:port][/path]")
        if parts.scheme == "http" and not _is_loopback(parts.hostname):
            raise ValueError("must be https unless the host is this machine (127.0.0.1, ::1, localhost)")
        return value.rstrip("/")

    @field_validator("trusted_proxies")
    @classmethod
    def _are_addresses(cls, value: str) -> str:
        for item in _items(value):
            ipaddress.ip_address(item)
        return value

    @field_validator("allowed_origins")
    @classmethod
    def _are_origins(cls, value: str) -> str:
        for item in _items(value):
            parts = urlsplit(item)
            if parts.scheme not in ("http", "https") or not parts.netloc or item != f"{parts.scheme}://{parts.netloc}":
                raise ValueError(f"{item!r} is not an origin such as https://app.example")
        return value

    @field_validator("password_pepper", "csrf_key", "limits_pepper")
    @classmethod
    def _is_long_enough(cls, value: SecretStr) -> SecretStr:
        if len(value.get_secret_value()) < 32:
            raise ValueError("must have at least 32 characters")
        return value

    @model_validator(mode="after")
    def _hashes_dearly(self) -> Self:
        least = _OWASP_MINIMUM_KIB.get(self.argon2_time_cost, _OWASP_FLOOR_KIB)
        too_cheap = self.argon2_memory_kib < least or self.argon2_time_cost < 1 or self.argon2_parallelism < 1
        if too_cheap and not self.allow_cheap_password_hash_for_tests:
            raise ValueError(f"argon2 needs at least {least} KiB at {self.argon2_time_cost} passes (OWASP)")
        return self

    @cached_property
    def origins(self) -> frozenset[str]:
        return frozenset(_items(self.allowed_origins))

    @cached_property
    def proxies(self) -> frozenset[str]:
        return frozenset(str(ipaddress.ip_address(item)) for item in _items(self.trusted_proxies))

    @cached_property
    def backend_names(self) -> frozenset[str]:
        return frozenset(_items(self.backends))

    @cached_property
    def public_origin(self) -> str:
        parts = urlsplit(self.public_url)
        return f"{parts.scheme}://{parts.netloc}"

    @cached_property
    def path_prefix(self) -> str:
        """The path of the public address, e.g. '/auth', or ''."""
        return urlsplit(self.public_url).path.rstrip("/")

    @cached_property
    def is_https(self) -> bool:
        return urlsplit(self.public_url).scheme == "https"


def _items(value: str) -> list[str]:
    return [item.strip() for item in value.split(",") if item.strip()]


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


class IdentityMigrationSettings(MigrationSettings):
    """Variables of `migrate`, under the same prefix."""

    model_config = SettingsConfigDict(env_prefix="IDENTITY_", frozen=True, extra="ignore", env_ignore_empty=True)
