"""Rules of text messages: which numbers may get one, and how many a body goes out as.

Pure. Whether a number belongs to its user, and whether a country is allowed, is decided elsewhere.
"""

import re
import unicodedata

import phonenumbers

from services.common.phone_numbers import problem_of

_E164 = re.compile(r"\+[1-9][0-9]{6,14}")
# Places of a message, and of each part of a longer one, which gives some of its room to the order of the parts.
_GSM_PLACES, _GSM_PLACES_OF_A_PART = 160, 153
_UCS2_PLACES, _UCS2_PLACES_OF_A_PART = 70, 67
# GSM 03.38, the basic set; those of the extension table take two places.
_GSM = frozenset(
    "@£$¥èéùìòÇ\nØø\rÅåΔ_ΦΓΛΩΠΨΣΘΞÆæßÉ !\"#¤%&'()*+,-./0123456789:;<=>?¡ABCDEFGHIJKLMNOPQRSTUVWXYZÄÖÑÜ§¿"
    "abcdefghijklmnopqrstuvwxyzäöñüà"
)
_GSM_EXTENSION = frozenset("\f^{}\\[~]|€")
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


def segments(body: str) -> int:
    """As how many messages it goes out and is paid for: in GSM's alphabet where that has all of it, else every letter
    takes a UTF-16 unit or two. What takes two places is never torn apart."""
    if all(letter in _GSM or letter in _GSM_EXTENSION for letter in body):
        places, places_of_a_part = _GSM_PLACES, _GSM_PLACES_OF_A_PART
        sizes = [2 if letter in _GSM_EXTENSION else 1 for letter in body]
    else:
        places, places_of_a_part = _UCS2_PLACES, _UCS2_PLACES_OF_A_PART
        sizes = [2 if ord(letter) > 0xFFFF else 1 for letter in body]
    if sum(sizes) <= places:
        return 1
    count, room = 1, places_of_a_part
    for size in sizes:
        if size > room:
            count, room = count + 1, places_of_a_part
        room -= size
    return count


def in_gsm(text: str) -> str:
    """The text in GSM's basic letters: an accent that they lack goes, and so does whatever has no letter there."""
    return "".join(
        letter if letter in _GSM else "".join(part for part in unicodedata.normalize("NFKD", letter) if part in _GSM)
        for letter in text.translate(_NEAR)
    )
