"""Is a second factor asked of this user, and why: a pure function of the facts.

Rules that can oblige are asked in order of precedence and the first that settles the question wins; every rule that
was looked at is named in the reason with what it said. Invariant: whoever has a confirmed factor is asked for it,
whatever any rule says.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, tzinfo
from zoneinfo import ZoneInfo

from services.policy.model import (
    CHOOSABLE,
    ClinicRule,
    Decision,
    HeldFactor,
    Method,
    Outcome,
    Reason,
    RuleOutcome,
    Subject,
)

_WORDS = {
    Method.TOTP: "an authenticator app",
    Method.SMS: "text messages",
    Method.BACKUP_CODE: "backup codes",
    None: "another kind of factor",
}


@dataclass(frozen=True, slots=True)
class Facts:
    """All that a decision depends on. Equal facts give an equal decision with equal reasons, now and when replayed."""

    rule: ClinicRule
    subject: Subject
    at: datetime

    @property
    def clinic(self) -> str:
        return self.subject.clinic_name or "Your clinic"


@dataclass(frozen=True, slots=True)
class _Finding:
    """What one rule says on whether a second factor is a duty: `requires` is None where it leaves that to the next."""

    said: RuleOutcome
    requires: bool | None
    clause: str
    """The beginning of the sentence where this rule settles it."""


def _clinic_rule(facts: Facts) -> _Finding:
    """The clinic's own rule always settles it, so it stands last."""
    rule = facts.rule
    if not rule.require_two_factor:
        said = RuleOutcome("clinic_rule", "does_not_require", f"off, version {rule.version}")
        return _Finding(said, requires=False, clause=f"{facts.clinic} does not ask everyone for a code")
    since = rule.required_since
    detail = f"on since {since.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}" if since else "on"
    said = RuleOutcome("clinic_rule", "requires", f"{detail}, version {rule.version}")
    date = f" since {_date(since, facts)}" if since else ""
    return _Finding(said, requires=True, clause=f"{facts.clinic} asks everyone for a code{date}")


# In order of precedence. A hold, the user's own requirement and an exemption go before the clinic's rule.
_DUTIES: tuple[Callable[[Facts], _Finding], ...] = (_clinic_rule,)


def decide(facts: Facts) -> Decision:
    """The decision for one user at one moment."""
    rule, subject = facts.rule, facts.subject
    findings = [duty(facts) for duty in _DUTIES]
    settled = next(finding for finding in findings if finding.requires is not None)
    required = settled.requires is True
    methods_allowed = tuple(
        method for method in CHOOSABLE if method in rule.methods and method in subject.methods_available
    )
    # By the clinic's choice, not by what works just now: a provider that is away must lead nobody to set up anew.
    disallowed = bool(subject.factors) and not any(factor.method in rule.methods for factor in subject.factors)
    enrol_after_proof = required and disallowed and bool(methods_allowed)
    without_factor = Outcome.ENROL if required else Outcome.ALLOW
    outcome = Outcome.SECOND_FACTOR if subject.factors else without_factor
    looked_at = (*(finding.said for finding in findings), _own_factor(subject), _methods(rule, disallowed))
    return Decision(
        outcome=outcome,
        two_factor_required=required,
        enrol_after_proof=enrol_after_proof,
        methods_allowed=methods_allowed,
        phone_required=rule.phone_required and not subject.has_phone,
        reason=Reason(_sentence(facts, settled, outcome, methods_allowed, enrol_after_proof), looked_at),
        version=rule.version,
        epoch=rule.epoch,
        valid_until=None,
        idle_minutes=rule.idle_minutes,
    )


def _own_factor(subject: Subject) -> RuleOutcome:
    if not subject.factors:
        return RuleOutcome("own_factor", "has_none", "no confirmed factor")
    detail = ", ".join(
        f"{factor.method or 'unknown'} {'suspended' if factor.suspended else 'confirmed'}" for factor in subject.factors
    )
    return RuleOutcome("own_factor", "asks", detail)


def _methods(rule: ClinicRule, disallowed: bool) -> RuleOutcome:
    outcome = "own_factors_disallowed" if disallowed else "allows"
    return RuleOutcome("methods", outcome, f"the clinic allows {', '.join(rule.methods)}")


def _sentence(
    facts: Facts, settled: _Finding, outcome: Outcome, methods_allowed: tuple[Method, ...], enrol_after_proof: bool
) -> str:
    factors = facts.subject.factors
    if outcome is Outcome.ALLOW:
        return f"{settled.clause}, and you have not set one up."
    if outcome is Outcome.ENROL:
        way_out = (
            ""
            if methods_allowed
            else " Nothing it allows can be set up just now: please ask one of its administrators."
        )
        return f"{settled.clause}, and you have not set one up yet.{way_out}"
    if all(factor.suspended for factor in factors):
        return f"What you set up for codes is suspended: please ask an administrator of {facts.clinic} to let you in."
    if enrol_after_proof:
        instead = " or ".join(_WORDS[method] for method in methods_allowed)
        return f"{settled.clause}, but not with {_named(factors, 'or')}: after your code, please set up {instead}."
    if settled.requires:
        return f"{settled.clause}, and you have set up {_named(factors, 'and')}."
    return f"You have set up {_named(factors, 'and')}, so you are asked for a code at every sign-in."


def _named(factors: tuple[HeldFactor, ...], joint: str) -> str:
    known = [method for method in Method if any(factor.method is method for factor in factors)]
    words = [_WORDS[method] for method in known] or [_WORDS[None]]
    return f" {joint} ".join(words)


def _date(moment: datetime, facts: Facts) -> str:
    """'1 March' on the clinic's calendar, with the year where that is not the current one."""
    zone = _zone(facts.subject.timezone)
    local, today = moment.astimezone(zone), facts.at.astimezone(zone)
    words = f"{local.day} {_MONTHS[local.month - 1]}"
    return words if local.year == today.year else f"{words} {local.year}"


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
