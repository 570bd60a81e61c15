"""Runs the local stack's processes and sees to it that they live and die together.

Invariant: when the runner ends, however it ends, no process of it stays. A normal end stops them in order; a killed
runner's children get SIGTERM from the kernel where `setpriv` is there, and a guardian (a shell that waits for the
runner's end of a pipe to close) stops whoever is left, hung ones too.
"""

import contextlib
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Protocol

_DRAIN_SECONDS = 14.0  # a service drains for 10 (services/common/rpc_server.py)
_OLD_LOG_BYTES = 5_000_000

# Its standard input ends when the runner does. The list of process groups is read then: restarts change it.
_GUARDIAN = """
trap '' INT TERM HUP
read -r _
[ -s "$1" ] || exit 0
rm -f "$2"
groups=$(cat "$1")
for group in $groups; do kill -TERM "-$group"; kill -CONT "-$group"; done 2>/dev/null
for _ in $(seq 140); do
  left=
  for group in $groups; do kill -0 "-$group" 2>/dev/null && left=1; done
  [ "$left" ] || break
  sleep 0.1
done
for group in $groups; do kill -KILL "-$group"; done 2>/dev/null
"""


class Process(Protocol):
    """What the supervisor needs to know of a server or service."""

    @property
    def pid(self) -> int: ...
    @property
    def log(self) -> Path: ...
    def poll(self) -> int | None: ...
    def start(self) -> None: ...
    def stop(self) -> None: ...
    def kill(self) -> None: ...


class Child:
    """One service as a child process; its output goes to `log`."""

    def __init__(self, command: Sequence[str], environment: Mapping[str, str], folder: Path, log: Path) -> None:
        self.log = log
        self._command = list(command)
        self._environment = dict(environment)
        self._folder = folder
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        return self._process.pid if self._process else 0

    def poll(self) -> int | None:
        return self._process.poll() if self._process else None

    def start(self) -> None:
        """Starts it in a group of its own, so that Ctrl-C reaches the runner alone. Only from the main thread: the
        kernel's death signal is tied to the thread that made the child."""
        dying_with_parent = ["setpriv", "--pdeathsig", "TERM"] if shutil.which("setpriv") else []
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [*dying_with_parent, *self._command],
                env=self._environment,
                cwd=self._folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def ask_to_stop(self) -> None:
        if self._process and self._process.poll() is None:
            self._process.terminate()
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGCONT)  # one that is stopped could not hear it

    def stop(self) -> None:
        self.ask_to_stop()
        if self._process:
            try:
                self._process.wait(_DRAIN_SECONDS)
            except subprocess.TimeoutExpired:
                self.kill()

    def kill(self) -> None:
        if self._process and self._process.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()


class Died(Exception):
    """A process ended that should not have."""

    def __init__(self, name: str, code: int, last_lines: str, log: Path) -> None:
        how = f"was killed by signal {-code}" if code < 0 else f"ended with code {code}"
        super().__init__(f"{name} {how}. Its last lines ({log}):\n{last_lines}")
        self.code = code


class Supervisor:
    """Starts, watches, restarts and stops processes by name."""

    def __init__(self, groups_file: Path, told_file: Path) -> None:
        """`groups_file`: kept up to date for the guardian, who removes `told_file`, which would tell of what is not."""
        self.processes: dict[str, Process] = {}
        self._groups_file = groups_file
        self._told_file = told_file
        self._guardian: subprocess.Popen[bytes] | None = None

    def start(self, name: str, process: Process) -> None:
        """Starts it; from now on it is watched."""
        if self._guardian is None:
            self._guardian = subprocess.Popen(
                ["sh", "-c", _GUARDIAN, "guardian", str(self._groups_file), str(self._told_file)],
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
                cwd="/",
            )
        set_old_log_aside(process.log)
        self.processes[name] = process
        process.start()
        self._note()

    def restart(self, name: str) -> None:
        """Stops it, unless it is dead already, and starts it anew."""
        process = self.processes[name]
        if process.poll() is None and process.pid:
            process.stop()
        process.start()
        self._note()

    def dead(self) -> list[str]:
        """The names of those that have ended."""
        return [name for name, process in self.processes.items() if process.poll() is not None]

    def death(self, name: str) -> Died:
        process = self.processes[name]
        return Died(name, process.poll() or 0, last_lines(process.log), process.log)

    def wait_until(self, ready: Mapping[str, Callable[[], bool]], seconds: float) -> None:
        """Waits until every check is true. Raises `Died`, or TimeoutError with the names of those that are not."""
        ends_at = time.monotonic() + seconds
        waiting = dict(ready)
        while waiting:
            for name in self.dead():
                raise self.death(name)
            waiting = {name: check for name, check in waiting.items() if not check()}
            if waiting and time.monotonic() > ends_at:
                name = next(iter(waiting))
                told = last_lines(self.processes[name].log) if name in self.processes else ""
                raise TimeoutError(f"{', '.join(waiting)}: not ready within {seconds:.0f} s.\n{told}")
            if waiting:
                time.sleep(0.05)

    def pids(self) -> dict[str, int]:
        return {name: process.pid for name, process in self.processes.items()}

    def stop(self) -> None:
        """Stops everything: services together, then the servers they use, in the reverse order of their start."""
        children = [process for process in self.processes.values() if isinstance(process, Child)]
        for child in children:
            child.ask_to_stop()
        for process in (*children, *reversed([p for p in self.processes.values() if not isinstance(p, Child)])):
            with contextlib.suppress(ProcessLookupError):
                process.stop()
        self._groups_file.unlink(missing_ok=True)
        if self._guardian and self._guardian.stdin:
            self._guardian.stdin.close()
            self._guardian.wait()

    def kill(self) -> None:
        """Ends everything now."""
        for process in self.processes.values():
            process.kill()

    def _note(self) -> None:
        draft = self._groups_file.with_suffix(".new")
        draft.write_text("\n".join(str(pid) for pid in self.pids().values()) + "\n")
        draft.replace(self._groups_file)


def wait_for_leftovers(groups_file: Path, seconds: float = 20.0) -> None:
    """Waits while the guardian of a killed runner still stops its processes."""
    if not groups_file.exists():
        return
    groups = [int(word) for word in groups_file.read_text().split() if word.isdigit()]
    ends_at = time.monotonic() + seconds
    while time.monotonic() < ends_at and any(_group_is_alive(group) for group in groups):
        time.sleep(0.1)
    groups_file.unlink(missing_ok=True)


def set_old_log_aside(log: Path) -> None:
    """Keeps one former log, so that they do not grow for ever."""
    if log.exists() and log.stat().st_size > _OLD_LOG_BYTES:
        log.replace(log.with_name(log.name + ".1"))


def last_lines(log: Path, count: int = 12) -> str:
    """The end of a log, indented; what it is for is read by people."""
    try:
        lines = log.read_text(errors="replace").strip().splitlines()[-count:]
    except OSError:
        lines = []
    return "\n".join(f"    {line[:400]}" for line in lines) or "    (it said nothing)"


def _group_is_alive(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return False  # the number belongs to somebody else now
    return True
