"""Files of authenticator secrets as other systems write them: otpauth addresses, a CSV with a header, privacyIDEA's
OATH CSV, Authelia's export. Each entry is a secret we can honour, or the reason why not, which repeats none.

Honoured: TOTP of six digits every 30 seconds, with SHA-1, SHA-256 or SHA-512.
"""

import base64
import binascii
import csv
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from itertools import chain
from urllib.parse import parse_qs, unquote, urlsplit

import yaml

from services.otp.totp import STEP_SECONDS, Algorithm

_SECRET_BYTES = range(10, 129)  # 80 bits, as much as the first authenticator apps had, up to SHA-512's block
_DIGITS = 6
_BASE32 = re.compile(r"[A-Z2-7]+")
_SECRET_WORD = re.compile(r"\bsecret\b")
_PRIVACYIDEA_SEEDS = {32: Algorithm.SHA256, 64: Algorithm.SHA512}  # bytes that it makes seeds of by default
_VERSION = re.compile(r"#\s*version:\s*(\d+)", re.IGNORECASE)

Line = tuple[int, str | None]


class Format(StrEnum):
    OTPAUTH = "otpauth"
    CSV = "csv"
    PRIVACYIDEA = "privacyidea"
    AUTHELIA = "authelia"


@dataclass(frozen=True, slots=True)
class Entry:
    """A secret and whose it is. `secret` is in base32, unpadded."""

    owner: str
    secret: str
    algorithm: Algorithm


class UnusableEntry(Exception):
    """An entry that cannot be honoured; its text says why."""


class UnusableFile(Exception):
    """A file that cannot be read at all."""


Read = tuple[int, Entry | UnusableEntry]


def entries(lines: Iterable[Line], written_as: Format | None) -> Iterator[Read]:
    """The entries of a file with their line numbers. Without `written_as` the first line tells its form. Raises
    `UnusableFile`."""
    remaining = iter(lines)
    first = next(remaining, None)
    if first is None:
        return
    rest = chain([first], remaining)
    found = written_as or _format_of(first[1] or "")
    if found is Format.AUTHELIA:
        yield from _authelia(rest)
        return
    if found is Format.CSV:
        names, delimiter = _header(next(rest)[1] or "")
        yield from ((number, _try(_csv_entry, text, names, delimiter)) for number, text in rest)
        return
    has_users = False
    for number, text in rest:
        if text is not None and text.lstrip().startswith("#"):
            version = _VERSION.match(text.strip())
            has_users = int(version[1]) >= 2 if version else has_users
        elif found is Format.OTPAUTH:
            yield number, _try(_otpauth, text)
        else:
            yield number, _try(_privacyidea, text, has_users)


def _format_of(first: str) -> Format:
    text = first.strip().lower()
    if "otpauth://" in text:
        return Format.OTPAUTH
    if text.startswith(("totp_configurations:", "---", "# yaml")):
        return Format.AUTHELIA
    # Whatever stands between the names, and around them: as a header it is refused with a sentence about headers.
    if _SECRET_WORD.search(text) and not text.startswith("#"):
        return Format.CSV
    return Format.PRIVACYIDEA


def _try(read: Callable[..., Entry], text: str | None, *more: object) -> Entry | UnusableEntry:
    if text is None:
        return UnusableEntry("This is no line of text in UTF-8.")
    try:
        return read(text.strip(), *more)
    except UnusableEntry as unusable:
        return unusable


def _otpauth(text: str) -> Entry:
    """`otpauth://totp/Issuer:owner?secret=…`, or that behind `owner,`."""
    begins = text.lower().find("otpauth://")
    if begins < 0:
        raise UnusableEntry("There is no otpauth:// address in this line.")
    named, address = text[:begins].strip(' ,;\t"'), text[begins:].strip(' ,;\t"')
    try:
        parts = urlsplit(address)
        query = parse_qs(parts.query, max_num_fields=20)
    except ValueError:
        raise UnusableEntry("The otpauth:// address is damaged.") from None
    if any(len(values) > 1 for values in query.values()):
        raise UnusableEntry("The otpauth:// address says something twice.")
    _check_type(parts.netloc)
    label = unquote(parts.path.lstrip("/")).rpartition(":")[2].strip()
    return _entry(named or label, {name.lower(): values[0] for name, values in query.items()})


def _header(text: str) -> tuple[list[str], str]:
    """The names of the columns, and what stands between them: a comma, or a spreadsheet's semicolon."""
    delimiter = ";" if ";" in text and "," not in text else ","
    try:
        names = [name.strip().lower() for name in _cells(text, delimiter)]
    except UnusableEntry:
        names = []
    if "secret" not in names or not {"email", "username"} & set(names):
        raise UnusableFile(
            "The first line must name the columns, with commas (or semicolons) between them: email (or username) and"
            " secret at least."
        )
    return names, delimiter


def _csv_entry(text: str, names: list[str], delimiter: str) -> Entry:
    cells = _cells(text, delimiter)
    if len(cells) != len(names):
        raise UnusableEntry("This line has not as many columns as the first one.")
    given = dict(zip(names, (cell.strip() for cell in cells), strict=True))
    return _entry(given.get("email") or given.get("username", ""), given)


def _privacyidea(text: str, has_users: bool) -> Entry:
    """`serial, seed in hex, type, digits, seconds`; in files of version 2 with `user, resolver, realm` in front. A
    further column may name the algorithm, which privacyIDEA does not write; it makes seeds for SHA-1 of 20 bytes."""
    cells = [cell.strip() for cell in _cells(text)]
    if not has_users:
        raise UnusableEntry("This line names nobody: only files that begin with '# version: 2' hold users.")
    owner, _, _, _, seed, kind, *rest = cells + [""] * (6 - len(cells))
    _check_type(kind or "hotp")
    names = ("digits", "period", "algorithm")
    given = {name: value for name, value in zip(names, rest, strict=False) if value}
    try:
        raw = binascii.unhexlify(seed)
    except (binascii.Error, ValueError):
        raise UnusableEntry("The seed is not in hexadecimal digits.") from None
    if "algorithm" not in given and (likely := _PRIVACYIDEA_SEEDS.get(len(raw))):
        # Taken for SHA-1, as what is not said, every code of such an app would be wrong.
        raise UnusableEntry(
            f"The line does not say by which algorithm its codes are made, and a seed of {len(raw)} bytes is likely one"
            f" for {likely}; name it in a ninth column (SHA1, SHA256 or SHA512)."
        )
    return _entry(owner, {**given, "secret": base64.b32encode(raw).decode()})


def _authelia(lines: Iterable[Line]) -> Iterator[Read]:
    """`authelia storage user totp export`: YAML, whose secrets are in base64 once more."""
    numbered = dict(lines)
    if None in numbered.values():
        raise UnusableFile("The file is not text in UTF-8.")
    text = "\n".join(numbered.get(number) or "" for number in range(1, max(numbered) + 1))
    try:
        root = yaml.compose(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    except (yaml.YAMLError, RecursionError):
        raise UnusableFile("The file is not YAML that can be read.") from None
    fields = root.value if isinstance(root, yaml.MappingNode) else []
    found = [value for key, value in fields if key.value == "totp_configurations"]
    if not found or not isinstance(found[0], yaml.SequenceNode):
        raise UnusableFile("The file has no list of totp_configurations.")
    for node in found[0].value:
        yield node.start_mark.line + 1, _try(_configuration, "", node)


def _configuration(_: str, node: yaml.Node) -> Entry:
    if not isinstance(node, yaml.MappingNode):
        raise UnusableEntry("This is no configuration of Authelia's export.")
    plain_pairs = [pair for pair in node.value if all(isinstance(part, yaml.ScalarNode) for part in pair)]
    given = {key.value: value.value for key, value in plain_pairs}
    try:
        plain = base64.b64decode(given.get("secret", ""), validate=True).decode("ascii")
    except ValueError:
        plain = ""
    secret = plain if _BASE32.fullmatch(plain.rstrip("=")) else given.get("secret", "")
    return _entry(given.get("username", ""), {**given, "secret": secret})


def _cells(text: str, delimiter: str = ",") -> list[str]:
    try:
        return next(csv.reader([text], delimiter=delimiter, skipinitialspace=True), [])
    except csv.Error:
        raise UnusableEntry("This line is no CSV.") from None


def _check_type(kind: str) -> None:
    if kind.lower() == "hotp":
        raise UnusableEntry("It counts its codes (HOTP); only codes by the clock (TOTP) are honoured.")
    if kind.lower() != "totp":
        raise UnusableEntry("It is no authenticator app with codes by the clock (TOTP).")


def _entry(owner: str, given: Mapping[str, str]) -> Entry:
    """Checks what is common to all forms; what is not said is the default of RFC 6238."""
    if not owner:
        raise UnusableEntry("It names nobody.")
    _check_number(given.get("digits") or str(_DIGITS), _DIGITS, "digits")
    _check_number(given.get("period") or str(STEP_SECONDS), STEP_SECONDS, "seconds a code")
    named = (given.get("algorithm") or "SHA1").upper().removeprefix("HMAC").replace("-", "")
    if named not in set(Algorithm):
        raise UnusableEntry("Its algorithm is none of SHA1, SHA256 and SHA512.")
    return Entry(owner, _base32(given.get("secret", "")), Algorithm(named))


def _check_number(said: str, honoured: int, what: str) -> None:
    if not re.fullmatch(r"\d{1,4}", said):
        raise UnusableEntry(f"It does not say in figures how many {what} it has.")
    if int(said) != honoured:
        raise UnusableEntry(f"It has {int(said)} {what}; only {honoured} are honoured. Set the app up anew.")


def _base32(text: str) -> str:
    secret = re.sub(r"[\s-]", "", text).upper().rstrip("=")
    try:
        if not _BASE32.fullmatch(secret):
            raise UnusableEntry("The secret is missing, or not in base32.")
        length = len(base64.b32decode(secret + "=" * (-len(secret) % 8)))
    except binascii.Error:
        raise UnusableEntry("The secret is cut off: not in base32.") from None
    if length not in _SECRET_BYTES:
        raise UnusableEntry(f"The secret has {length * 8} bits; it must have 80 to 1024.")
    return secret
