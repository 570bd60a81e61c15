"""Sealed secrets open in their own place under their own key, and nowhere else."""

import base64
import json
from pathlib import Path

import pytest

from services.common.sealing import Keyring, SealingError, key_id_of

CONTEXT = "totp_factor|secret|enr_1|usr_1|1"
OLD, NEW = b"o" * 32, b"n" * 32


def _write(path: Path, content: object) -> Path:
    path.write_text(json.dumps(content))
    return path


def test_what_was_sealed_opens_for_the_same_context() -> None:
    keyring = Keyring(1, {1: OLD})
    for plaintext in (b"", b"x", b"JBSWY3DPEHPK3PXP" * 4):
        assert keyring.open(keyring.seal(plaintext, CONTEXT), CONTEXT) == plaintext


def test_the_plaintext_does_not_stand_in_the_sealed_bytes_and_no_two_are_alike() -> None:
    keyring = Keyring(1, {1: OLD})
    sealed = {keyring.seal(b"JBSWY3DPEHPK3PXP", CONTEXT) for _ in range(1000)}
    assert len(sealed) == 1000
    assert not any(b"JBSWY3DP" in one for one in sealed)


@pytest.mark.parametrize("place", range(5))
def test_a71_another_table_column_row_owner_or_version_does_not_open_it(place: int) -> None:
    keyring = Keyring(1, {1: OLD})
    parts = CONTEXT.split("|")
    parts[place] += "x"
    with pytest.raises(SealingError):
        keyring.open(keyring.seal(b"secret", CONTEXT), "|".join(parts))


def test_a71_a_flipped_bit_anywhere_does_not_open() -> None:
    keyring = Keyring(1, {1: OLD, 0x10001: NEW})
    sealed = keyring.seal(b"secret", CONTEXT)
    for place in range(len(sealed)):
        changed = bytearray(sealed)
        changed[place] ^= 1
        with pytest.raises(SealingError):
            keyring.open(bytes(changed), CONTEXT)


def test_a71_truncated_bytes_do_not_open() -> None:
    keyring = Keyring(1, {1: OLD})
    sealed = keyring.seal(b"secret", CONTEXT)
    for length in range(len(sealed)):
        with pytest.raises(SealingError):
            keyring.open(sealed[:length], CONTEXT)


def test_an_older_key_still_opens_and_the_active_one_seals() -> None:
    before = Keyring(1, {1: OLD}).seal(b"secret", CONTEXT)
    keyring = Keyring(2, {1: OLD, 2: NEW})
    assert keyring.open(before, CONTEXT) == b"secret"
    after = keyring.seal(b"secret", CONTEXT)
    assert (key_id_of(before), key_id_of(after)) == (1, 2)
    with pytest.raises(SealingError, match="lacks key 1"):
        Keyring(2, {2: NEW}).open(before, CONTEXT)


def test_another_key_under_the_same_id_does_not_open_it() -> None:
    with pytest.raises(SealingError):
        Keyring(1, {1: NEW}).open(Keyring(1, {1: OLD}).seal(b"secret", CONTEXT), CONTEXT)


def test_a_keyring_is_read_from_its_file(tmp_path: Path) -> None:
    path = _write(tmp_path / "keyring.json", {"active": 7, "keys": {"7": base64.b64encode(OLD).decode()}})
    assert Keyring.load(path).open(Keyring(7, {7: OLD}).seal(b"secret", CONTEXT), CONTEXT) == b"secret"


@pytest.mark.parametrize(
    "content",
    [
        {},
        [],
        "text",
        {"active": 1, "keys": {}},
        {"active": 1, "keys": {"1": "c2hvcnQ="}},
        {"active": 1, "keys": {"1": "not base64!"}},
        {"active": 1, "keys": {"1": None}},
        {"active": 2, "keys": {"1": base64.b64encode(OLD).decode()}},
        {"active": 0, "keys": {"0": base64.b64encode(OLD).decode()}},
        {"active": "one", "keys": {"one": base64.b64encode(OLD).decode()}},
    ],
)
def test_a_keyring_file_of_another_form_is_refused_without_quoting_it(tmp_path: Path, content: object) -> None:
    with pytest.raises(SealingError) as refusal:
        Keyring.load(_write(tmp_path / "keyring.json", content))
    assert base64.b64encode(OLD).decode() not in str(refusal.value)
    assert refusal.value.__cause__ is None


def test_a_keyring_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SealingError, match="cannot be read"):
        Keyring.load(tmp_path / "none.json")


def test_p23_rewrapping_changes_the_wrapped_key_and_nothing_of_what_is_sealed() -> None:
    before = Keyring(1, {1: OLD}).seal(b"secret", CONTEXT)
    after = Keyring(2, {1: OLD, 2: NEW}).rewrap(before)
    assert (key_id_of(after), len(after)) == (2, len(before))
    assert after[45:] == before[45:], "nonce, ciphertext and tag"
    assert after[5:45] != before[5:45]
    assert Keyring(2, {2: NEW}).open(after, CONTEXT) == b"secret"
    with pytest.raises(SealingError):
        Keyring(2, {2: NEW}).open(after, CONTEXT + "x")
    for broken in (before[:-60], before[:5] + bytes(40) + before[45:]):
        with pytest.raises(SealingError):
            Keyring(2, {1: OLD, 2: NEW}).rewrap(broken)


def test_a_keyring_follows_another_where_they_share_a_key_and_no_id_means_two() -> None:
    first = Keyring(1, {1: OLD})
    both = first.with_new_key(2)
    assert both.follows(first)
    assert both.with_active_key_only().follows(both)
    assert not both.with_active_key_only().follows(first)
    assert not Keyring(1, {1: NEW}).follows(first)
    assert not Keyring(2, {1: NEW, 2: OLD}).follows(first)
    with pytest.raises(SealingError):
        first.with_new_key(1)


def test_a_keyring_s_file_holds_what_was_read_from_it(tmp_path: Path) -> None:
    both = Keyring(1, {1: OLD}).with_new_key(2)
    path = tmp_path / "keyring.json"
    path.write_bytes(both.as_file())
    found = Keyring.load(path)
    assert (found.active, found.ids, found.as_file()) == (2, {1, 2}, both.as_file())
