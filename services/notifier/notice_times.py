"""How a text says when something happened: in its reader's language and time zone."""

from collections.abc import Mapping
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

_MONTHS: Mapping[str, str] = {
    "en": "Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec",
    "de": "Januar Februar März April Mai Juni Juli August September Oktober November Dezember",
    "fr": "janvier février mars avril mai juin juillet août septembre octobre novembre décembre",
    "es": "enero febrero marzo abril mayo junio julio agosto septiembre octubre noviembre diciembre",
    "nl": "januari februari maart april mei juni juli augustus september oktober november december",
}
_FORMS: Mapping[str, str] = {
    "en": "on {day} {month} at {time}",
    "de": "am {day}. {month} um {time} Uhr",
    "fr": "le {day} {month} à {time}",
    "es": "el {day} de {month} a las {time}",
    "nl": "op {day} {month} om {time}",
}


def when(language: str, at: datetime, timezone: str) -> str:
    """E.g. "on 22 Nov at 09:12". A zone that is not known leaves UTC, and the text says so."""
    try:
        local, zone = at.astimezone(ZoneInfo(timezone)), ""
    except (KeyError, ValueError, OSError):  # not there; not a zone's name; a folder
        local, zone = at.astimezone(UTC), " UTC"
    day = "1er" if language == "fr" and local.day == 1 else str(local.day)
    month = _MONTHS[language].split()[local.month - 1]
    return _FORMS[language].format(day=day, month=month, time=f"{local:%H:%M}") + zone
