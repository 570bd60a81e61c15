"""What a clinic spends on text messages, as its rule says: to which countries, and how many a day. The notifier holds
everybody to it; who asks for a text passes it on.

Remembered for two seconds, as everything of a rule. While policy is away the last known terms count; where there are
none, a code for a factor that is in force goes out all the same, under the cap of a new clinic and to the number's own
country, for its owner must get in; a number that somebody has just typed is sent nothing.
"""

import asyncio
from dataclasses import dataclass
from datetime import datetime

from services.common.clock import Clock
from services.common.errors import ErrorCode, ServiceError, unavailable
from services.common.phone_numbers import country_of
from services.identity.marks import HOLD, is_within
from services.identity.model import ClinicId
from services.identity.peers.policy import PolicyPeer
from services.identity.policy_words import SmsTerms

_WAIT_SECONDS = 0.7
"""Of the three seconds that anything may take, most belong to the sending."""
_MOST_CLINICS = 20_000


@dataclass(frozen=True, slots=True)
class _Known:
    asked_at: datetime
    terms: SmsTerms | None


class TermsOfClinics:
    def __init__(self, policy: PolicyPeer, clock: Clock) -> None:
        self._policy = policy
        self._clock = clock
        self._known: dict[ClinicId, _Known] = {}

    async def of(self, clinic_id: ClinicId) -> SmsTerms | None:
        """The clinic's terms, the last known ones while policy is away, or None."""
        now = self._clock.now()
        known = self._known.get(clinic_id)
        if known is not None and is_within(HOLD, known.asked_at, now):
            return known.terms
        try:
            async with asyncio.timeout(_WAIT_SECONDS):
                rule = await self._policy.rule(clinic_id)
            terms: SmsTerms | None = SmsTerms(rule.sms_daily_cap, rule.sms_countries)
        except (ServiceError, TimeoutError):
            terms = known.terms if known else None
        self._known.pop(clinic_id, None)
        if len(self._known) >= _MOST_CLINICS:
            del self._known[next(iter(self._known))]
        self._known[clinic_id] = _Known(now, terms)
        return terms

    async def for_number(self, clinic_id: ClinicId, number: str) -> SmsTerms:
        """The terms under which a number that is no factor yet may be sent a code. Raises `conflict` where its country
        is not the clinic's, and `unavailable` where that is not known."""
        terms = await self.of(clinic_id)
        if terms is None:
            raise unavailable("policy")
        if country_of(number) not in terms.countries:
            raise ServiceError(
                ErrorCode.CONFLICT,
                "Your clinic sends no text messages to numbers of this country. Use another number or another way, or"
                " ask your administrator.",
            )
        return terms

    def forget(self, clinic_id: ClinicId) -> None:
        """The rule was changed here. The old terms stay known, for a policy that goes away before it is asked."""
        if (known := self._known.get(clinic_id)) is not None:
            self._known[clinic_id] = _Known(datetime.min.replace(tzinfo=known.asked_at.tzinfo), known.terms)
