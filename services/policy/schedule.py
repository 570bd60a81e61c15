"""When a clinic's rule is in force: with a date from that moment on, without one as it is set. Pure."""

from dataclasses import replace
from datetime import datetime

from services.policy.model import ClinicRule


def is_in_force(rule: ClinicRule, at: datetime) -> bool:
    return rule.require_two_factor if rule.enforce_from is None else rule.enforce_from <= at


def in_force_since(rule: ClinicRule, at: datetime) -> datetime | None:
    """When the rule that is in force came into force."""
    if not is_in_force(rule, at):
        return None
    return rule.required_since if rule.enforce_from is None else rule.enforce_from


def coming_at(rule: ClinicRule, at: datetime) -> datetime | None:
    """When the rule will come into force, where it is not but has a date."""
    return rule.enforce_from if rule.enforce_from is not None and rule.enforce_from > at else None


def as_it_stands(rule: ClinicRule, at: datetime) -> ClinicRule:
    """The rule as it is shown: `require_two_factor` says whether it is in force now."""
    since = in_force_since(rule, at) or rule.required_since
    return replace(rule, require_two_factor=is_in_force(rule, at), required_since=since)
