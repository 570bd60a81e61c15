"""Seals secrets for the database: AES-256-GCM under a key of the record's own, which a versioned keyring wraps.

The context a secret is sealed for ("table|column|row|owner|version") is authenticated with it, so a ciphertext moved to
another row or owner does not open. Whatever does not open raises; there is no plain path.
"""

import base64
import binascii
import json
import os
import struct
from collections.abc import Mapping
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.keywrap import InvalidUnwrap, aes_key_unwrap_with_padding, aes_key_wrap_with_padding

_FORMAT = 1
_HEADER = struct.Struct(">BI")  # format, id of the wrapping key
_KEY_BYTES = 32
_WRAPPED_BYTES = 40  # RFC 5649: the key's 32 bytes and one block of 8
_NONCE_BYTES = 12
_TAG_BYTES = 16
_SHORTEST = _HEADER.size + _WRAPPED_BYTES + _NONCE_BYTES + _TAG_BYTES


class SealingError(Exception):
    """A keyring that cannot be used, or sealed bytes that do not open. Its text holds no secret."""


class DamagedError(SealingError):
    """The sealed bytes are at fault, or the context is; no keyring that is to come opens them."""


class Keyring:
    """Wrapping keys by id; `active` is the one that seals, the others only open what they once sealed."""

    def __init__(self, active: int, keys: Mapping[int, bytes]) -> None:
        if active not in keys:
            raise SealingError(f"the keyring lacks its active key {active}")
        for key_id, key in keys.items():
            if not 0 < key_id < 2**32 or len(key) != _KEY_BYTES:
                raise SealingError(f"key {key_id} of the keyring is not {_KEY_BYTES} bytes under a positive id")
        self.active = active
        self._keys = dict(keys)

    @classmethod
    def load(cls, path: Path) -> "Keyring":
        """Reads `{"active": 1, "keys": {"1": "<base64 of 32 bytes>"}}`."""
        try:
            content = json.loads(path.read_bytes())
            keys = {int(key_id): base64.b64decode(text, validate=True) for key_id, text in content["keys"].items()}
            active = int(content["active"])
        except OSError as error:
            raise SealingError(f"the keyring cannot be read ({error.strerror})") from error
        except (ValueError, KeyError, TypeError, AttributeError, binascii.Error):
            # Not chained: the cause's text could quote the file.
            raise SealingError("the keyring is not of the documented form") from None
        return cls(active, keys)

    def as_file(self) -> bytes:
        """What `load` reads."""
        keys = {str(key_id): base64.b64encode(key).decode() for key_id, key in sorted(self._keys.items())}
        return json.dumps({"active": self.active, "keys": keys}).encode()

    @property
    def ids(self) -> frozenset[int]:
        return frozenset(self._keys)

    def with_new_key(self, key_id: int) -> "Keyring":
        """With one more key, which seals from now on."""
        if key_id in self._keys:
            raise SealingError(f"the keyring has a key {key_id} already")
        return Keyring(key_id, {**self._keys, key_id: os.urandom(_KEY_BYTES)})

    def with_active_key_only(self) -> "Keyring":
        return Keyring(self.active, {self.active: self._keys[self.active]})

    def follows(self, earlier: "Keyring") -> bool:
        """Whether it can be what became of the other: they share a key, and no id means another key in each."""
        shared = self._keys.keys() & earlier._keys.keys()
        return bool(shared) and all(self._keys[key_id] == earlier._keys[key_id] for key_id in shared)

    def rewrap(self, sealed: bytes) -> bytes:
        """The same record under the active key. Only the record's own key is wrapped anew; nothing is decrypted."""
        wrapped = aes_key_wrap_with_padding(self._keys[self.active], self.unwrap(sealed))
        return _HEADER.pack(_FORMAT, self.active) + wrapped + sealed[_HEADER.size + _WRAPPED_BYTES :]

    def seal(self, plaintext: bytes, context: str) -> bytes:
        """Encrypts for this context alone. The result says by itself which key opens it."""
        key, nonce = os.urandom(_KEY_BYTES), os.urandom(_NONCE_BYTES)
        header = _HEADER.pack(_FORMAT, self.active)
        wrapped = aes_key_wrap_with_padding(self._keys[self.active], key)
        return header + wrapped + nonce + AESGCM(key).encrypt(nonce, plaintext, _authenticated(context))

    def open(self, sealed: bytes, context: str) -> bytes:
        """What was sealed for this context, or SealingError: DamagedError where another keyring would not help."""
        key, rest = self.unwrap(sealed), sealed[_HEADER.size + _WRAPPED_BYTES :]
        try:
            return AESGCM(key).decrypt(rest[:_NONCE_BYTES], rest[_NONCE_BYTES:], _authenticated(context))
        except (InvalidTag, ValueError):
            raise DamagedError("the sealed bytes do not open under this key and context") from None

    def unwrap(self, sealed: bytes) -> bytes:
        """The record's own key: where it comes out, this keyring sealed the record. Or SealingError."""
        key_id = key_id_of(sealed)
        if key_id not in self._keys:
            raise SealingError(f"the keyring lacks key {key_id}")
        try:
            return aes_key_unwrap_with_padding(self._keys[key_id], sealed[_HEADER.size :][:_WRAPPED_BYTES])
        except (InvalidUnwrap, ValueError):
            raise DamagedError("the sealed bytes do not open under this key and context") from None


def key_id_of(sealed: bytes) -> int:
    """The id of the key that sealed these bytes."""
    if len(sealed) < _SHORTEST or sealed[0] != _FORMAT:
        raise DamagedError("the sealed bytes are not of a known form")
    key_id: int = _HEADER.unpack_from(sealed)[1]
    return key_id


def _authenticated(context: str) -> bytes:
    # The key's id is left out, so that a record can be wrapped anew under another key without being encrypted anew.
    return bytes([_FORMAT]) + context.encode()
