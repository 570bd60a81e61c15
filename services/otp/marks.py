"""Keyed hashes of codes. A mark recognises a code that was seen before; without the pepper it tells nothing, though a
code has only six digits."""

import hashlib
import hmac


class Marks:
    """HMAC-SHA256 under the code pepper; each use has a label of its own, so that no mark stands for another."""

    def __init__(self, pepper: str) -> None:
        self._key = hashlib.sha256(b"countersign otp marks\0" + pepper.encode()).digest()

    def attempt(self, user_id: str, method: str, code: str) -> bytes:
        """Of a code as some user typed it for a method."""
        return self._mark("attempt", user_id, method, code)

    def backup_code(self, user_id: str, code: str) -> bytes:
        """Of a backup code: what goes into Argon2id, and what a spent one leaves behind is `spent_backup_code`."""
        return self._mark("backup_code", user_id, code)

    def spent_backup_code(self, user_id: str, set_id: str, code: str) -> bytes:
        return self._mark("spent_backup_code", user_id, set_id, code)

    def challenge(self, challenge_id: str, code: str) -> bytes:
        """Of a code sent by text message, bound to its own challenge (A29, A54)."""
        return self._mark("challenge", challenge_id, code)

    def number(self, phone: str) -> bytes:
        """Of a telephone number, whoever has it: the same for all."""
        return self._mark("number", phone)

    def _mark(self, *parts: str) -> bytes:
        # Lengths in front: no two lists of parts read alike.
        text = b"".join(len(part.encode()).to_bytes(4, "big") + part.encode() for part in parts)
        return hmac.digest(self._key, text, "sha256")
