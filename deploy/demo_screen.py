"""What the demo shows: each step, each request as it was sent, each answer as it came.

Invariant: what a person would see or type is shown (codes, keys, backup codes of a stack that ends with the demo); what
nobody should ever see, passwords and tokens, is cut to its first characters even here.
"""

import json
import time
from collections.abc import Mapping
from typing import Any

import httpx
import segno
from rich.console import Console
from rich.text import Text

_CUT = ("password", "token", "new_password", "current_password", "activation_token", "activation_url", "url")
_WIDE = 100
_HALVES = {(False, False): " ", (True, False): "▀", (False, True): "▄", (True, True): "█"}


class Screen:
    """The terminal. Numbers the steps."""

    def __init__(self) -> None:
        self.console = Console(highlight=False, width=None, soft_wrap=True)
        self._step = 0

    def title(self, text: str) -> None:
        self.console.print()
        self.console.print(Text(text, style="bold cyan"))
        self.console.print(Text("─" * min(len(text), self.console.width), style="cyan"))

    def step(self, heading: str, sentence: str = "") -> None:
        self._step += 1
        self.title(f"{self._step}. {heading}")
        if sentence:
            self.console.print(sentence)

    def say(self, text: str) -> None:
        self.console.print(f"   {text}", style="italic")

    def command(self, line: str, answer: str = "") -> None:
        self.console.print(Text(f"   $ {line}", style="bold blue"))
        if answer:
            self.console.print(Text(f"   {answer}", style="dim"))

    def sent(self, method: str, path: str, body: Mapping[str, Any] | None, headers: Mapping[str, str]) -> None:
        line = Text("   → ", style="bold blue")
        line.append(f"{method} {path}", style="bold")
        for name, value in headers.items():
            line.append(f"  {name}: {value}", style="dim")
        self.console.print(line)
        if body is not None:
            self._json(body)

    def got(self, answer: httpx.Response, seconds: float, only: tuple[str, ...] = ()) -> None:
        good = answer.status_code < 400
        line = Text("   ← ", style="bold green" if good else "bold yellow")
        line.append(f"{answer.status_code} {answer.reason_phrase}", style="bold green" if good else "bold yellow")
        line.append(f"  {seconds * 1000:.0f} ms", style="dim")
        self.console.print(line)
        if answer.content:
            body = answer.json()
            self._json({name: body[name] for name in only if name in body} if only else body, rest=bool(only))

    def qr(self, uri: str) -> None:
        """The code as a camera reads it, drawn from the answer's otpauth URI."""
        rows = [list(row) for row in segno.make(uri, error="l", micro=False).matrix_iter(border=3)]
        rows += [[0] * len(rows[0])] * (len(rows) % 2)
        for above, below in zip(rows[::2], rows[1::2], strict=True):
            line = "".join(_HALVES[bool(top), bool(bottom)] for top, bottom in zip(above, below, strict=True))
            self.console.print(Text("   ") + Text(line, style="#000000 on #ffffff"))

    def codes(self, codes: list[str]) -> None:
        for left, right in zip(codes[::2], codes[1::2], strict=True):
            self.console.print(Text(f"      {left}     {right}", style="bold"))

    def wait(self, seconds: float, why: str) -> None:
        """A countdown; one line where nobody watches a terminal."""
        ends_at = time.monotonic() + seconds
        if not self.console.is_terminal:
            self.say(f"{why}: {seconds:.0f} s …")
            time.sleep(max(0.0, seconds))
            return
        with self.console.status("", spinner="dots") as status:
            while (left := ends_at - time.monotonic()) > 0:
                status.update(f"[italic]{why}: {left:.0f} s[/italic]")
                time.sleep(min(0.2, left))

    def _json(self, body: Any, rest: bool = False) -> None:
        lines = lay_out(shorten(body))
        if rest:
            lines[-1:] = ["  …", lines[-1]] if len(lines) > 1 else [lines[-1][:-1] + ", …}"]
        for line in lines:
            self.console.print(Text(f"     {line}", style="dim"))


def lay_out(value: Any, name: str = "", depth: int = 0) -> list[str]:
    """JSON over as few lines as fit a terminal."""
    start = "  " * depth + (f"{json.dumps(name)}: " if name else "")
    flat = json.dumps(value, ensure_ascii=False)
    if len(start) + len(flat) <= _WIDE or not isinstance(value, dict | list) or not value:
        return [start + flat]
    items = value.items() if isinstance(value, dict) else (("", item) for item in value)
    inner = [lay_out(item, key, depth + 1) for key, item in items]
    for lines in inner[:-1]:
        lines[-1] += ","
    opening, closing = "{}" if isinstance(value, dict) else "[]"
    return [start + opening, *(line for lines in inner for line in lines), "  " * depth + closing]


def shorten(value: Any, name: str = "") -> Any:
    """The same JSON with passwords and tokens cut and pictures left out."""
    if isinstance(value, Mapping):
        return {key: shorten(item, key) for key, item in value.items()}
    if isinstance(value, list):
        return [shorten(item) for item in value]
    if isinstance(value, str):
        if name in _CUT:
            return cut(value)
        if name == "qr_svg":
            return "<svg …>"
    return value


def cut(secret: str) -> str:
    """Enough to tell it from another, nothing to use."""
    if "://" in secret:
        start, _, token = secret.rpartition("/")
        return f"{start}/{token[:4]}…"
    return f"{secret[:4]}…"
