"""The fields that administrators send, with the shapes the API promises: what a schema can say is said here once."""

from datetime import UTC, datetime
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from services.identity import particulars


def _without_null_defaults(schema: dict[str, Any]) -> None:
    """A field that may be left out may not be null for that; its schema must not name null as a default."""
    for found in schema.get("properties", {}).values():
        if "default" in found and found["default"] is None:
            del found["default"]


class Body(BaseModel):
    """A request: fields that are not known are refused (api.md). `None` as a default means absent; null is refused."""

    model_config = ConfigDict(extra="forbid", json_schema_extra=_without_null_defaults)


def _timezone(value: str) -> str:
    if not particulars.is_timezone(value):
        raise ValueError("Please give a time zone (IANA) such as Europe/Berlin.")
    return value


def _country(value: str) -> str:
    if not particulars.is_country(value):
        raise ValueError("Please give a country code (ISO 3166-1) such as DE.")
    return value


def _moment(value: str) -> str:
    try:
        datetime.fromisoformat(value).astimezone(UTC)
    except (ValueError, OverflowError):
        raise ValueError("Please give a time such as 2027-03-01T06:00:00+01:00 (RFC 3339).") from None
    return value


Name = Annotated[
    str, Field(min_length=1, max_length=particulars.NAME_MOST, pattern=particulars.NAME, examples=["Mina Okafor"])
]
Email = Annotated[
    str,
    Field(
        min_length=6, max_length=particulars.EMAIL_MOST, pattern=particulars.EMAIL, examples=["mina@harbour.example"]
    ),
]
Timezone = Annotated[
    str,
    Field(max_length=64, pattern=particulars.TIMEZONE, examples=["Europe/Berlin"]),
    AfterValidator(_timezone),
]
Country = Annotated[str, Field(pattern=particulars.COUNTRY, examples=["DE"]), AfterValidator(_country)]
Locale = Annotated[str, Field(max_length=particulars.LOCALE_MOST, pattern=particulars.LOCALE, examples=["en-GB"])]
Phone = Annotated[str, Field(min_length=3, max_length=40, examples=["+44 7700 900123"])]
Moment = Annotated[
    str,
    Field(
        max_length=35,
        pattern=particulars.MOMENT,
        json_schema_extra={"format": "date-time"},
        examples=["2027-03-01T06:00:00+01:00"],
    ),
    AfterValidator(_moment),
]
Sentence = Annotated[
    str, Field(min_length=1, max_length=300, pattern=particulars.NAME, examples=["No mobile phone at work."])
]


def moment_of(written: str) -> datetime:
    """The moment that an RFC 3339 string names, as exact as this API writes moments: to the millisecond."""
    moment = datetime.fromisoformat(written).astimezone(UTC)
    return moment.replace(microsecond=moment.microsecond // 1000 * 1000)


def rfc3339(moment: datetime) -> str:
    """A time as the API writes it: RFC 3339 in UTC, to the millisecond."""
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
