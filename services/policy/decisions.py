"""Decisions for users as they stand: the facts are read in one snapshot, and decided one by one.

A clinic nobody made known is an error, never a mild default.
"""

from collections.abc import Sequence
from datetime import datetime

from services.common.clock import Clock
from services.policy.decision import decide
from services.policy.model import Decision, Facts, Subject
from services.policy.refusals import invalid, unknown_clinic
from services.policy.store.standings import Standing, Standings

MOST_SUBJECTS = 1000
"""In one request. An answer about that many stays under the 4 MiB that a message may have, and is made in a tenth of
a second; nobody else's decision waits longer for it than that."""


class Decisions:
    def __init__(self, standings: Standings, clock: Clock) -> None:
        self._standings = standings
        self._clock = clock

    async def decide(self, subjects: Sequence[Subject]) -> list[Decision]:
        """One decision a subject, in their order."""
        check_count(subjects)
        if not subjects:
            return []
        at = self._clock.now()
        standings = await self._standings.read(
            {subject.clinic_id for subject in subjects}, [subject.user_id for subject in subjects], at
        )
        return [decide(facts_of(standings.get(subject.clinic_id), subject, at)) for subject in subjects]


def facts_of(standing: Standing | None, subject: Subject, at: datetime) -> Facts:
    """What a decision about the subject depends on, in the clinic as it stands."""
    if standing is None:
        raise unknown_clinic()
    bypass = standing.bypasses.get(subject.user_id)
    return Facts(
        rule=standing.rule,
        subject=subject,
        at=at,
        holds=standing.holds,
        setting=standing.settings.get(subject.user_id),
        bypass=bypass if bypass and bypass.is_usable(at) else None,
    )


def check_count(subjects: Sequence[object]) -> None:
    if len(subjects) > MOST_SUBJECTS:
        raise invalid("subjects", f"must be at most {MOST_SUBJECTS} in one request")
