"""Somebody's second factors in words for an administrator: whether they are on and with what, what is required of them,
and what each rule said that was looked at."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from services.identity.model import Clinic, Method, RuleOutcome, User, UserFactors
from services.identity.pages.speech.languages import Speech
from services.identity.pages.speech.marking import marked
from services.identity.pages.speech.words import METHOD_NAMES
from services.identity.policy_words import Requirement, UserSettings

REQUIREMENT_NAMES: Mapping[str, str] = {
    Requirement.CLINIC_DEFAULT: marked("Clinic default"),
    Requirement.REQUIRED: marked("Required"),
    Requirement.EXEMPT: marked("Exempt until …"),
}
_RULE_NAMES: Mapping[str, str] = {
    "hold": marked("Integrations"),
    "user_requirement": marked("This person's requirement"),
    "clinic_rule": marked("The clinic's rule"),
    "own_factor": marked("What they have set up"),
    "methods": marked("Ways that are allowed"),
    "phone": marked("Mobile number"),
    "bypass": marked("Signing in once without a code"),
    "remembered_browsers": marked("Remembered browsers"),
}
_SAID: Mapping[tuple[str, str], str] = {
    ("hold", "requires"): marked("Required of everyone by: %(names)s."),
    ("hold", "does_not_require"): marked("There are integrations, and none requires it: %(names)s."),
    ("hold", "none"): marked("No integration requires it."),
    ("user_requirement", "clinic_default"): marked("Nothing is set for this person, so the clinic's rule applies."),
    ("user_requirement", "requires"): marked("Required of this person since %(time)s."),
    ("user_requirement", "exemption_ended"): marked("The exemption ended on %(time)s."),
    ("user_requirement", "exempts"): marked("This person is exempt."),
    ("clinic_rule", "requires"): marked("It is required of everyone."),
    ("clinic_rule", "scheduled"): marked("It will be required of everyone from %(time)s."),
    ("clinic_rule", "does_not_require"): marked("It is not required of everyone."),
    ("own_factor", "has_none"): marked("Nothing is set up."),
    ("own_factor", "asks"): marked("Something is set up, so it is asked for at sign-in."),
    ("methods", "allows"): marked("The clinic allows: %(methods)s."),
    ("methods", "own_factors_disallowed"): marked("The clinic allows: %(methods)s. This person has another way."),
    ("phone", "not_needed"): marked("The clinic needs no mobile number."),
    ("phone", "lifted"): marked("The clinic needs a mobile number, but not of this person."),
    ("phone", "on_file"): marked("The clinic needs a mobile number, and one is on file."),
    ("phone", "needed"): marked("The clinic needs a mobile number, and none is on file."),
    ("bypass", "granted"): marked("Allowed until %(time)s."),
    ("bypass", "none"): marked("Not allowed now."),
    ("remembered_browsers", "allowed"): marked("Browsers may be remembered."),
    ("remembered_browsers", "not_allowed"): marked("No browser is remembered."),
}
_INSTANT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ")
_SINCE = re.compile(rf" since {_INSTANT.pattern}")


@dataclass(frozen=True, slots=True)
class StateInWords:
    """`tone` is the badge's class; `more` says what the badge alone does not."""

    badge: str
    tone: str
    more: str = ""


def state_in_words(
    speech: Speech, clinic: Clinic, user: User, factors: UserFactors, settings: UserSettings, at: datetime
) -> StateInWords:
    """How somebody stands: the badge of a list, and the rest."""
    if user.is_disabled:
        return StateInWords(speech.say("Account disabled"), "", speech.say("Cannot sign in."))
    exempt = _exemption(speech, clinic, settings) if settings.is_exempt(at) else ""
    if factors.factors:
        names = ", ".join(speech.say(METHOD_NAMES[factor.method]) for factor in factors.factors)
        if not factors.is_any_usable:
            return StateInWords(speech.say("Suspended"), "warn", names)
        return StateInWords(speech.say("On"), "on", f"{names}. {exempt}" if exempt else names)
    if exempt:
        return StateInWords(speech.say("Not set up"), "", exempt)
    required = settings.requirement is Requirement.REQUIRED
    return StateInWords(speech.say("Not set up"), "warn", speech.say("Required of this person") if required else "")


def _exemption(speech: Speech, clinic: Clinic, settings: UserSettings) -> str:
    if settings.expires_at is None:
        return speech.say("Exempt, with no end date")
    return speech.say("Exempt until %(time)s", time=speech.moment(settings.expires_at, clinic.timezone))


def rule_in_words(speech: Speech, clinic: Clinic, rule: RuleOutcome) -> tuple[str, str]:
    """The rule's name, and what it said. A pair that has no words here is told as policy tells it."""
    name = speech.say(_RULE_NAMES.get(rule.rule, rule.rule))
    form = _SAID.get((rule.rule, rule.outcome))
    if form is None:
        return name, speech.heard(rule.detail)
    found = _INSTANT.search(rule.detail)
    at = datetime.fromisoformat(found[0]) if found else None
    if "%(time)s" in form and at is None:
        return name, speech.heard(rule.detail)
    values = {
        "time": speech.moment(at, clinic.timezone) if at else "",
        "names": _SINCE.sub("", rule.detail),
        "methods": ", ".join(speech.say(words) for method, words in METHOD_NAMES.items() if method in rule.detail),
    }
    return name, speech.say(form, **values)


def methods_in_words(speech: Speech, methods: tuple[Method, ...]) -> str:
    return ", ".join(speech.say(METHOD_NAMES[method]) for method in methods)
