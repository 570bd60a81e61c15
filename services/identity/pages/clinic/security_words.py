"""The clinic's rule in words: each field by its name, and what is in it; two states of the form beside each other."""

from collections.abc import Collection
from dataclasses import dataclass

from services.common.errors import ErrorCode, ServiceError
from services.identity.audit_events import AuditPage, Filter
from services.identity.gateway import Gateway
from services.identity.guards import Access
from services.identity.model import Clinic
from services.identity.pages.clinic.audit_words import RULE_CHANGED
from services.identity.pages.clinic.security_form import Typed
from services.identity.pages.local_times import moments_at
from services.identity.pages.speech.languages import Speech
from services.identity.pages.speech.marking import marked
from services.identity.policy_words import Actor, Hold

_NAMES = {
    "require_two_factor": marked("Two-factor authentication: require it of everyone"),
    "enforce_from": marked("From when"),
    "method_totp": marked("Authenticator app"),
    "method_sms": marked("Text message"),
    "phone_required": marked("A mobile number from everyone"),
    "remember_device_days": marked("Days a browser is remembered"),
    "idle_minutes": marked("Minutes without activity"),
    "sms_countries": marked("Countries we send texts to"),
    "sms_daily_cap": marked("Text messages per day"),
}
_TICKS = frozenset({"require_two_factor", "method_totp", "method_sms", "phone_required"})
_YES, _NO, _AT_ONCE = marked("Yes"), marked("No"), marked("At once")


@dataclass(frozen=True, slots=True)
class Difference:
    """One field of the form in two states."""

    name: str
    one: str
    other: str


def differences(
    speech: Speech, clinic: Clinic, one: Typed, other: Typed, among: Collection[str] = tuple(_NAMES)
) -> list[Difference]:
    """Where the two differ, of the fields `among` which it matters, in the order of the form."""
    return [
        Difference(speech.say(words), _said(speech, clinic, name, one), _said(speech, clinic, name, other))
        for name, words in _NAMES.items()
        if name in among and (one[name] != other[name] or (name == "enforce_from" and one["which"] != other["which"]))
    ]


async def changed_by(speech: Speech, access: Access, gateway: Gateway) -> str:
    """Who made the rule what it is and when, as a sentence."""
    clinic = access.clinic
    try:
        newest = await gateway.audit_events.page(clinic.id, Filter(kind=RULE_CHANGED), 1, None)
    except ServiceError as error:
        if error.code is not ErrorCode.UNAVAILABLE:
            raise
        newest = AuditPage((), None)  # the refusal matters more than the name in it
    event = newest.events[0].event if newest.events else None
    if event is None or event.actor_id is None:
        return speech.say("Someone else has changed this in the meantime.")
    when = speech.moment(event.at, clinic.timezone)
    if event.actor_id == access.user.id:
        return speech.say("You have changed this in another window in the meantime (%(when)s).", when=when)
    names = await gateway.trail_names.of(clinic.id, [event.actor_id])
    name = names.get(event.actor_id, speech.say("Someone else"))
    return speech.say("%(name)s has changed this in the meantime (%(when)s).", name=name, when=when)


def setter_in_words(speech: Speech, by: Actor, name: str | None) -> str:
    """Who set a hold."""
    if by.kind == "app":
        return speech.say("the app %(name)s", name=name or by.id or "")
    if by.kind == "user":
        return name or speech.say("an administrator")
    return speech.say("an operator")


def cap_in_words(speech: Speech, hold: Hold) -> str:
    """How long a browser may be remembered under a hold; '' where it does not say."""
    hours = hold.max_device_trust_hours
    if hours is None:
        return ""
    if hours == 0:
        return speech.say("%(hold)s allows no remembered browsers at all.", hold=hold.name)
    return speech.say(
        "%(hold)s lets a browser be remembered for %(time)s at most.", hold=hold.name, time=time_in_words(speech, hours)
    )


def time_in_words(speech: Speech, hours: int) -> str:
    if hours % 24:
        return speech.say_many("%(count)s hour", "%(count)s hours", hours)
    return speech.say_many("%(count)s day", "%(count)s days", hours // 24)


def _said(speech: Speech, clinic: Clinic, name: str, typed: Typed) -> str:
    value = typed[name]
    if name in _TICKS:
        answer = _YES if value == "yes" else _NO
        return speech.say(answer)
    if name != "enforce_from":
        return value
    if typed["require_two_factor"] != "yes":
        return ""
    return _date(speech, clinic, typed) if value else speech.say(_AT_ONCE)


def _date(speech: Speech, clinic: Clinic, typed: Typed) -> str:
    try:
        found = moments_at(typed["enforce_from"], clinic.timezone)
    except ValueError:
        return typed["enforce_from"]
    if not found:
        return typed["enforce_from"]
    moment = found[-1] if typed["which"] == "second" else found[0]
    return f"{speech.moment(moment, clinic.timezone)} ({clinic.timezone})"
