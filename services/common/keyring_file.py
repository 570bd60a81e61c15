"""Changes a keyring's file: whole, under a lock, never half. Who reads it meanwhile sees the one before or the new."""

import fcntl
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from services.common.sealing import Keyring


class InUse(Exception):
    """Another command holds the keyring's folder."""


@contextmanager
def held(path: Path) -> Iterator[None]:
    """Holds the file's folder against other commands; the system lets go of it when this process ends, however."""
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        try:
            fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise InUse from None
        yield
    finally:
        os.close(folder)


def replace(path: Path, keyring: Keyring) -> None:
    """Puts the keyring in the file's place, with the file's mode, and on the disk before this returns. While `held`."""
    for left in path.parent.glob(f".{path.name}.*"):  # by one who was killed here
        left.unlink()
    mode = path.stat().st_mode & 0o777
    draft = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(keyring.as_file())
            os.fchmod(file.fileno(), mode)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
    except BaseException:
        draft.unlink(missing_ok=True)
        raise
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
