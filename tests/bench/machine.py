"""The machine under a measurement: how fast it is just now, and which process spends its time.

Two shared cores tell no absolute truth, so every figure stands beside a floor measured next to it, and a round in which
the machine itself changed counts for nothing.
"""

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

_TICK_MICROSECONDS = 1_000_000 / os.sysconf("SC_CLK_TCK")
_WORK = """
import hashlib, time
data, done, began = bytes(65536), 0, time.perf_counter()
while time.perf_counter() - began < 0.4:
    hashlib.sha256(data).digest()
    done += 1
print(done / (time.perf_counter() - began))
"""


def speed() -> float:
    """How much of a fixed piece of work all cores get done in a moment; only worth comparing with itself."""
    # Processes of their own, not forks: a process with gRPC's threads in it does not fork well.
    command = [sys.executable, "-S", "-c", _WORK]
    working = [subprocess.Popen(command, stdout=subprocess.PIPE) for _ in range(os.cpu_count() or 1)]
    return sum(float(process.communicate()[0]) for process in working)


def resident_mib(pid: int) -> float:
    """What a process holds of the machine's memory."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("VmRSS:")).split()[1]) / 1024


class CpuMeter:
    """CPU time of processes, by name, between two looks. A name stands for a process and all it has started."""

    def __init__(self, processes: Mapping[str, int]) -> None:
        self._processes = dict(processes)
        self._last = self._look()

    def split(self) -> dict[str, float]:
        """Microseconds of CPU by name since the last look; 'others' is whatever else the machine did."""
        now = self._look()
        spent = {name: now[name] - self._last[name] for name in now}
        self._last = now
        busy = spent.pop("machine")
        spent["others"] = max(0.0, busy - sum(spent.values()))
        return spent

    def _look(self) -> dict[str, float]:
        children: dict[int, list[int]] = {}
        ticks: dict[int, int] = {}
        for folder in Path("/proc").iterdir():
            if not folder.name.isdigit():
                continue
            try:
                fields = (folder / "stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
            pid = int(folder.name)
            children.setdefault(int(fields[1]), []).append(pid)
            ticks[pid] = sum(map(int, fields[11:15]))  # user and system, its own and of children that ended
        found = {name: _TICK_MICROSECONDS * _tree(pid, children, ticks) for name, pid in self._processes.items()}
        found["bench"] = sum(os.times()[:2]) * 1_000_000
        first = Path("/proc/stat").read_text().splitlines()[0].split()[1:]
        user, nice, system, _idle, _wait, irq, softirq = map(int, first[:7])
        found["machine"] = _TICK_MICROSECONDS * (user + nice + system + irq + softirq)
        return found


def _tree(pid: int, children: Mapping[int, list[int]], ticks: Mapping[int, int]) -> int:
    return ticks.get(pid, 0) + sum(_tree(child, children, ticks) for child in children.get(pid, []))
