"""Telephone numbers as people type them, read by libphonenumber and kept in E.164."""

import re

import phonenumbers
from phonenumbers import NumberParseException, PhoneNumberFormat

from services.common.errors import invalid
from services.common.phone_numbers import problem_of

_MOST = 40
# What people put between digits; the library itself reads letters, extensions and digits of other scripts, too.
_TYPED = re.compile(r"\+?[0-9 ().,/\u00a0\u2010-\u2015-]*")


def normalised(typed: str, country: str, field: str = "phone") -> str:
    """The number in E.164; one without a country code is read as of `country`. Raises `invalid-request` where it is
    none, where reaching it costs extra (A50), or where it belongs to no country."""
    if not _TYPED.fullmatch(typed.strip()):
        raise invalid(field, "A telephone number is made of digits; its country code may stand in front (+44 …).")
    try:
        number = phonenumbers.parse(typed[:_MOST], country)
    except NumberParseException:
        raise invalid(field, "This is not a telephone number.") from None
    # Possible, not "valid": libphonenumber's plans lag behind new ranges and leave out those reserved for examples, and
    # whether a number is the user's is settled by the code sent to it.
    if len(typed) > _MOST or not phonenumbers.is_possible_number(number):
        raise invalid(
            field,
            "This is not a telephone number that can be reached."
            " Check its digits; a number of another country needs its country code.",
        )
    if problem := problem_of(number):
        raise invalid(field, problem)
    return phonenumbers.format_number(number, PhoneNumberFormat.E164)
