"""What a name, an e-mail address, a short name, a time zone and a country may look like: one shape for the API, which
shows it in its schemas, for the pages and for the commands."""

import re
from zoneinfo import available_timezones

import phonenumbers

_LABEL = r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"

# No control character anywhere (A61), and something to see at both ends.
NAME = r"^[^\s\x00-\x1f\x7f-\x9f](?:[^\x00-\x1f\x7f-\x9f]*[^\s\x00-\x1f\x7f-\x9f])?$"
NAME_MOST = 100
EMAIL = rf"^[A-Za-z0-9.!#$%&'*+/=?^_`{{|}}~-]{{1,64}}@{_LABEL}(?:\.{_LABEL})+$"
EMAIL_MOST = 254  # RFC 5321's path, less its brackets
SLUG = r"^[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?$"
COUNTRY = r"^[A-Z]{2}$"
TIMEZONE = r"^[A-Za-z0-9+_/-]{1,64}$"
LOCALE = r"^[A-Za-z]{2,3}(?:-[A-Za-z0-9]{2,8})*$"
LOCALE_MOST = 35
MOMENT = r"^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{1,6})?(Z|[+-][0-9]{2}:[0-9]{2})$"
INTEGRATION = r"^[a-z0-9][a-z0-9._-]{0,62}$"
OPAQUE = r"^[A-Za-z0-9_-]+$"
ANY = r"^[^\x00]+$"


def is_name(text: str) -> bool:
    return len(text) <= NAME_MOST and _fits(NAME, text)


def is_email(text: str) -> bool:
    return len(text) <= EMAIL_MOST and _fits(EMAIL, text)


def is_slug(text: str) -> bool:
    return _fits(SLUG, text)


def is_timezone(text: str) -> bool:
    """Whether it is a name of the IANA time zone database."""
    return _fits(TIMEZONE, text) and text in available_timezones() and not text.startswith(("posix/", "right/"))


def is_country(text: str) -> bool:
    """Whether it is a code of ISO 3166-1 alpha-2, as far as telephone numbers know it."""
    return _fits(COUNTRY, text) and text in phonenumbers.SUPPORTED_REGIONS


def is_locale(text: str) -> bool:
    return len(text) <= LOCALE_MOST and _fits(LOCALE, text)


def _fits(pattern: str, text: str) -> bool:
    # Python's `$` also matches before a final line break; these patterns mean the end.
    return re.fullmatch(pattern, text) is not None and not text.endswith("\n")
