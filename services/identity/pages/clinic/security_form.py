"""The form of the clinic's rule: what it shows of a rule, and what change its fields ask for.

Fields have the API's names and are held to the API's own shapes, so that the same is refused with the same words.
Invariant: of a rule that was shown and not touched, the form asks for no change.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from pydantic import ValidationError

from services.common.errors import ErrorCode, ServiceError
from services.identity.api.security import PatchSecurity, change_of
from services.identity.model import Clinic, Method
from services.identity.pages.clinic.countries import countries_in, written_countries
from services.identity.pages.form import Fields
from services.identity.pages.local_times import moments_at, written_at
from services.identity.pages.speech.languages import Speech
from services.identity.pages.speech.marking import marked
from services.identity.policy_words import RuleChange, SecurityRule
from services.identity.validation_words import sentence_of

Typed = Mapping[str, str]
"""The fields as text, by name; a box that is not ticked is ''."""

FIELDS = (
    *("require_two_factor", "enforce_from", "which", "method_totp", "method_sms", "phone_required"),
    *("remember_device_days", "idle_minutes", "sms_countries", "sms_daily_cap"),
)
_NUMBERS = ("remember_device_days", "idle_minutes", "sms_daily_cap")
_FURTHEST = timedelta(days=3650)

_NO_TIME = marked("This is not a day and time. Write it as 2027-03-01 06:00.")
_NOT_THERE = marked("Clocks go forward that night, and this time does not exist. Choose one an hour later.")
_TWICE = marked("Clocks go back that night, and this time comes twice. Choose which of the two you mean.")
_PAST = marked("This time is over. Choose one that is still to come.")
_TOO_FAR = marked("Choose a time within the next ten years.")
_NOT_TICKED = marked("Tick the box above as well: this only says from when.")
_NO_METHOD = marked("Choose at least one: how else would people sign in?")
_NO_COUNTRIES = marked("Name at least one country.")
_NO_COUNTRY = marked("“%(name)s” is not a country we know. Its two letters will do, such as GB.")
_NO_NUMBER = marked("Write a whole number.")


@dataclass(frozen=True, slots=True)
class Asked:
    """The change that the form asks for, and its fields as they were understood."""

    change: RuleChange
    typed: Typed


def typed_in(fields: Fields) -> Typed:
    return {name: fields(name).strip() for name in FIELDS}


def shown(rule: SecurityRule, clinic: Clinic, speech: Speech, now: datetime) -> Typed:
    """The rule as the form shows it. A date that has come is no date any more: the rule is on."""
    date = coming(rule, now)
    return {
        "require_two_factor": _tick(rule.require_two_factor or date is not None),
        "enforce_from": written_at(date, clinic.timezone) if date else "",
        "which": _which(date, clinic) if date else "",
        "method_totp": _tick(Method.TOTP in rule.methods),
        "method_sms": _tick(Method.SMS in rule.methods),
        "phone_required": _tick(rule.phone_required),
        "remember_device_days": str(rule.remember_device_days),
        "idle_minutes": str(rule.idle_minutes),
        "sms_countries": written_countries(speech, rule.sms_countries),
        "sms_daily_cap": str(rule.sms_daily_cap),
    }


def coming(rule: SecurityRule, now: datetime) -> datetime | None:
    """When the rule is to come into force, where it is not in force and has a date."""
    date = rule.enforce_from
    return date if date is not None and date > now and not rule.require_two_factor else None


def asked(typed: Typed, rule: SecurityRule, clinic: Clinic, speech: Speech, now: datetime) -> Asked:
    """The change that the fields ask for, and the fields as they are read. Raises `invalid-request`, by field."""
    wrong: dict[str, str] = {}
    body: dict[str, Any] = {"phone_required": typed["phone_required"] == "yes"}
    for name in _NUMBERS:
        if typed[name].isascii() and typed[name].isdigit() and len(typed[name]) < 10:
            body[name] = int(typed[name])
        else:
            wrong[name] = speech.say(_NO_NUMBER)
    countries, unknown = countries_in(speech, typed["sms_countries"])
    if unknown:
        wrong["sms_countries"] = speech.say(_NO_COUNTRY, name=unknown)
    elif not countries:
        wrong["sms_countries"] = speech.say(_NO_COUNTRIES)
    else:
        body["sms_countries"] = countries
    methods = [method for method in (Method.TOTP, Method.SMS) if typed[f"method_{method.value}"] == "yes"]
    if not methods:
        wrong["methods"] = speech.say(_NO_METHOD)
    elif set(methods) != set(rule.methods):
        # Named only where they change: what this installation cannot do any more may stay as it is.
        body["methods"] = [method.value for method in methods]
    try:
        body |= _turn(typed, rule, clinic, speech, now)
    except ValueError as error:
        wrong["enforce_from"] = str(error)
    try:
        change = change_of(PatchSecurity.model_validate(body))
    except ValidationError as error:
        found = {str(one["loc"][0]): speech.heard(sentence_of(one)) for one in error.errors()}
        wrong = {**found, **wrong}
    if wrong:
        raise refused(wrong)
    return Asked(change, {**typed, "sms_countries": written_countries(speech, countries)})


def both_moments(typed: Typed, clinic: Clinic) -> tuple[datetime, ...]:
    """Where the time that was typed comes twice: the two, to choose from."""
    try:
        found = moments_at(typed["enforce_from"], clinic.timezone)
    except ValueError:
        return ()
    return found if len(found) == 2 else ()


def refused(wrong: Mapping[str, str]) -> ServiceError:
    """What is wrong, by field, in the order of the form."""
    order = [*FIELDS, "methods", *wrong]
    errors = [{"field": name, "message": wrong[name]} for name in sorted(wrong, key=order.index)]
    return ServiceError(ErrorCode.INVALID_REQUEST, "Something in the request is not right.", errors=errors)


def _turn(typed: Typed, rule: SecurityRule, clinic: Clinic, speech: Speech, now: datetime) -> dict[str, Any]:
    """What the box and the date say, where that is something else than the rule. Raises ValueError with the words."""
    before = shown(rule, clinic, speech, now)
    is_ticked, date = typed["require_two_factor"] == "yes", typed["enforce_from"]
    is_same = {name: typed[name] for name in ("require_two_factor", "enforce_from")}.items() <= before.items()
    if is_same and typed["which"] in ("", before["which"]):
        return {}
    if not is_ticked:
        if date and date != before["enforce_from"]:
            raise ValueError(speech.say(_NOT_TICKED))
        return {"require_two_factor": False}
    if not date:
        return {"require_two_factor": True}
    moment = _moment(typed, clinic, speech)
    if rule.enforce_from is not None and moment == rule.enforce_from.replace(second=0, microsecond=0):
        return {}  # it has come while the form was open
    if moment <= now:
        raise ValueError(speech.say(_PAST))
    if moment > now + _FURTHEST:
        raise ValueError(speech.say(_TOO_FAR))
    return {"require_two_factor": True, "enforce_from": moment.astimezone(UTC).isoformat().replace("+00:00", "Z")}


def _moment(typed: Typed, clinic: Clinic, speech: Speech) -> datetime:
    try:
        found = moments_at(typed["enforce_from"], clinic.timezone)
    except ValueError:
        raise ValueError(speech.say(_NO_TIME)) from None
    if not found:
        raise ValueError(speech.say(_NOT_THERE))
    if len(found) == 1:
        return found[0]
    if typed["which"] not in ("first", "second"):
        raise ValueError(speech.say(_TWICE))
    return found[0 if typed["which"] == "first" else 1]


def _which(date: datetime, clinic: Clinic) -> str:
    """Of a time that comes twice, which of the two."""
    found = moments_at(written_at(date, clinic.timezone), clinic.timezone)
    if len(found) < 2:
        return ""
    return "first" if date < found[1] else "second"


def _tick(is_ticked: bool) -> str:
    return "yes" if is_ticked else ""
