"""One line of a file of people: a JSON object, read as strictly as the API reads it. A refusal says why, and repeats
nothing of the line."""

import json
from dataclasses import dataclass
from typing import Any

from services.common.errors import ServiceError
from services.identity import particulars
from services.identity.imported_hashes import ImportedHashes, Unusable
from services.identity.model import Role
from services.identity.phones import normalised

_NEEDED = ("email", "name", "role")
_FIELDS = (*_NEEDED, "phone", "password_hash", "locale")


class UnusableLine(Exception):
    """A line that names nobody who can be made; its text says why."""


@dataclass(frozen=True, slots=True)
class UserLine:
    """Who is to be made. `password_hash` is as it is stored."""

    email: str
    name: str
    role: Role
    phone: str | None
    password_hash: str | None
    locale: str | None


def read(text: str | None, country: str, hashes: ImportedHashes) -> UserLine:
    """The person of a line; a number without a country code is read as of `country`. Raises `UnusableLine`."""
    given = _object(text)
    email, name, locale, role = given["email"], given["name"], given.get("locale"), given["role"]
    _check(particulars.is_email(email), "The email is not an e-mail address.")
    _check(particulars.is_name(name), "The name has 1 to 100 characters, without line breaks or outer spaces.")
    _check(role in set(Role), f"The role is one of {', '.join(Role)}.")
    _check(locale is None or particulars.is_locale(locale), "The locale is a language such as en or en-GB.")
    try:
        phone = normalised(given["phone"], country) if "phone" in given else None
        stored = hashes.wrapped(given["password_hash"]) if "password_hash" in given else None
    except ServiceError as error:
        raise UnusableLine(error.members["errors"][0]["message"]) from None
    except Unusable as error:
        raise UnusableLine(str(error)) from None
    return UserLine(email, name, Role(role), phone, stored, locale)


def _object(text: str | None) -> dict[str, str]:
    """The fields that are given; null is as good as none."""
    try:
        found: Any = None if text is None else json.loads(text)
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise UnusableLine("This is no line with a JSON object in UTF-8.")
    given = {name: value for name, value in found.items() if value is not None}
    if missing := [name for name in _NEEDED if name not in given]:
        raise UnusableLine(f"There is no {' and no '.join(missing)}.")
    if given.keys() - set(_FIELDS):
        raise UnusableLine(f"There are fields other than {', '.join(_FIELDS)}.")
    if any(not isinstance(value, str) or not _is_text(value) for value in given.values()):
        raise UnusableLine("Every field is a text.")
    return given


def _is_text(value: str) -> bool:
    """JSON can also write halves of characters, which no database takes."""
    return not any("\ud800" <= char <= "\udfff" for char in value)


def _check(is_right: bool, sentence: str) -> None:
    if not is_right:
        raise UnusableLine(sentence)
