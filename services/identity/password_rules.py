"""What a new password must be: long, not common, not made of the words around it (NIST SP 800-63B-4, ASVS 6.2). No
composition rules; it is taken verbatim, in code points."""

import re
from collections.abc import Iterable
from functools import cache

from zxcvbn import zxcvbn
from zxcvbn.frequency_lists import FREQUENCY_LISTS

from services.common.errors import ErrorCode, ServiceError

LEAST, MOST = 12, 128
SENTENCE = f"{LEAST} to {MOST} characters of any kind, but no common password, nor one made of names around you."
_SCORED = 72  # zxcvbn takes no more
_LEAST_SCORE = 2  # under it, fewer than 10^6 guesses: within what an online attack may try in the end
_LEAST_OWN_LETTERS = 4
_WORD = re.compile(r"[^\W\d_]{4,}")


def check(password: str, context: Iterable[str], field: str) -> None:
    """Raises `invalid-request` where the password may not be chosen; says why, never what it was."""
    if len(password) < LEAST:
        raise _refused(field, f"Use at least {LEAST} characters.")
    if len(password) > MOST:
        raise _refused(field, f"Use at most {MOST} characters.")
    lowered = password.lower()
    around = [text.lower() for text in context]
    words = {word for text in around for word in _WORD.findall(text)} | {text for text in around if len(text) >= LEAST}
    if lowered in _common() or _is_made_of(lowered, words):
        raise _refused(field, "This password is too easy to guess: it is a common one, or made of names around you.")
    if zxcvbn(password[:_SCORED], user_inputs=sorted(words))["score"] < _LEAST_SCORE:
        raise _refused(field, "This password is too easy to guess. A few unrelated words make a good one.")


def _is_made_of(lowered: str, words: Iterable[str]) -> bool:
    """Whether hardly a letter is left once the words around the person are taken out ('HarbourClinic2026!')."""
    rest = lowered
    for word in sorted(words, key=len, reverse=True):
        rest = rest.replace(word, "")
    return rest != lowered and sum(char.isalpha() for char in rest) < _LEAST_OWN_LETTERS


@cache
def _common() -> frozenset[str]:
    return frozenset(FREQUENCY_LISTS["passwords"])


def _refused(field: str, message: str) -> ServiceError:
    return ServiceError(
        ErrorCode.INVALID_REQUEST, "Please choose another password.", errors=[{"field": field, "message": message}]
    )
