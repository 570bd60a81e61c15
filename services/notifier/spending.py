"""What text messages may cost: where they go, and how many a day, for a clinic and for the deployment.

This is the last gate before money is spent. It asks neither Redis nor the caller how much that was so far: whatever
limit elsewhere is away, flushed or passed by, no more leaves than the caps of the day. A text that goes out in two
parts is paid for twice, and counts twice.
"""

from datetime import UTC, datetime, timedelta

from services.common.errors import ErrorCode, ServiceError
from services.common.logs import get_logger
from services.common.phone_numbers import country_of
from services.notifier import notice_texts, sms, texts
from services.notifier.measures import TEXTS_REFUSED
from services.notifier.model import CapReached, DailyCaps, Kind, Notice, NoticeKind, Order, Purse, Terms

CAP_OF_A_NEW_CLINIC = 300
"""What policy gives a new clinic: the cap of one whose own is not known, to an older caller or while policy is away."""

EVERYDAY = frozenset(
    {NoticeKind.FACTOR_ADDED, NoticeKind.BACKUP_CODES_MADE, NoticeKind.BACKUP_CODES_LOW, NoticeKind.NEW_BROWSER}
)
"""Notices that come in numbers of themselves, or that one person can cause as often as they like. All others may tell
of a theft."""

_COUNTRY = "Your clinic sends no text messages to numbers of this country. Use another way, or ask your administrator."
_SPENT = {
    Purse.CLINIC: (
        "Your clinic has sent all the text messages it may send today. Use another way to sign in, or ask your"
        " administrator."
    ),
    Purse.DEPLOYMENT: (
        "No more text messages can be sent today. Use another way to sign in, or ask your administrator."
    ),
}

_log = get_logger(__name__)


class Spending:
    """What is allowed; what was spent is counted with the delivery's row."""

    def __init__(self, deployment_daily_cap: int, product_name: str) -> None:
        self._deployment_daily_cap = deployment_daily_cap
        self._product_name = product_name

    def segments_of_code(self, order: Order) -> int:
        """As how many messages the worker's text is paid for."""
        return sms.segments(texts.render(order.kind, order.locale, order.code, self._product_name))

    def segments_of_notice(self, notice: Notice) -> int:
        body = notice_texts.text_message(notice.kind, notice.locale, notice.happening, self._product_name)
        return sms.segments(body)

    def caps(self, terms: Terms) -> DailyCaps:
        known = terms.daily_cap is not None
        return DailyCaps(
            clinic=max(terms.daily_cap or 0, 0) if known else CAP_OF_A_NEW_CLINIC,
            deployment=self._deployment_daily_cap,
        )

    def caps_of_notice(self, notice: Notice) -> DailyCaps:
        """Everyday ones are sent while less than half of a day's texts is gone: whoever causes many takes nobody's
        codes, and hides no theft behind them, for what may tell of one goes by the whole."""
        caps = self.caps(notice.terms)
        if notice.kind not in EVERYDAY:
            return caps
        return DailyCaps(clinic=caps.clinic // 2, deployment=caps.deployment // 2)


def allows_country(number: str, terms: Terms) -> bool:
    """Countries that are not known allow the number's own."""
    return not terms.countries or country_of(number) in terms.countries


def needs_countries(kind: Kind) -> bool:
    """A number that somebody has just typed is sent nothing where the countries are not known; a factor was confirmed
    under a list that had its country, and its owner must get in."""
    return kind is not Kind.SIGN_IN_CODE


def country_refused(clinic_id: str) -> ServiceError:
    TEXTS_REFUSED.labels("country").inc()
    _log.warning("text_refused", reason="country", clinic_id=clinic_id)
    return ServiceError(ErrorCode.CONFLICT, _COUNTRY)


def cap_refused(reached: CapReached, clinic_id: str, now: datetime) -> ServiceError:
    """Until the next day begins, in UTC."""
    TEXTS_REFUSED.labels(f"{reached.purse}_cap").inc()
    _log.warning("text_refused", reason=f"{reached.purse}_cap", clinic_id=clinic_id)
    return ServiceError(
        ErrorCode.TOO_MANY_ATTEMPTS, _SPENT[reached.purse], retry_after=_seconds_left_of_day(now), locked=False
    )


def _seconds_left_of_day(now: datetime) -> int:
    begun = now.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    return max(1, -int((now - begun - timedelta(days=1)).total_seconds() // 1))
