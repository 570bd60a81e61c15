"""Rotates the key of a keyring while the service goes on: adds one, wraps every record's own key anew under it, then
takes the old one away.

Where it stands is read off the keyring and the records alone, so it may be killed at any moment and goes on when it is
started again:

    one key in the file      → a new key is added and seals from now on
    more than one            → records of the others are rewrapped, until a look after a grace finds none
    no record left           → the known texts of the others are forgotten, then the others leave the file

Invariant: a key leaves the file only when no record was found under it for longer than anything in flight can last.
"""

import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from services.common import keyring_file
from services.common.audit import AuditEvent
from services.common.clock import Clock
from services.common.keyring_in_use import examine, known_text
from services.common.logs import get_logger
from services.common.sealed_columns import RotationStore, SealedColumn
from services.common.sealing import Keyring, SealingError

# A process seals under the old key for a second after the change, at most; what it sealed is committed, and what copies
# sealed bytes from row to row is over, within the three seconds that a connection is held and the two that one is
# waited for.
GRACE_SECONDS = 6.0
BATCH = 200
"""Rows that one statement locks: some ten milliseconds for whoever wants one of them."""
_TELL_EVERY_SECONDS = 0.5

_log = get_logger(__name__)


class AnotherRuns(Exception):
    """Another rotation holds the keyring, or the database."""


class Refused(Exception):
    """The rotation cannot begin, or cannot end; the text says why and holds no secret. No key was taken away."""


@dataclass(frozen=True, slots=True)
class Rotated:
    """What became of it; `rewrapped` counts by column, in this run."""

    retired: tuple[int, ...]
    active: int
    rewrapped: dict[str, int]


class Rotation:
    """`run` does all of it. `say` is given lines of progress."""

    def __init__(
        self,
        service: str,
        path: Path,
        store: RotationStore,
        clock: Clock,
        event_kind: str,
        say: Callable[[str], None],
        grace_seconds: float = GRACE_SECONDS,
    ) -> None:
        self._service = service
        self._path = path
        self._store = store
        self._clock = clock
        self._event_kind = event_kind
        self._say = say
        self._grace_seconds = grace_seconds
        self._rewrapped: Counter[str] = Counter()
        self._to_do = 0
        self._told_at = 0.0

    def run(self) -> Rotated:
        try:
            with keyring_file.held(self._path):
                if not self._store.try_lock():
                    raise AnotherRuns
                keyring = self._begin()
                self._rewrap(keyring)
                return self._finish(keyring)
        except keyring_file.InUse:
            raise AnotherRuns from None
        except SealingError as error:
            raise Refused(str(error)) from error
        except OSError as error:
            raise Refused(f"the keyring's folder cannot be used ({error.strerror}: {error.filename})") from error

    def _begin(self) -> Keyring:
        keyring = Keyring.load(self._path)
        counts, checks = self._store.counts(), self._store.checks()
        self._examine(keyring, counts, checks)
        self._to_do = sum(number for column in counts.values() for number in column.values())
        if len(keyring.ids) == 1:
            seen = keyring.ids.union(checks, *counts.values())
            keyring = keyring.with_new_key(max(seen) + 1)  # an id never means another key than it once did
            keyring_file.replace(self._path, keyring)
            self._say(f"key {keyring.active} is added, and seals from now on; {self._to_do:,} records to rewrap")
        else:
            self._to_do -= sum(column[keyring.active] for column in counts.values())
            self._say(f"going on with the rotation to key {keyring.active}; {self._to_do:,} records to rewrap")
        # After the file: a known text under a key that no file holds would keep every process from starting.
        self._store.keep_check(keyring.active, known_text(keyring, self._service))
        return keyring

    def _examine(self, keyring: Keyring, counts: dict[str, Counter[int]], checks: dict[int, bytes]) -> None:
        """Raises unless this keyring sealed what is there."""
        for column, by_key in counts.items():
            for key_id in by_key.keys() - keyring.ids:
                raise Refused(f"{by_key[key_id]} records of {column} are under key {key_id}, which the keyring lacks")
        known = {key_id: sealed for key_id, sealed in checks.items() if key_id in keyring.ids}
        examine(keyring, known, [] if checks else self._store.samples(), self._service)

    def _rewrap(self, keyring: Keyring) -> None:
        has_rested = False
        while True:
            changed, damaged = 0, []
            for column in self._store.columns:
                done, broken = self._sweep(column, keyring)
                changed += done
                damaged += broken
            left = sum(
                number
                for by_key in self._store.counts().values()
                for key_id, number in by_key.items()
                if key_id != keyring.active
            )
            if damaged and not changed and left <= len(damaged):
                raise Refused(
                    f"{len(damaged)} records do not open under the key they name: {', '.join(damaged[:10])}. Their old"
                    " key stays until they are gone or mended; then start the rotation again"
                )
            if has_rested and not changed and not left:
                return
            self._say(f"{self._progress()}; waiting {self._grace_seconds:g} s for what is on its way")
            time.sleep(self._grace_seconds)
            has_rested = True

    def _sweep(self, column: SealedColumn, keyring: Keyring) -> tuple[int, list[str]]:
        """Once through the column; how many were rewrapped, and which do not open. Who holds a row, or has changed it
        meanwhile, keeps it: the next sweep finds it again."""
        changed, damaged, after = 0, [], ""
        while rows := self._store.under_other_keys(column, keyring.active, after, BATCH):
            after = rows[-1][0]
            new: list[tuple[str, bytes, bytes]] = []
            for key, sealed in rows:
                try:
                    new.append((key, sealed, keyring.rewrap(sealed)))
                except SealingError:
                    damaged.append(f"{column} of {key}")
            done = self._store.replace(column, new)
            changed += done
            self._rewrapped[str(column)] += done
            if (now := time.monotonic()) - self._told_at >= _TELL_EVERY_SECONDS:
                self._told_at = now
                self._say(self._progress())
        return changed, damaged

    def _progress(self) -> str:
        return f"{self._rewrapped.total():,} of {self._to_do:,} records rewrapped"

    def _finish(self, keyring: Keyring) -> Rotated:
        retired = tuple(sorted(keyring.ids - {keyring.active}))
        rewrapped = {str(column): self._rewrapped[str(column)] for column in self._store.columns}
        detail = {"retired": list(retired), "active": keyring.active, "rewrapped": rewrapped}
        event = AuditEvent(self._event_kind, self._clock.now(), None, "operator", None, None, detail=detail)
        # Before the file, for the reason above. Killed in between, the next run finds nothing to do but this.
        self._store.finish(keyring.active, event)
        keyring_file.replace(self._path, keyring.with_active_key_only())
        # Not by column: their names would read like those of secrets, which a log line must not hold.
        _log.info("keys_rotated", retired=list(retired), active=keyring.active, records=self._rewrapped.total())
        return Rotated(retired, keyring.active, rewrapped)
