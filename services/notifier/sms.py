"""Rules of text messages: which numbers may get one, and what fits into a single one.

Pure. Whether a number belongs to its user, and whether a country is allowed, is decided elsewhere.
"""

import re
import unicodedata

import phonenumbers

from services.common.phone_numbers import problem_of

_E164 = re.compile(r"\+[1-9][0-9]{6,14}")
_LONGEST_GSM = 160
_LONGEST_TWO_GSM = 306  # a message in parts gives some of its room to their order
_LONGEST_UCS2 = 70
# GSM 03.38, the basic set; those of the extension table take two places.
_GSM = frozenset(
    "@£$¥èéùìòÇ\nØø\rÅåΔ_ΦΓΛΩΠΨΣΘΞÆæßÉ !\"#¤%&'()*+,-./0123456789:;<=>?¡ABCDEFGHIJKLMNOPQRSTUVWXYZÄÖÑÜ§¿"
    "abcdefghijklmnopqrstuvwxyzäöñüà"
)
_GSM_EXTENSION = frozenset("^{}\\[~]|€")
# Typographic quotes, dashes and spaces have plain likenesses.
_NEAR = str.maketrans("\u2018\u2019\u201c\u201d\u2013\u2014\u00a0\u202f", "''\"\"--  ")


def is_textable(number: str) -> bool:
    """Whether this is a number in E.164 that could be a phone of a person, and costs no more than a text message."""
    if not _E164.fullmatch(number):
        return False
    try:
        parsed = phonenumbers.parse(number)
    except phonenumbers.NumberParseException:
        return False
    return problem_of(parsed) is None and phonenumbers.is_possible_number(parsed)


def fits_one_message(body: str) -> bool:
    """Whether a text goes out as one message: 160 places in GSM's own alphabet, 70 UTF-16 units in any other."""
    if all(character in _GSM or character in _GSM_EXTENSION for character in body):
        return len(body) + sum(character in _GSM_EXTENSION for character in body) <= _LONGEST_GSM
    return len(body.encode("utf-16-le")) // 2 <= _LONGEST_UCS2


def in_gsm(text: str) -> str:
    """The text in GSM's basic letters: an accent that they lack goes, and so does whatever has no letter there."""
    return "".join(
        letter if letter in _GSM else "".join(part for part in unicodedata.normalize("NFKD", letter) if part in _GSM)
        for letter in text.translate(_NEAR)
    )


def fits_two_messages(body: str) -> bool:
    """Whether a text in GSM's basic letters goes out as two messages at most."""
    return len(body) <= _LONGEST_TWO_GSM and all(character in _GSM for character in body)
