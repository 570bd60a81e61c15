"""PostgreSQL and Redis out of Python wheels, as child processes: for the local stack and the tests.

Both stop with the process that started them, also when that one is killed. PostgreSQL refuses to run as root; there it
runs as `nobody`, who is given the right to walk through folders (a capability), wherever the checkout lies.
"""

import contextlib
import hashlib
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import psycopg

from deploy.programs import (
    NOBODY,
    NotStarted,
    children_of,
    dying_with_parent,
    is_alive,
    last_line,
    program,
    redis_server,
    stop,
    unprivileged,
)

_GONE_WITHIN_SECONDS = 5.0
_MODEST = {
    # A stack for one machine: little memory, and the durability that the promises rest on.
    "shared_buffers": "24MB",
    "max_connections": "120",
    "max_wal_size": "256MB",
    "synchronous_commit": "on",
    "listen_addresses": "",
    "log_timezone": "UTC",
    "timezone": "UTC",
    "jit": "off",
}


def free_port() -> int:
    """A TCP port on loopback that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class EmbeddedPostgres:
    """One PostgreSQL in `folder`, reached over a Unix socket only; every role needs its password (SCRAM)."""

    def __init__(self, folder: Path, superuser_password: str, options: Mapping[str, str] | None = None) -> None:
        self.folder = folder
        self.log = folder.parent / f"{folder.name}.log"
        self._password = superuser_password
        self._options = {**_MODEST, **(options or {})}
        self._process: subprocess.Popen[bytes] | None = None
        self.socket_folder = _socket_folder(folder)

    @property
    def pid(self) -> int:
        return self._process.pid if self._process else 0

    def poll(self) -> int | None:
        """The exit code of the server, or None while it runs."""
        return self._process.poll() if self._process else None

    def url(self, database: str, user: str) -> str:
        """libpq's connection string, without the password."""
        return f"host={self.socket_folder} dbname={database} user={user}"

    def start(self, seconds: float = 30.0) -> None:
        """Makes the data folder at the first time, starts the server and waits until it takes connections."""
        self._prepare()
        if not (self.folder / "PG_VERSION").exists():
            self._initialise()
        _remove_stale_lock(self.folder / "postmaster.pid")
        with self.log.open("ab") as log:
            arguments = [f"-c{name}={value}" for name, value in self._options.items()]
            command = [program("postgres"), f"-D{self.folder}", f"-k{self.socket_folder}", *arguments]
            self._process = subprocess.Popen(
                [*unprivileged(), *dying_with_parent("INT"), *command],
                stdout=log,
                stderr=log,
                stdin=subprocess.DEVNULL,
                start_new_session=True,
                cwd="/",
            )
        ends_at = time.monotonic() + seconds
        while time.monotonic() < ends_at:
            if self._process.poll() is not None:
                break
            with contextlib.suppress(psycopg.OperationalError), self.connect("postgres"):
                return
            time.sleep(0.05)
        raise NotStarted(f"PostgreSQL did not start: {last_line(self.log)}")

    def connect(self, database: str) -> "psycopg.Connection[tuple[object, ...]]":
        """A superuser's connection, for making roles and databases."""
        return psycopg.connect(self.url(database, "postgres"), password=self._password, autocommit=True)

    def stop(self) -> None:
        """Fast shutdown: open transactions are rolled back, everything committed is on disk."""
        stop(self._process, signal.SIGINT, 15)
        self._process = None
        shutil.rmtree(self.socket_folder, ignore_errors=True)

    def kill(self) -> None:
        """SIGKILL to the whole server, as a fault would. Its children are sessions of their own, and would outlive it
        for a moment: they are killed one by one, and gone when this returns."""
        if self._process:
            children = children_of(self._process.pid)
            for pid in (self._process.pid, *children):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            self._process.wait()
            self._process = None
            gone_by = time.monotonic() + _GONE_WITHIN_SECONDS
            while any(is_alive(pid) for pid in children) and time.monotonic() < gone_by:
                time.sleep(0.01)

    def _prepare(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self.socket_folder.mkdir(exist_ok=True, mode=0o755)
        self.log.touch()
        if os.geteuid() == 0:
            for path in (self.socket_folder, self.folder):
                os.chown(path, NOBODY, NOBODY)

    def _initialise(self) -> None:
        read_end, write_end = os.pipe()
        os.write(write_end, self._password.encode() + b"\n")
        os.close(write_end)
        command = [program("initdb"), f"-D{self.folder}", "-Upostgres", "--auth=scram-sha-256", "-EUTF8", "--locale=C"]
        try:
            done = subprocess.run(
                [*unprivileged(), *command, f"--pwfile=/dev/fd/{read_end}"],
                pass_fds=[read_end],
                capture_output=True,
                text=True,
                check=False,
                cwd="/",
            )
        finally:
            os.close(read_end)
        if done.returncode:
            raise NotStarted(f"PostgreSQL's data folder could not be made: {done.stderr.strip()[-300:]}")


class EmbeddedRedis:
    """One Redis on a loopback port. `acl_file` holds its users; without one, `password` guards the default user."""

    def __init__(
        self,
        folder: Path,
        port: int,
        *,
        password: str | None = None,
        acl_file: Path | None = None,
        options: Sequence[str] = (),
    ) -> None:
        self.folder = folder
        self.port = port
        self.log = folder / "redis.log"
        self._secrets = (password, acl_file)
        self._options = list(options)
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        return self._process.pid if self._process else 0

    def poll(self) -> int | None:
        return self._process.poll() if self._process else None

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    def start(self, seconds: float = 10.0) -> None:
        """Starts the server and waits until its port answers."""
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        password, acl_file = self._secrets
        lines = [
            f"port {self.port}",
            "bind 127.0.0.1",
            f'dir "{self.folder}"',
            'save ""',
            "appendonly no",
            "maxmemory 64mb",
            "maxmemory-policy noeviction",
            "daemonize no",
            *self._options,
        ]
        if acl_file:
            lines.append(f'aclfile "{acl_file}"')
        elif password:
            lines.append(f"requirepass {password}")
        config = self.folder / "redis.conf"
        config.touch(mode=0o600)
        config.write_text("\n".join(lines) + "\n")
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [*dying_with_parent("TERM"), redis_server(), str(config)],
                stdout=log,
                stderr=log,
                stdin=subprocess.DEVNULL,
                start_new_session=True,
            )
        ends_at = time.monotonic() + seconds
        while time.monotonic() < ends_at and self._process.poll() is None:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 0.2):
                return
            time.sleep(0.02)
        raise NotStarted(f"Redis did not start: {last_line(self.log)}")

    def stop(self) -> None:
        stop(self._process, signal.SIGTERM, 5)
        self._process = None

    def kill(self) -> None:
        if self._process:
            self._process.kill()
            self._process.wait()
            self._process = None


def _socket_folder(data_folder: Path) -> Path:
    """A short path (a socket's holds 107 bytes), the same for the same data folder unless a stranger owns it."""
    digest = hashlib.sha256(str(data_folder.resolve()).encode()).hexdigest()[:10]
    folder = Path("/tmp") / f"countersign-{digest}"
    with contextlib.suppress(FileNotFoundError):
        if folder.lstat().st_uid not in (os.geteuid(), NOBODY if os.geteuid() == 0 else os.geteuid()):
            return Path(tempfile.mkdtemp(prefix="countersign-"))
    return folder


def _remove_stale_lock(lock: Path) -> None:
    """Removes what a killed server left, where its process number now belongs to somebody else."""
    try:
        pid = int(lock.read_text().splitlines()[0])
    except (OSError, ValueError, IndexError):
        return
    try:
        told = subprocess.run(["ps", "-o", "command=", "-p", str(pid)], capture_output=True, text=True, check=False)
    except FileNotFoundError:
        return
    if str(lock.parent) not in told.stdout:
        lock.unlink(missing_ok=True)
