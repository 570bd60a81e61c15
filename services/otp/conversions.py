"""How many of the codes that were sent are used. A few are always lost; where most are, somebody has texts sent for
their own profit (A50), or they do not arrive."""

import math
from datetime import timedelta

from prometheus_client import Gauge

from services.common.clock import Clock
from services.otp import sms_codes
from services.otp.store.challenges import Challenges

_WITHIN = timedelta(hours=1)
LEAST_SENT = 20
"""Of fewer no share is told."""

_SENT = Gauge("otp_sms_codes_sent", "Codes sent by text message in the last hour, without those that still live.")
_USED = Gauge("otp_sms_codes_used", "How many of them were typed in.")
_SHARE = Gauge("otp_sms_conversion_ratio", "Used ÷ sent; NaN where fewer than 20 were sent.")
_SHARE.set(math.nan)


class Conversions:
    def __init__(self, challenges: Challenges, clock: Clock) -> None:
        self._challenges = challenges
        self._clock = clock

    async def measure(self) -> float:
        """The share, which every replica tells alike: it is read from what is on record."""
        now = self._clock.now()
        sent, used = await self._challenges.sent_and_used(now - _WITHIN, now - sms_codes.LIFE)
        share = used / sent if sent >= LEAST_SENT else math.nan
        _SENT.set(sent)
        _USED.set(used)
        _SHARE.set(share)
        return share
