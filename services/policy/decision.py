"""Is a second factor asked of this user, and why: a pure function of the facts.

Duties are asked in order of precedence (a hold, what is set for the user, the clinic's rule) and the first that settles
the question wins; every rule that was looked at is named in the reason with what it said. Invariant: whoever has a
confirmed factor is asked for it, whatever any rule says.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from services.policy import sentences
from services.policy.model import (
    CHOOSABLE,
    Decision,
    Facts,
    Method,
    Outcome,
    Reason,
    Requirement,
    RuleOutcome,
    Upcoming,
)
from services.policy.schedule import coming_at, in_force_since, is_in_force

_MINUTES_A_DAY = 24 * 60


@dataclass(frozen=True, slots=True)
class _Finding:
    """What one rule says on whether a second factor is a duty: `requires` is None where it leaves that to the next."""

    said: RuleOutcome
    requires: bool | None
    clause: sentences.Clause = sentences.not_asked_by_clinic
    """The beginning of the sentence where this rule settles it."""


@dataclass(frozen=True, slots=True)
class _Judgement:
    findings: tuple[_Finding, ...]
    settled: _Finding
    required: bool
    outcome: Outcome
    enrol_after_proof: bool
    methods_allowed: tuple[Method, ...]

    @property
    def leads_to_enrolment(self) -> bool:
        return self.outcome is Outcome.ENROL or self.enrol_after_proof


def decide(facts: Facts) -> Decision:
    """The decision for one user at one moment."""
    rule = facts.rule
    judged = _judge(facts)
    phone_required, phone = _phone(facts)
    remember_device_minutes, remembered = _remembered_browsers(facts)
    bypass = facts.bypass if facts.bypass and facts.bypass.is_usable(facts.at) else None
    sentence = sentences.why(
        facts,
        judged.settled.clause,
        judged.outcome,
        required=judged.required,
        methods_allowed=judged.methods_allowed,
        enrol_after_proof=judged.enrol_after_proof,
    )
    looked_at = (
        *(finding.said for finding in judged.findings),
        _own_factor(facts),
        _methods(facts),
        phone,
        RuleOutcome("bypass", "granted", f"until {_instant(bypass.expires_at)}")
        if bypass
        else RuleOutcome("bypass", "none", "no leave to sign in without a code"),
        remembered,
    )
    return Decision(
        outcome=judged.outcome,
        two_factor_required=judged.required,
        enrol_after_proof=judged.enrol_after_proof,
        methods_allowed=judged.methods_allowed,
        phone_required=phone_required,
        reason=Reason(sentence, looked_at),
        version=rule.version,
        epoch=rule.epoch,
        valid_until=_valid_until(facts),
        idle_minutes=rule.idle_minutes,
        bypass=bypass,
        upcoming=_upcoming(facts, judged),
        remember_device_minutes=remember_device_minutes,
    )


def _hold(facts: Facts) -> _Finding:
    """No exemption passes a hold, so holds stand first."""
    demanding = sentences.requiring(facts)
    if demanding:
        detail = ", ".join(f"{hold.name} since {_instant(hold.set_at)}" for hold in demanding)
        return _Finding(RuleOutcome("hold", "requires", detail), requires=True, clause=sentences.asked_by_holds)
    if facts.holds:
        names = ", ".join(hold.name for hold in facts.holds)
        return _Finding(RuleOutcome("hold", "does_not_require", names), requires=None)
    return _Finding(RuleOutcome("hold", "none", "no integration demands a second factor"), requires=None)


def _user_requirement(facts: Facts) -> _Finding:
    """What is set for the person. An exemption lifts the duty to set a factor up and nothing else."""
    setting = facts.setting
    if setting is None or setting.requirement is Requirement.CLINIC_DEFAULT:
        said = RuleOutcome("user_requirement", "clinic_default", "the clinic's rule holds for this person")
        return _Finding(said, requires=None)
    if setting.requirement is Requirement.REQUIRED:
        said = RuleOutcome("user_requirement", "requires", f"since {_instant(setting.set_at)}")
        return _Finding(said, requires=True, clause=sentences.asked_of_this_person)
    end = _instant(setting.expires_at) if setting.expires_at else ""
    if not setting.is_exempt(facts.at):
        return _Finding(RuleOutcome("user_requirement", "exemption_ended", f"at {end}"), requires=None)
    said = RuleOutcome("user_requirement", "exempts", f"until {end}" if end else "without an end")
    return _Finding(said, requires=False, clause=sentences.exempted)


def _clinic_rule(facts: Facts) -> _Finding:
    """The clinic's own rule always settles it, so it stands last."""
    rule = facts.rule
    if is_in_force(rule, facts.at):
        since = in_force_since(rule, facts.at)
        detail = f"on since {_instant(since)}" if since else "on"
        said = RuleOutcome("clinic_rule", "requires", f"{detail}, version {rule.version}")
        return _Finding(said, requires=True, clause=sentences.asked_by_clinic)
    begins = coming_at(rule, facts.at)
    detail, outcome = (f"on from {_instant(begins)}", "scheduled") if begins else ("off", "does_not_require")
    said = RuleOutcome("clinic_rule", outcome, f"{detail}, version {rule.version}")
    return _Finding(said, requires=False, clause=sentences.not_asked_by_clinic)


# In order of precedence.
_DUTIES: tuple[Callable[[Facts], _Finding], ...] = (_hold, _user_requirement, _clinic_rule)


def _judge(facts: Facts) -> _Judgement:
    rule, subject = facts.rule, facts.subject
    findings = tuple(duty(facts) for duty in _DUTIES)
    settled = next(finding for finding in findings if finding.requires is not None)
    required = settled.requires is True
    methods_allowed = tuple(
        method for method in CHOOSABLE if method in rule.methods and method in subject.methods_available
    )
    without_factor = Outcome.ENROL if required else Outcome.ALLOW
    return _Judgement(
        findings=findings,
        settled=settled,
        required=required,
        outcome=Outcome.SECOND_FACTOR if subject.factors else without_factor,
        enrol_after_proof=required and _has_only_disallowed(facts) and bool(methods_allowed),
        methods_allowed=methods_allowed,
    )


def _has_only_disallowed(facts: Facts) -> bool:
    # By the clinic's choice, not by what works just now: a provider that is away must lead nobody to set up anew.
    factors = facts.subject.factors
    return bool(factors) and not any(factor.method in facts.rule.methods for factor in factors)


def _upcoming(facts: Facts, now: _Judgement) -> Upcoming | None:
    """Whom a scheduled rule will stop: judged as it will stand then, by when an exemption may have ended."""
    begins = coming_at(facts.rule, facts.at)
    if begins is None or now.leads_to_enrolment or not _judge(replace(facts, at=begins)).leads_to_enrolment:
        return None
    return Upcoming(begins, sentences.coming(facts, begins, now.methods_allowed))


def _valid_until(facts: Facts) -> datetime | None:
    """The first moment from which the same facts may be judged otherwise."""
    setting, bypass = facts.setting, facts.bypass
    moments = (
        facts.rule.enforce_from,
        setting.expires_at if setting and setting.requirement is Requirement.EXEMPT else None,
        bypass.expires_at if bypass and bypass.is_usable(facts.at) else None,
    )
    return min((moment for moment in moments if moment and moment > facts.at), default=None)


def _own_factor(facts: Facts) -> RuleOutcome:
    factors = facts.subject.factors
    if not factors:
        return RuleOutcome("own_factor", "has_none", "no confirmed factor")
    detail = ", ".join(
        f"{factor.method or 'unknown'} {'suspended' if factor.suspended else 'confirmed'}" for factor in factors
    )
    return RuleOutcome("own_factor", "asks", detail)


def _methods(facts: Facts) -> RuleOutcome:
    outcome = "own_factors_disallowed" if _has_only_disallowed(facts) else "allows"
    return RuleOutcome("methods", outcome, f"the clinic allows {', '.join(facts.rule.methods)}")


def _phone(facts: Facts) -> tuple[bool, RuleOutcome]:
    """Whether this user must still give a number before a forced enrolment. Lifted for a person, it stays lifted under
    a hold: a hold demands a factor, not a phone."""
    if not facts.rule.phone_required:
        return False, RuleOutcome("phone", "not_needed", "the clinic needs no mobile number")
    if facts.setting and facts.setting.lift:
        return False, RuleOutcome("phone", "lifted", "the clinic needs a mobile number, but not of this person")
    if facts.subject.has_phone:
        return False, RuleOutcome("phone", "on_file", "the clinic needs a mobile number, and one is on file")
    return True, RuleOutcome("phone", "needed", "the clinic needs a mobile number, and none is on file")


def _remembered_browsers(facts: Facts) -> tuple[int, RuleOutcome]:
    """The clinic's days, cut by the strictest hold, also for browsers remembered before it was set."""
    minutes = facts.rule.remember_device_days * _MINUTES_A_DAY
    detail = f"the clinic allows {facts.rule.remember_device_days} days"
    caps = [(hold.max_device_trust_hours, hold.name) for hold in facts.holds if hold.max_device_trust_hours is not None]
    if caps:
        hours, name = min(caps)
        minutes = min(minutes, hours * 60)
        detail += f", {name} at most {hours} hours"
    return minutes, RuleOutcome("remembered_browsers", "allowed" if minutes else "not_allowed", detail)


def _instant(moment: datetime) -> str:
    return f"{moment.astimezone(UTC).replace(tzinfo=None, microsecond=0).isoformat()}Z"
