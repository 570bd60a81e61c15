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

from deploy.process_logs import complaint, last_lines, last_word, set_old_log_aside

_DRAIN_SECONDS = 14.0  # a service drains for 10 (services/common/rpc_server.py)
_MENDS_WITHIN_SECONDS = 3.0  # an error that a process logs while it starts, and gets over, is none

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
        self.name = name


class NotReady(Exception):
    """A process lives but cannot do its work; the text names it, with its own reason."""


class Supervisor:
    """Starts, watches, restarts and stops processes by name."""

    def __init__(self, groups_file: Path, told_file: Path) -> None:
        """`groups_file`: kept up to date for the guardian, who removes `told_file`, which would tell of what is not."""
        self.processes: dict[str, Process] = {}
        self._log_begins_at: dict[str, int] = {}
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
        self._log_begins_at[name] = process.log.stat().st_size if process.log.exists() else 0
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
        """Waits until every check is true, in their order: one that needs another comes after it.

        Raises `Died`, or `NotReady` with the name of the first that is not: once it has said what is wrong and does
        not get over it, or when the time is over.
        """
        ends_at = time.monotonic() + seconds
        for name, check in ready.items():
            gives_up_at = None
            while not check():
                self._raise_deaths()
                now, log = time.monotonic(), self.processes[name].log
                wrong = complaint(log, self._log_begins_at[name])
                gives_up_at = (gives_up_at or now + _MENDS_WITHIN_SECONDS) if wrong else None
                if now > min(ends_at, gives_up_at or ends_at):
                    late = "" if wrong else f" within {seconds:.0f} s"
                    why = last_word(log, self._log_begins_at[name])
                    raise NotReady(f"{name} is not ready{late}: {why}\n(its log: {log})")
                time.sleep(0.05)
        self._raise_deaths()

    def _raise_deaths(self) -> None:
        for name in self.dead():
            raise self.death(name)

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


def _group_is_alive(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return False  # the number belongs to somebody else now
    return True
