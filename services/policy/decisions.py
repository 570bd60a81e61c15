"""Decisions for users as they stand: the facts are read in one snapshot, and decided one by one.

A clinic nobody made known is an error, never a mild default.
"""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime

from services.common.clock import Clock
from services.common.errors import invalid
from services.policy.decision import decide
from services.policy.model import Bypass, ClinicId, Decision, Facts, Subject, UserId, UserSetting
from services.policy.refusals import unknown_clinic
from services.policy.store.standings import Standing, Standings

MOST_SUBJECTS = 500
"""In one request: the answer about that many stays under the 4 MiB that a message may have, with as many holds as a
clinic may have, and nobody else's decision waits long for it."""
NOBODY = UserId("")


class Decider:
    """Decides for the people of one clinic at one moment, and each set of equal facts once: of 10,000 people most stand
    alike but for their id, which no decision depends on."""

    def __init__(self, standing: Standing, at: datetime) -> None:
        self._standing = standing
        self._at = at
        self._made: dict[tuple[Subject, UserSetting | None, Bypass | None], Decision] = {}

    def decide(self, subject: Subject) -> Decision:
        return self.decide_as(replace(subject, user_id=NOBODY), subject.user_id)

    def decide_as(self, subject: Subject, user_id: UserId) -> Decision:
        """For the user, of whom is known what `subject` says of nobody yet."""
        setting = self._standing.settings.get(user_id)
        bypass = self._standing.bypasses.get(user_id)
        alike = (subject, setting, bypass)
        if (made := self._made.get(alike)) is None:
            made = self._made[alike] = decide(self._facts(subject, user_id))
        return made

    def facts(self, subject: Subject) -> Facts:
        return self._facts(subject, subject.user_id)

    def _facts(self, subject: Subject, user_id: UserId) -> Facts:
        standing = self._standing
        setting, bypass = standing.settings.get(user_id), standing.bypasses.get(user_id)
        return Facts(standing.rule, subject, self._at, standing.holds, setting, bypass)


class Decisions:
    def __init__(self, standings: Standings, clock: Clock) -> None:
        self._standings = standings
        self._clock = clock

    async def decide(self, subjects: Sequence[Subject]) -> list[Decision]:
        """One decision a subject, in their order."""
        deciders = await self._deciders(subjects)
        return [deciders[subject.clinic_id].decide(subject) for subject in subjects]

    async def recorded(self, subjects: Sequence[Subject]) -> list[tuple[Facts, Decision]]:
        """The same, each with the facts that it was made from."""
        deciders = await self._deciders(subjects)
        facts = [deciders[subject.clinic_id].facts(subject) for subject in subjects]
        return [(found, decide(found)) for found in facts]

    async def _deciders(self, subjects: Sequence[Subject]) -> dict[ClinicId, Decider]:
        check_count(subjects, "subjects")
        if not subjects:
            return {}
        at = self._clock.now()
        clinic_ids = {subject.clinic_id for subject in subjects}
        found = await self._standings.read(clinic_ids, [subject.user_id for subject in subjects], at)
        if clinic_ids - found.keys():
            raise unknown_clinic()
        return {clinic_id: Decider(standing, at) for clinic_id, standing in found.items()}

    async def epoch(self, clinic_id: ClinicId) -> int:
        """While it stands still, each decision made under it holds until its own `valid_until`."""
        epoch = await self._standings.epoch(clinic_id)
        if epoch is None:
            raise unknown_clinic()
        return epoch


def check_count(asked_for: Sequence[object], field: str) -> None:
    if len(asked_for) > MOST_SUBJECTS:
        raise invalid(field, f"must be at most {MOST_SUBJECTS} in one request")
