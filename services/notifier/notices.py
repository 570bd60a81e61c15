"""Takes notices: a delivery for each channel that is given and that this deployment has, on record before the answer.
The same request key is the same deliveries however often it comes."""

import uuid
from datetime import UTC, datetime, timedelta

from services.common.clock import Clock
from services.common.errors import ErrorCode, ServiceError
from services.common.keyring_in_use import Sealing
from services.common.logs import get_logger, mask_phone
from services.notifier import addresses, envelope, sms
from services.notifier.delivery import IsThere
from services.notifier.model import CapReached, Channel, Delivery, DeliveryId, NewDelivery, Notice
from services.notifier.spending import Spending, allows_country, cap_refused, country_refused
from services.notifier.store import DeliveryStore

_LONGEST_LIFE = timedelta(hours=24)
_LONGEST_KEY = 200
_EARLIEST, _LATEST = datetime(2000, 1, 1, tzinfo=UTC), datetime(2200, 1, 1, tzinfo=UTC)

_log = get_logger(__name__)


class Notices:
    """The front's operation for notices. Nothing here waits for a provider or a queue."""

    def __init__(
        self,
        store: DeliveryStore,
        keyring: Sealing,
        can_text: IsThere,
        spending: Spending,
        *,
        can_mail: bool,
        clock: Clock,
    ) -> None:
        self._store = store
        self._keyring = keyring
        self._can_text = can_text
        self._spending = spending
        self._can_mail = can_mail
        self._clock = clock

    def can_send_email(self) -> bool:
        return self._can_mail

    async def notify(self, notice: Notice) -> list[Delivery]:
        """The notice's deliveries, new and earlier ones. None for a channel that is not given or not there, nor for a
        text message that the clinic may not pay for: its e-mail goes all the same."""
        now = self._clock.now()
        problem = _what_is_wrong(notice)
        if problem or notice.not_after - now > _LONGEST_LIFE:
            raise ServiceError(ErrorCode.INVALID_REQUEST, problem or "not_after is too far away")
        wanted = [
            *([self._new(notice, Channel.SMS, notice.phone, mask_phone(notice.phone))] if notice.phone else []),
            *([self._new(notice, Channel.EMAIL, notice.email, addresses.masked(notice.email))] if notice.email else []),
        ]
        is_there = {Channel.SMS: await self._may_text(notice), Channel.EMAIL: self._can_mail}
        caps = self._spending.caps_of_notice(notice)
        try:
            taken = await self._store.insert([new for new in wanted if is_there[new.channel]], now, caps)
        except CapReached as reached:
            cap_refused(reached, notice.clinic_id, now)
            is_there[Channel.SMS] = False
            taken = await self._store.insert([new for new in wanted if is_there[new.channel]], now, caps)
        if gone := [new.request_key for new in wanted if not is_there[new.channel]]:
            taken += (await self._store.find_by_keys(gone)).values()  # taken while the channel was there
        for new in wanted:
            if any(delivery.id == new.id for delivery in taken):
                _log.info("notice_queued", delivery_id=new.id, kind=new.kind, channel=new.channel, to=new.to_hint)
        return taken

    async def _may_text(self, notice: Notice) -> bool:
        if not notice.phone or not await self._can_text():
            return False
        if not allows_country(notice.phone, notice.terms):
            country_refused(notice.clinic_id)
            return False
        return True

    def _new(self, notice: Notice, channel: Channel, to: str, to_hint: str) -> NewDelivery:
        delivery_id = DeliveryId(f"dlv_{uuid.uuid4().hex}")
        return NewDelivery(
            id=delivery_id,
            request_key=f"{notice.request_key}:{channel}",
            kind=notice.kind,
            channel=channel,
            segments=self._spending.segments_of_notice(notice) if channel is Channel.SMS else 0,
            to_hint=to_hint,
            sealed=envelope.seal(self._keyring, delivery_id, envelope.Content(to, notice.happening)),
            not_after=notice.not_after,
            clinic_id=notice.clinic_id,
            user_id=notice.user_id,
            locale=notice.locale,
        )


def _what_is_wrong(notice: Notice) -> str | None:
    if not 0 < len(notice.request_key) <= _LONGEST_KEY:
        return "request_key must be given"
    if not notice.clinic_id or not notice.user_id:
        return "clinic_id and user_id must be given"
    if notice.phone and not sms.is_textable(notice.phone):
        return "Text messages cannot be sent to this number."
    if notice.email and not addresses.is_mailable(notice.email):
        return "E-mail cannot be sent to this address."
    if not _EARLIEST <= notice.happening.at <= _LATEST:
        return "happened_at is no time of ours"
    return None
