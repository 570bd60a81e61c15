"""What a decision says to the person: one plain sentence, with dates on the clinic's calendar.

Pure, like the decision. Names no other person and repeats no administrator's reason: the sentence is shown at sign-in.
"""

from collections.abc import Callable
from datetime import UTC, datetime, tzinfo
from functools import lru_cache
from zoneinfo import ZoneInfo

from services.policy.model import Facts, HeldFactor, Hold, Method, Outcome
from services.policy.schedule import coming_at, in_force_since

Clause = Callable[[Facts], str]
"""The beginning of the sentence: what the rule says that settled it."""

_MOST_NAMED = 3

_WORDS = {
    Method.TOTP: "an authenticator app",
    Method.SMS: "text messages",
    Method.BACKUP_CODE: "backup codes",
    None: "another kind of factor",
}


def asked_by_holds(facts: Facts) -> str:
    holds = requiring(facts)
    names = _listed([hold.name for hold in holds[:_MOST_NAMED]], "and")
    if len(holds) > _MOST_NAMED:
        names = f"{', '.join(hold.name for hold in holds[:_MOST_NAMED])} and {len(holds) - _MOST_NAMED} more"
    since = _date(min(hold.set_at for hold in holds), facts)
    if len(holds) == 1:
        return f"An integration of {_within(facts)} ({names}) has required a code at sign-in since {since}"
    return f"Integrations of {_within(facts)} ({names}) have required a code at sign-in since {since}"


def asked_of_this_person(facts: Facts) -> str:
    if facts.setting is None:
        return f"An administrator of {_within(facts)} requires you to give a code at sign-in"
    since = _date(facts.setting.set_at, facts)
    return f"An administrator of {_within(facts)} has required you to give a code at sign-in since {since}"


def exempted(facts: Facts) -> str:
    until = facts.setting.expires_at if facts.setting else None
    end = f" until {_date(until, facts)}, {_time(until, facts)}" if until else ""
    return f"An administrator of {_within(facts)} lets you sign in without a code{end}"


def asked_by_clinic(facts: Facts) -> str:
    since = in_force_since(facts.rule, facts.at)
    if since is None:
        return f"{facts.clinic} requires a code at sign-in"
    return f"{facts.clinic} has required a code at sign-in since {_date(since, facts)}"


def not_asked_by_clinic(facts: Facts) -> str:
    begins = coming_at(facts.rule, facts.at)
    if begins:
        return f"{facts.clinic} will require a code at sign-in from {_date(begins, facts)}, {_time(begins, facts)}"
    return f"{facts.clinic} does not require a code at sign-in"


def requiring(facts: Facts) -> list[Hold]:
    """The holds that demand a second factor."""
    return [hold for hold in facts.holds if hold.requires_two_factor]


def why(
    facts: Facts,
    clause: Clause,
    outcome: Outcome,
    *,
    required: bool,
    methods_allowed: tuple[Method, ...],
    enrol_after_proof: bool,
) -> str:
    """The sentence of a decision that `clause` settled."""
    factors = facts.subject.factors
    if outcome is Outcome.ALLOW:
        return f"{clause(facts)}, and you have not set up a way to get one."
    if outcome is Outcome.ENROL:
        way_out = (
            ""
            if methods_allowed
            else " The ways it allows cannot be set up at the moment: please ask one of its administrators."
        )
        return f"{clause(facts)}, and you have not set up a way to get one yet.{way_out}"
    if all(factor.suspended for factor in factors):
        return f"What you set up for codes is suspended: please ask an administrator of {_within(facts)} to let you in."
    if enrol_after_proof:
        instead = " or ".join(_WORDS[method] for method in methods_allowed)
        return f"{clause(facts)}, but not with {_named(factors, 'or')}: after your code, please set up {instead}."
    if required:
        return f"{clause(facts)}, and you have set up {_named(factors, 'and')}."
    return f"You have set up {_named(factors, 'and')}, so you are asked for a code at every sign-in."


def coming(facts: Facts, enforce_from: datetime, methods_allowed: tuple[Method, ...]) -> str:
    """What a scheduled rule will ask of this person, with the time and its zone: they may be elsewhere."""
    when = f"{_date(enforce_from, facts)}, {_time(enforce_from, facts)} ({_zone(facts.subject.timezone)})"
    what = " or ".join(_WORDS[method] for method in methods_allowed) or "a way to get codes"
    return f"{facts.clinic} will require a code at sign-in from {when}: please set up {what} before then."


def _within(facts: Facts) -> str:
    """The clinic's name in the middle of a sentence."""
    return facts.subject.clinic_name or "your clinic"


def _named(factors: tuple[HeldFactor, ...], joint: str) -> str:
    known = [method for method in Method if any(factor.method is method for factor in factors)]
    return _listed([_WORDS[method] for method in known] or [_WORDS[None]], joint)


def _listed(words: list[str], joint: str) -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} {joint} {words[-1]}"


def _date(moment: datetime, facts: Facts) -> str:
    """'1 March' on the clinic's calendar, with the year where that is not the current one."""
    zone = _zone(facts.subject.timezone)
    local, today = moment.astimezone(zone), facts.at.astimezone(zone)
    words = f"{local.day} {_MONTHS[local.month - 1]}"
    return words if local.year == today.year else f"{words} {local.year}"


def _time(moment: datetime, facts: Facts) -> str:
    return f"{moment.astimezone(_zone(facts.subject.timezone)):%H:%M}"


@lru_cache(maxsize=1024)  # a name nobody knows is looked for on disk each time, otherwise
def _zone(name: str) -> tzinfo:
    """The zone by its IANA name. A name nobody knows costs the exact date, never the decision."""
    try:
        return ZoneInfo(name)
    except (LookupError, ValueError, OSError):
        return UTC


# Not strftime: its month names follow the process's locale.
_MONTHS = (
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
)
