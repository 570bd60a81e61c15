"""What users would be asked under a would-be change of the rule or a would-be hold, beside what they are asked now.

By the functions that decide and that change: what is refused here is refused there, and what is shown here is what
happens then, to the letter of the reasons. Reads only.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from services.common.clock import Clock
from services.common.errors import invalid
from services.policy.decisions import NOBODY, Decider, check_count
from services.policy.holds import check_demand
from services.policy.model import Actor, ClinicId, ClinicRule, Decision, Hold, RuleChange, Subject, UserId
from services.policy.refusals import unknown_clinic
from services.policy.rule_changes import changed_rule
from services.policy.schedule import coming_at
from services.policy.store.standings import Standings

_NOBODY_YET = Actor("", None, None)


@dataclass(frozen=True, slots=True)
class WouldBeHold:
    name: str
    requires_two_factor: bool
    max_device_trust_hours: int | None


@dataclass(frozen=True, slots=True)
class Alike:
    """Users of whom the same is known."""

    subject: Subject
    user_ids: tuple[UserId, ...]


@dataclass(frozen=True, slots=True)
class PreviewOfUser:
    now: Decision
    then: Decision
    exempt: bool
    """An exemption is in force for this user, whether or not it helps them."""


class Previews:
    def __init__(self, standings: Standings, clock: Clock) -> None:
        self._standings = standings
        self._clock = clock

    async def preview(
        self, clinic_id: ClinicId, people: Sequence[Alike], would_be: RuleChange | WouldBeHold
    ) -> list[PreviewOfUser]:
        """One a user, in their order."""
        user_ids = [user_id for alike in people for user_id in alike.user_ids]
        check_count(user_ids, "people")
        if any(alike.subject.clinic_id != clinic_id for alike in people):
            raise invalid("people", "must be of the clinic that would change")
        at = self._clock.now()
        found = await self._standings.read([clinic_id], user_ids, at)
        standing = found.get(clinic_id)
        if standing is None:
            raise unknown_clinic()
        rule, holds, then_at = _would_be(standing.rule, standing.holds, would_be, at)
        now, then = Decider(standing, at), Decider(replace(standing, rule=rule, holds=holds), then_at)
        exempt = {user_id for user_id, setting in standing.settings.items() if setting.is_exempt(at)}
        return [
            PreviewOfUser(now.decide_as(subject, user_id), then.decide_as(subject, user_id), user_id in exempt)
            for subject, of_user_ids in ((replace(alike.subject, user_id=NOBODY), alike.user_ids) for alike in people)
            for user_id in of_user_ids
        ]


def _would_be(
    rule: ClinicRule, holds: tuple[Hold, ...], would_be: RuleChange | WouldBeHold, at: datetime
) -> tuple[ClinicRule, tuple[Hold, ...], datetime]:
    """The rule and the holds as they would be, and when: a date that is set is looked at when it has come."""
    if isinstance(would_be, RuleChange):
        changed = changed_rule(rule, would_be, holds, at)
        then_at = coming_at(changed, at) if would_be.schedule else None
        if changed != rule:
            changed = replace(changed, version=rule.version + 1, epoch=rule.epoch + 1)
        return changed, holds, then_at or at
    hold = Hold(
        rule.clinic_id, would_be.name, would_be.requires_two_factor, would_be.max_device_trust_hours, _NOBODY_YET, at
    )
    check_demand(hold)
    known = next((other for other in holds if other.name == hold.name), None)
    if known is not None and replace(hold, set_by=known.set_by, set_at=known.set_at) == known:
        return rule, holds, at
    others = (other for other in holds if other.name != hold.name)
    return replace(rule, epoch=rule.epoch + 1), tuple(sorted((*others, hold), key=lambda one: one.name)), at
