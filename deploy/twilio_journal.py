"""What the stand-in was asked and what it took, in a file that outlives it: a line is written before the answer leaves,
so whoever was told of a message finds it here, however the stand-in ended. It holds numbers and codes."""

import json
import os
from collections.abc import Mapping
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import Any

from deploy.twilio_messages import Message

_TIMES = ("created_at", "sent_at", "updated_at")


class Journal:
    """Only ever appended to. Without a file nothing is kept."""

    def __init__(self, file: Path | None) -> None:
        self._file = file
        self._descriptor: int | None = None

    def called(self, call: Mapping[str, Any]) -> None:
        """An attempt to send, as it came or, told again, as it was answered."""
        self._append({"call": call})

    def has(self, message: Message) -> None:
        """A message that was taken, or, told again, what became of it."""
        self._append({"message": asdict(message)})

    def read(self) -> tuple[list[dict[str, Any]], list[Message]]:
        """All calls and all messages, oldest first, each as it was told last."""
        calls: dict[str, dict[str, Any]] = {}
        messages: dict[str, Message] = {}
        for line in self._file.read_text().splitlines() if self._file and self._file.exists() else []:
            try:
                told = json.loads(line)
            except ValueError:
                continue  # it ended in mid-line
            if call := told.get("call"):
                calls[call["id"]] = call
            if message := told.get("message"):
                times = {name: datetime.fromisoformat(message[name]) for name in _TIMES if message[name]}
                messages[message["sid"]] = Message(**{**message, **times})
        return list(calls.values()), list(messages.values())

    def _append(self, entry: Mapping[str, Any]) -> None:
        if self._file is None:
            return
        if self._descriptor is None:
            self._descriptor = os.open(self._file, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
            os.write(self._descriptor, b"\n")  # after a line that was not finished
        os.write(self._descriptor, json.dumps(entry, default=datetime.isoformat).encode() + b"\n")
