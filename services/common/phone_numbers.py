"""Which numbers a text message may go to, by libphonenumber: the one rule of whoever takes numbers and whoever sends to
them. Pure.

A number that costs its sender or pays its owner, that is no person's phone, or that belongs to no country, is refused
wherever it comes in (A50).
"""

import phonenumbers
from phonenumbers import PhoneNumber, PhoneNumberType

_NO_COUNTRY = ("001", "ZZ")  # satellite and other networks that belong to no country; unknown country codes
_REFUSED = {
    PhoneNumberType.TOLL_FREE: "A toll-free number cannot be used.",
    PhoneNumberType.PREMIUM_RATE: "A premium-rate number cannot be used.",
    PhoneNumberType.SHARED_COST: "A shared-cost number cannot be used.",
    PhoneNumberType.PERSONAL_NUMBER: "A number that is forwarded at a price of its own cannot be used.",
    PhoneNumberType.PAGER: "A pager cannot be used.",
    PhoneNumberType.UAN: "A company's switchboard number cannot be used.",
    PhoneNumberType.VOICEMAIL: "A voicemail number cannot be used.",
}
_OF_NO_COUNTRY = "A number that belongs to no country cannot be used."


def problem_of(number: PhoneNumber) -> str | None:
    """Why no text message may go to this number, as a sentence; None where one may."""
    if phonenumbers.region_code_for_country_code(number.country_code or 0) in _NO_COUNTRY:
        return _OF_NO_COUNTRY
    return _REFUSED.get(phonenumbers.number_type(number))


def country_of(e164: str) -> str:
    """The country of a number, by ISO 3166-1. One in no range that is known counts as of the country whose code it has
    (+44: GB, +1: US). Empty where it is no number."""
    try:
        number = phonenumbers.parse(e164)
    except phonenumbers.NumberParseException:
        return ""
    return phonenumbers.region_code_for_number(number) or phonenumbers.region_code_for_country_code(
        number.country_code or 0
    )
