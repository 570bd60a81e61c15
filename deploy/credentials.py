"""Every secret of a stack: one folder a service with one file a field, keyrings in folders of their own, Redis users.

A secret that is there is never changed. A secret that records depend on (a keyring, a pepper) is made only while no
database exists: a new one over old records would lock everybody out and hide what was lost.
"""

import base64
import hashlib
import json
import os
import secrets
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from deploy.certificates import write_private
from deploy.databases import SERVICES, Passwords

KEYRING = "keyring.json"
_HANDED_OVER = "passwords.json"
_NOTIFIER = ("notifier", "relay", "worker")

# Redis 6.2 and newer. What the limits' scripts call, and what a client says when it connects (security.md, A68).
_LIMITS = (
    "~rl:* resetchannels -@all +eval +evalsha +script|load +get +set +del +time +incr +pexpire +pttl"
    " +ping +hello +client|setinfo"
)
# Celery's transport has this Redis to itself; what could harm the server or read its neighbours stays closed.
_BROKER = "~* &* +@all -@admin -@dangerous +info"
# Flower (profile ops) hears what the worker tells of itself and counts what waits. It can neither take nor put a
# message nor speak to the worker: what it may write notes that a queue of its own listens. Redis 7 and newer.
_LISTENER = (
    "%R~deliveries* ~_kombu.binding.celeryev ~_kombu.binding_permanent.celeryev ~_kombu.binding_deadlines ~celeryev.*"
    " resetchannels &/0.celeryev/* -@all +llen +sadd +srem +smembers +zadd +zrem +zrangebyscore +exists +time"
    " +eval +evalsha +script|load +script|exists +psubscribe +punsubscribe +unsubscribe +multi +exec"
    " +ping +hello +client|setinfo"
)
# An exporter of metrics (profile ops): what the server says of itself; it sees no key and no command's arguments.
_EXPORTER = (
    "resetchannels -@all +ping +hello +client|setinfo +client|setname +info +slowlog|len +latency|latest"
    " +latency|histogram"
)
# Reads its own health and takes renewed certificates and users; sees no key.
_OPERATOR = "resetchannels -@all +ping +hello +client|setinfo +info +config|get +config|set +acl|load"

# field → the processes that hold it; those named together hold the same value. The relay sees ids only, so it holds
# neither keyring nor account; the notifier's front never speaks to the broker.
_FIELDS: tuple[tuple[str, tuple[str, ...]], ...] = (
    *(("database_password", holders) for holders in (("identity",), ("otp",), ("policy",), _NOTIFIER)),
    # Beside the application's, in the same process: what is kept apart is what each role may do.
    *(("sealer_database_password", (service,)) for service in SERVICES),
    *(("redis_password", (holder,)) for holder in ("identity", "otp")),
    ("limits_pepper", ("identity", "otp")),
    ("password_pepper", ("identity",)),
    ("csrf_key", ("identity",)),
    ("code_pepper", ("otp",)),
    ("broker_password", ("relay", "worker")),
    ("superuser_password", ("postgres",)),
    *(("operator_password", (holder,)) for holder in ("redis", "broker")),
)
# service → where its keyring lay before it had a folder of its own, which its `rotate-keys` may write.
_KEYRINGS = {"identity": ("identity",), "otp": ("otp",), "notifier": ("notifier", "worker")}
_FOREIGN = ("postgres", "redis", "broker")
_IRREPLACEABLE = (
    ("otp", KEYRING, "the key that opens the authenticator secrets"),
    ("otp", "code_pepper", "the pepper of the backup codes"),
    ("notifier", KEYRING, "the key that opens the messages on their way"),
    ("identity", KEYRING, "the key that opens the telephone numbers"),
    ("identity", "password_pepper", "the pepper of the passwords"),
    ("postgres", "superuser_password", "the password of the database's administrator"),
)


_User = tuple[str, Path, str]
"""A user of a Redis, the file with its password, and what it may do."""


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

    def keyring(self, service: str) -> Path:
        """Alone in its folder, which its own service may write, and no other enters."""
        return self.root / "keyrings" / service / KEYRING

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


def make_secrets(layout: Layout, *, database_exists: bool, with_watchers: bool = False) -> None:
    """Makes what is missing; `with_watchers`: also for those who look at the two Redis (profile ops). Raises `Lost`
    where something irreplaceable is missing and records exist."""
    if database_exists:
        _refuse_if_lost(layout)
    for name, holders in _FIELDS:
        _make_shared(layout, name, holders, secrets.token_urlsafe(32))
    for service, holders in _KEYRINGS.items():
        _make_keyring(layout, service, [layout.secrets(holder) / KEYRING for holder in holders])
    for service in SERVICES:
        layout.open_folder(layout.owner_secrets(service))
        _write_once(layout.owner_secrets(service) / "owner_database_password", secrets.token_urlsafe(32))
    _make_standin_account(layout)
    limits = [(user, layout.secrets(user) / "redis_password", _LIMITS) for user in ("identity", "otp")]
    queue = [("notifier", layout.secrets("worker") / "broker_password", _BROKER)]
    if with_watchers:
        limits += [_make_exporter(layout, "redis")]
        queue += [_make_flower(layout), _make_exporter(layout, "broker")]
    _write_users(layout, "redis", limits)
    _write_users(layout, "broker", queue)
    _note_made(layout)


def database_passwords(layout: Layout) -> dict[str, Passwords]:
    """The passwords of every service's three roles."""
    return {
        service: Passwords(
            (layout.secrets(service) / "database_password").read_text().strip(),
            (layout.owner_secrets(service) / "owner_database_password").read_text().strip(),
            (layout.secrets(service) / "sealer_database_password").read_text().strip(),
        )
        for service in SERVICES
    }


@dataclass(frozen=True, slots=True)
class ForDatabases:
    """What it takes to make roles and databases: passwords, and nothing that opens a record."""

    superuser: str
    roles: dict[str, Passwords]

    @classmethod
    def load(cls, folder: Path) -> "ForDatabases":
        """From the folder that it was handed over in."""
        found = json.loads((folder / _HANDED_OVER).read_text())
        return cls(found["superuser"], {service: Passwords(**roles) for service, roles in found["roles"].items()})


def hand_over_to_databases(layout: Layout) -> None:
    """A copy, in a folder of its own, for a container that is to see nothing else."""
    folder = layout.secrets("databases")
    layout.open_folder(folder)
    roles = {service: asdict(passwords) for service, passwords in database_passwords(layout).items()}
    content = json.dumps({"superuser": superuser_password(layout), "roles": roles})
    path = folder / _HANDED_OVER
    if not path.exists() or path.read_text() != content:
        write_private(path, content.encode())


def superuser_password(layout: Layout) -> str:
    return (layout.secrets("postgres") / "superuser_password").read_text().strip()


def _refuse_if_lost(layout: Layout) -> None:
    """What was made once must be there. What a newer version adds is not in the list yet, and may be made; without the
    list everything counts as made."""
    try:
        made = set(_list_of_made(layout).read_text().split())
    except OSError:
        made = {f"{service}/{name}" for service, name, _ in _IRREPLACEABLE}
    lost = [
        f"{_places(layout, service, name)[0]} ({what})"
        for service, name, what in _IRREPLACEABLE
        if f"{service}/{name}" in made and not any(map(_is_filled, _places(layout, service, name)))
    ]
    if lost:
        raise Lost(
            "The database holds records that cannot be read without what is missing here: "
            + ", ".join(lost)
            + ". Restore it from your backup; nothing was made anew."
        )


def _places(layout: Layout, service: str, name: str) -> list[Path]:
    """Where it is, and where a version before kept it."""
    earlier = layout.secrets(service) / name
    return [layout.keyring(service), earlier] if name == KEYRING else [earlier]


def _note_made(layout: Layout) -> None:
    names = "".join(f"{service}/{name}\n" for service, name, _ in _IRREPLACEABLE)
    path = _list_of_made(layout)
    if not path.exists() or path.read_text() != names:
        write_private(path, names.encode())


def _list_of_made(layout: Layout) -> Path:
    return layout.root / "made"


def _make_standin_account(layout: Layout) -> None:
    """The Twilio stand-in's account: the notifier signs in with it, the stand-in knows it."""
    account = {
        "account_sid": "AC" + secrets.token_hex(16),
        "auth_token": secrets.token_hex(16),
        "from": "+15005550006",  # the number Twilio keeps for tests
    }
    for name, value in account.items():
        path = layout.secrets("standin") / name
        layout.open_folder(path.parent)
        _write_once(path, value)
        _make_shared(layout, f"standin_{name}", ("notifier", "worker"), path.read_text())


def _make_flower(layout: Layout) -> _User:
    """Two passwords: of its user at the broker, and the one that an operator types."""
    folder = layout.secrets("flower")
    layout.open_folder(folder)
    for name in ("broker_password", "web_password"):
        _write_once(folder / name, secrets.token_urlsafe(32))
    return "flower", folder / "broker_password", _LISTENER


def _make_exporter(layout: Layout, redis: str) -> _User:
    """A password, and the same in the form that the exporter reads: a file of passwords by address."""
    folder = layout.secrets(f"{redis}-exporter")
    layout.open_folder(folder)
    _write_once(folder / "password", secrets.token_urlsafe(32))
    addresses = json.dumps({f"rediss://exporter@{redis}:6379": (folder / "password").read_text().strip()})
    path = folder / "passwords.json"
    if not path.exists() or path.read_text() != addresses:
        write_private(path, addresses.encode())
    return "exporter", folder / "password", _EXPORTER


def _make_shared(layout: Layout, name: str, holders: tuple[str, ...], new_value: str) -> None:
    """One value for all holders: what one of them has counts, a new one only where none has any."""
    paths = [layout.secrets(holder) / name for holder in holders]
    value = next((path.read_text() for path in paths if _is_filled(path)), new_value)
    for holder, path in zip(holders, paths, strict=True):
        _write_once(path, value, layout.open_folder(path.parent, foreign=holder in _FOREIGN))


def _make_keyring(layout: Layout, service: str, earlier: Sequence[Path]) -> None:
    """A version before kept it among the secrets. There it stays for that version, until a rotation makes it another:
    then it opens nothing any more, and holds a key that is to be gone."""
    path = layout.keyring(service)
    key = base64.b64encode(secrets.token_bytes(32)).decode()
    found = next((one.read_text() for one in earlier if _is_filled(one)), json.dumps({"active": 1, "keys": {"1": key}}))
    layout.open_folder(path.parent)
    _write_once(path, found)
    for one in earlier:
        if one.exists() and one.read_bytes() != path.read_bytes():
            one.unlink()


def _write_users(layout: Layout, redis: str, users: Iterable[_User]) -> None:
    lines = ["user default off"]
    for user, password_file, rules in (*users, ("operator", layout.secrets(redis) / "operator_password", _OPERATOR)):
        lines.append(f"user {user} on {_hashed(password_file)} {rules}")
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
