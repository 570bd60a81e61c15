"""Processes of ours, as tests start, stop, kill and question them."""

import os
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

ROOT = Path(__file__).parent.parent.parent


def eventually(check: Callable[[], Any], seconds: float = 60.0) -> Any:
    """What `check` answers as soon as that is true; fails after `seconds`, which are many: the machine may be busy."""
    ends_at = time.monotonic() + seconds
    while True:
        if found := check():
            return found
        assert time.monotonic() < ends_at, f"not within {seconds} s; last: {found!r}"
        time.sleep(0.02)


@dataclass
class Child:
    """One process of ours and what it logged."""

    process: "subprocess.Popen[bytes]"
    log: Path

    def stop(self, seconds: float = 20) -> int:
        if self.process.poll() is None:
            self.process.terminate()
        return self.process.wait(seconds)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def freeze(self) -> None:
        self.process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        self.process.send_signal(signal.SIGCONT)

    def said(self) -> str:
        return self.log.read_text()


@dataclass
class Standin:
    """The stand-in for Twilio, seen from outside."""

    url: str
    child: Child

    def inbox(self, to: str) -> list[dict[str, Any]]:
        return list(httpx.get(f"{self.url}/inbox", params={"to": to}).json())

    def calls(self, to: str) -> list[dict[str, Any]]:
        """Every attempt to send to this number, newest first."""
        return [call for call in httpx.get(f"{self.url}/calls").json() if call["form"].get("To") == to]

    def fail(self, kind: str, to: str, count: int = 1, **more: Any) -> None:
        given = {"kind": kind, "to": to, "count": count, **more}
        httpx.post(f"{self.url}/faults", json=given).raise_for_status()


def start(arguments: list[str], environment: dict[str, str], folder: Path) -> Child:
    log = folder / f"{arguments[-1].replace('/', '_')}-{secrets.token_hex(3)}.log"
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
    paths = {"PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'proto' / 'gen'}"}
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", *arguments], env=kept | paths | environment, stdout=output, stderr=output, cwd=folder
        )
    return Child(process, log)
