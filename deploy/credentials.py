"""Every secret of a stack: one folder a service with one file a field, keyrings, Redis users.

A secret that is there is never changed. A secret that records depend on (a keyring, a pepper) is made only while no
database exists: a new one over old records would lock everybody out and hide what was lost.
"""

import base64
import hashlib
import json
import os
import secrets
from dataclasses import dataclass
from pathlib import Path

from deploy.certificates import write_private
from deploy.databases import SERVICES, Passwords

KEYRING = "keyring.json"

# Redis 6.2 and newer. What the limits' scripts call, and what a client says when it connects (security.md, A68).
_LIMITS_RULES = (
    "~rl:* resetchannels -@all +eval +evalsha +script|load +get +set +del +time +incr +pexpire +pttl"
    " +ping +hello +client|setinfo"
)
# Celery's transport has this Redis to itself; what could harm the server or read its neighbours stays closed.
_BROKER_RULES = "~* &* +@all -@admin -@dangerous +info"
# Reads its own health and takes renewed certificates and users; sees no key.
_OPERATOR_RULES = "resetchannels -@all +ping +hello +client|setinfo +info +config|get +config|set +acl|load"

_FIELDS = {
    "identity": ("database_password", "redis_password", "password_pepper", "csrf_key"),
    "otp": ("database_password", "redis_password", "code_pepper"),
    "policy": ("database_password",),
    "notifier": ("database_password", "broker_password"),
    "postgres": ("superuser_password",),
    "redis": ("operator_password",),
    "broker": ("operator_password",),
}
_SHARED = (("limits_pepper", ("identity", "otp")),)
_KEYRINGS = ("otp", "notifier")
_IRREPLACEABLE = (
    ("otp", KEYRING, "the key that opens the authenticator secrets"),
    ("otp", "code_pepper", "the pepper of the backup codes"),
    ("notifier", KEYRING, "the key that opens the messages on their way"),
    ("identity", "password_pepper", "the pepper of the passwords"),
)


class Lost(Exception):
    """A secret that cannot be made anew is missing; the text says what to restore."""


@dataclass(frozen=True, slots=True)
class Layout:
    """Where things lie. `foreign_group` may read what PostgreSQL and Redis need, where they run as another user."""

    root: Path
    authority: Path
    foreign_group: int | None = None

    def secrets(self, service: str) -> Path:
        return self.root / "secrets" / service

    def owner_secrets(self, service: str) -> Path:
        """What `migrate` reads and the running service never sees."""
        return self.root / "owners" / service

    def tls(self, service: str) -> Path:
        return self.root / "tls" / service

    def open_folder(self, folder: Path, *, foreign: bool = False) -> int:
        """Makes a folder that only its reader enters; answers the mode its files get."""
        folder.mkdir(parents=True, exist_ok=True)
        if not foreign or self.foreign_group is None:
            folder.chmod(0o700)
            return 0o400
        os.chown(folder, -1, self.foreign_group)
        folder.chmod(0o2750)  # setgid: files made here belong to the group without a moment of not doing so
        return 0o440


def make_secrets(layout: Layout, *, database_exists: bool) -> None:
    """Makes what is missing. Raises `Lost` where something irreplaceable is missing and records exist."""
    if database_exists:
        _refuse_if_lost(layout)
    for service, names in _FIELDS.items():
        mode = layout.open_folder(layout.secrets(service), foreign=service in ("postgres", "redis", "broker"))
        for name in names:
            _write_once(layout.secrets(service) / name, secrets.token_urlsafe(32), mode)
    for name, services in _SHARED:
        paths = [layout.secrets(service) / name for service in services]
        value = next((path.read_text() for path in paths if path.exists()), secrets.token_urlsafe(32))
        for path in paths:
            _write_once(path, value)
    for service in _KEYRINGS:
        key = base64.b64encode(secrets.token_bytes(32)).decode()
        _write_once(layout.secrets(service) / KEYRING, json.dumps({"active": 1, "keys": {"1": key}}))
    for service in SERVICES:
        layout.open_folder(layout.owner_secrets(service))
        _write_once(layout.owner_secrets(service) / "owner_database_password", secrets.token_urlsafe(32))
    _make_standin_account(layout)
    _write_users(layout, "redis", dict.fromkeys(("identity", "otp"), _LIMITS_RULES), "redis_password")
    _write_users(layout, "broker", {"notifier": _BROKER_RULES}, "broker_password")


def database_passwords(layout: Layout) -> dict[str, Passwords]:
    """The passwords of every service's two roles."""
    return {
        service: Passwords(
            (layout.secrets(service) / "database_password").read_text().strip(),
            (layout.owner_secrets(service) / "owner_database_password").read_text().strip(),
        )
        for service in SERVICES
    }


def superuser_password(layout: Layout) -> str:
    return (layout.secrets("postgres") / "superuser_password").read_text().strip()


def _refuse_if_lost(layout: Layout) -> None:
    lost = [
        f"{layout.secrets(service) / name} ({what})"
        for service, name, what in _IRREPLACEABLE
        if not _is_filled(layout.secrets(service) / name)
    ]
    if lost:
        raise Lost(
            "The database holds records that cannot be read without what is missing here: "
            + ", ".join(lost)
            + ". Restore it from your backup; nothing was made anew."
        )


def _make_standin_account(layout: Layout) -> None:
    """The Twilio stand-in's account: the notifier signs in with it, the stand-in knows it."""
    account = {
        "account_sid": "AC" + secrets.token_hex(16),
        "auth_token": secrets.token_hex(16),
        "from": "+15005550006",  # the number Twilio keeps for tests
    }
    layout.open_folder(layout.secrets("standin"))
    for name, value in account.items():
        path = layout.secrets("standin") / name
        _write_once(path, value)
        _write_once(layout.secrets("notifier") / f"standin_{name}", path.read_text())


def _write_users(layout: Layout, redis: str, rules: dict[str, str], password_name: str) -> None:
    lines = ["user default off"]
    for user, rule in rules.items():
        lines.append(f"user {user} on {_hashed(layout.secrets(user) / password_name)} {rule}")
    lines.append(f"user operator on {_hashed(layout.secrets(redis) / 'operator_password')} {_OPERATOR_RULES}")
    mode = layout.open_folder(layout.secrets(redis), foreign=True)
    path, content = layout.secrets(redis) / "users.acl", "\n".join(lines) + "\n"
    if not path.exists() or path.read_text() != content:
        write_private(path, content.encode(), mode)


def _hashed(password_file: Path) -> str:
    return "#" + hashlib.sha256(password_file.read_text().strip().encode()).hexdigest()


def _write_once(path: Path, value: str, mode: int = 0o400) -> None:
    if not _is_filled(path):
        write_private(path, value.encode(), mode)


def _is_filled(path: Path) -> bool:
    return path.is_file() and path.stat().st_size > 0
