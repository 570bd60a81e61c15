"""What a change makes of a clinic's rule, and which changes are refused. Pure: the preview asks it too.

Invariant: under a hold that demands a second factor the rule never comes into force later than it would have.
"""

import re
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from services.common.errors import ErrorCode, ServiceError, invalid
from services.policy.model import CHOOSABLE, ClinicRule, Hold, Method, RuleChange
from services.policy.refusals import check_future
from services.policy.schedule import in_force_since, is_in_force

MOST_REMEMBER_DEVICE_DAYS = 90
LEAST_IDLE_MINUTES, MOST_IDLE_MINUTES = 5, 60
MOST_SMS_DAILY_CAP = 100_000
_COUNTRY = re.compile(r"[A-Z]{2}", re.ASCII)
_ALWAYS, _NEVER = datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC)

_PLAIN_FIELDS = ("phone_required", "remember_device_days", "idle_minutes", "sms_daily_cap")
_RECORDED_FIELDS = ("require_two_factor", "enforce_from", "methods", *_PLAIN_FIELDS, "sms_countries")


def changed_rule(current: ClinicRule, change: RuleChange, holds: Sequence[Hold], at: datetime) -> ClinicRule:
    """The rule after the change, `version` and `epoch` as they were; equal to `current` where nothing differs."""
    _check_ranges(change)
    changed = replace(
        _switched(current, change, at),
        **{name: value for name in _PLAIN_FIELDS if (value := getattr(change, name)) is not None},
    )
    if change.methods is not None:
        changed = replace(changed, methods=chosen_methods(change.methods))
    if change.sms_countries is not None:
        changed = replace(changed, sms_countries=chosen_countries(change.sms_countries))
    _check_holds(current, changed, change, holds, at)
    return changed


def chosen_methods(methods: Sequence[Method]) -> tuple[Method, ...]:
    """The methods once each, best first. None at all would leave nobody a way in; backup codes are not a choice."""
    if not methods or any(method not in CHOOSABLE for method in methods):
        raise invalid("methods", f"Choose at least one: {', '.join(CHOOSABLE)}.")
    return tuple(method for method in CHOOSABLE if method in methods)


def chosen_countries(countries: Sequence[str]) -> tuple[str, ...]:
    """The countries once each, in the order given. Whether a country has telephones is for identity to know."""
    if not countries or any(not _COUNTRY.fullmatch(country) for country in countries):
        raise invalid("sms_countries", "Name one or more countries by two capital letters (ISO 3166-1), such as DE.")
    return tuple(dict.fromkeys(countries))


def differences(before: ClinicRule, after: ClinicRule) -> dict[str, list[Any]]:
    """Field → [before, after], for the trail."""
    return {
        name: [_plain(getattr(before, name)), _plain(getattr(after, name))]
        for name in _RECORDED_FIELDS
        if getattr(before, name) != getattr(after, name)
    }


def _switched(current: ClinicRule, change: RuleChange, at: datetime) -> ClinicRule:
    """The rule with what the change says of on, off and date."""
    if change.require_two_factor is None and change.schedule is None:
        return current
    date = change.schedule.enforce_from if change.schedule else None
    named = change.require_two_factor
    if date is not None and date == current.enforce_from and named is not False:
        # Sent back with the rest of the rule, also when it has come.
        return current
    if date is not None:
        check_future("enforce_from", date, at)
    was_in_force = is_in_force(current, at)
    # What stands without the date. Where only the date is set or taken back, that is what stood before it: taking back
    # a date that put the rule off brings the rule back, taking back one that was to bring it on leaves it off. And a
    # date to come turns nothing on before it.
    stood = was_in_force or current.require_two_factor
    on = stood if named is None else named and (stood or date is None)
    since = in_force_since(current, at) if was_in_force else current.required_since
    if on and date is None and not was_in_force:
        since = at
    return replace(current, require_two_factor=on, enforce_from=date, required_since=since)


def _check_ranges(change: RuleChange) -> None:
    for name, least, most in (
        ("remember_device_days", 0, MOST_REMEMBER_DEVICE_DAYS),
        ("idle_minutes", LEAST_IDLE_MINUTES, MOST_IDLE_MINUTES),
        ("sms_daily_cap", 0, MOST_SMS_DAILY_CAP),
    ):
        value: int | None = getattr(change, name)
        if value is not None and not least <= value <= most:
            raise invalid(name, f"This must be {least} to {most}.")


def _check_holds(
    current: ClinicRule, changed: ClinicRule, change: RuleChange, holds: Sequence[Hold], at: datetime
) -> None:
    demanding = [hold for hold in holds if hold.requires_two_factor]
    if not demanding:
        return
    # Off already, and asked for by itself: the answer that an administrator needs is the same.
    is_plain_off = change == RuleChange(require_two_factor=False)
    if is_plain_off or _begins(changed, at) > _begins(current, at):
        raise required_by(demanding)


def required_by(demanding: Sequence[Hold]) -> ServiceError:
    """The refusal that names the holders."""
    names = [hold.name for hold in demanding]
    detail = "The rule cannot be turned off or postponed while an integration requires two-factor authentication."
    reason = {
        "sentence": f"{detail[:-1]}: {', '.join(names)}.",
        "rules": [
            {"rule": "hold", "outcome": "requires", "detail": f"{hold.name} since {hold.set_at:%Y-%m-%dT%H:%M:%SZ}"}
            for hold in demanding
        ],
    }
    return ServiceError(ErrorCode.REQUIRED_BY_POLICY, detail, reason=reason, holders=names)


def _begins(rule: ClinicRule, at: datetime) -> datetime:
    """From when on the rule is in force, for telling earlier from later."""
    if is_in_force(rule, at):
        return _ALWAYS
    return rule.enforce_from or _NEVER


def _plain(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat()
    return list(value) if isinstance(value, tuple) else value
