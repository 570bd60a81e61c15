"""What a process of the local stack has said, for people: the end of its log, and what it complains of.

Ours write JSON lines; what they say when they cannot start at all is plain text. Invariant: a log is only read.
"""

import json
from pathlib import Path

_OLD_LOG_BYTES = 5_000_000
_ERRORS = ("error", "critical")
_NOTHING = "(it said nothing)"


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
    return "\n".join(f"    {line[:400]}" for line in lines) or f"    {_NOTHING}"


def complaint(log: Path, since: int) -> str:
    """The last error in a log, from the byte `since` on, or ''."""
    told = [_in_words(event) for event in _events(log, since) if event.get("level") in _ERRORS]
    return told[-1] if told else ""


def last_word(log: Path, since: int) -> str:
    """What the process itself would give as the reason: its last error, else its last line."""
    events = _events(log, since)
    return complaint(log, since) or (_in_words(events[-1]) if events else _NOTHING)


def _events(log: Path, since: int) -> list[dict[str, object]]:
    try:
        with log.open("rb") as file:
            file.seek(since)
            lines = file.read().decode(errors="replace").splitlines()
    except OSError:
        return []
    found = []
    for line in lines:
        try:
            event = json.loads(line)
        except ValueError:
            event = None
        found.append(event if isinstance(event, dict) else {"event": line})
    return found


def _in_words(event: dict[str, object]) -> str:
    what = str(event.get("event", "")).replace("_", " ")
    why = next((event[name] for name in ("reason", "away", "what", "error") if event.get(name)), "")
    trace = str(event.get("exception", "")).strip().splitlines()
    return (f"{what}: {why or trace[-1]}" if why or trace else what)[:400]
