"""Takes orders for codes and says how they fare. An order is on record, its number and code sealed, before it is
answered; the same request key is the same delivery however often it comes."""

import re
import uuid
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from typing import NoReturn

from services.common.clock import Clock
from services.common.errors import ErrorCode, ServiceError, unavailable
from services.common.keyring_in_use import Sealing
from services.common.logs import get_logger, mask_phone
from services.notifier import envelope, notice_texts, sms, texts
from services.notifier.measures import CHANGES
from services.notifier.model import (
    CapReached,
    Channel,
    Delivery,
    DeliveryId,
    NewDelivery,
    Order,
    State,
    is_delivery_id,
)
from services.notifier.provider_health import ProviderHealth
from services.notifier.spending import Spending, allows_country, cap_refused, country_refused, needs_countries
from services.notifier.store import DeliveryStore

_CODE = re.compile(r"[0-9]{6}")
_LONGEST_LIFE = timedelta(hours=10)  # what a provider may be asked to hold a message for (ValidityPeriod, 36,000 s)
_LONGEST_KEY = 200
_MOST_REPLACED = 100

IsThere = Callable[[], Awaitable[bool]]
"""Whether a provider is there that could send text messages."""

_log = get_logger(__name__)


class Deliveries:
    """The front's operations. Nothing here waits for a provider or a queue."""

    def __init__(
        self,
        store: DeliveryStore,
        keyring: Sealing,
        provider_is_there: IsThere,
        spending: Spending,
        health: ProviderHealth,
        clock: Clock,
    ) -> None:
        self._store = store
        self._keyring = keyring
        self._provider_is_there = provider_is_there
        self._spending = spending
        self._health = health
        self._clock = clock

    async def submit(self, order: Order) -> Delivery:
        """Puts the order on record, to be sent within moments."""
        now = self._clock.now()
        problem = _what_is_wrong(order)
        if problem or order.not_after - now > _LONGEST_LIFE:
            raise ServiceError(ErrorCode.INVALID_REQUEST, problem or "not_after is too far away")
        await self._call_back_replaced(order, now)
        if not allows_country(order.to, order.terms):
            return await self._earlier(order) or _raise(country_refused(order.clinic_id))
        if not await self._provider_is_there():
            return await self._earlier(order) or _raise(unavailable("sms_provider", retry_after=30))
        delivery_id = DeliveryId(f"dlv_{uuid.uuid4().hex}")
        new = NewDelivery(
            id=delivery_id,
            request_key=order.request_key,
            kind=order.kind,
            channel=Channel.SMS,
            segments=self._spending.segments_of_code(order),
            to_hint=mask_phone(order.to),
            sealed=envelope.seal(self._keyring, delivery_id, envelope.Content(order.to, order.code)),
            not_after=order.not_after,
            clinic_id=order.clinic_id,
            user_id=order.user_id,
            locale=order.locale,
        )
        try:
            [delivery] = await self._store.insert([new], now, self._spending.caps(order.terms))
        except CapReached as reached:
            raise cap_refused(reached, order.clinic_id, now) from reached
        if delivery.id == delivery_id:
            _log.info("delivery_queued", delivery_id=delivery_id, kind=order.kind, number=delivery.to_hint)
        return delivery

    async def get(self, delivery_id: str) -> Delivery:
        """The delivery as recorded."""
        found = await self._store.find(DeliveryId(delivery_id)) if is_delivery_id(delivery_id) else None
        if found is None:
            raise ServiceError(ErrorCode.NOT_FOUND, "There is no such delivery.")
        return found

    async def can_send_sms(self) -> bool:
        return await self._provider_is_there()

    async def is_sms_degraded(self) -> bool:
        """Whether text messages are tried, but of late have mostly not gone out."""
        return await self._health.is_degraded()

    def state_now(self, delivery: Delivery) -> State:
        """What to say of a delivery: one that waits past its end has expired, also where nobody has marked it yet."""
        if delivery.state is State.QUEUED and delivery.not_after <= self._clock.now():
            return State.EXPIRED
        return delivery.state

    def detail_now(self, delivery: Delivery) -> str:
        state = self.state_now(delivery)
        return notice_texts.detail(state) if delivery.is_notice else texts.detail(state, delivery.reason)

    async def _call_back_replaced(self, order: Order, now: datetime) -> None:
        """First of all, because those are dead whether or not this one is taken."""
        if not order.replaces:
            return
        for ended in await self._store.call_back(order.user_id, order.replaces, now):
            CHANGES.labels(ended.state, ended.reason or "").inc()
            _log.info("delivery_called_back", delivery_id=ended.id, kind=ended.kind, number=ended.to_hint)

    async def _earlier(self, order: Order) -> Delivery | None:
        return (await self._store.find_by_keys([order.request_key])).get(order.request_key)


def _raise(refusal: ServiceError) -> NoReturn:
    raise refusal


def _what_is_wrong(order: Order) -> str | None:
    if not 0 < len(order.request_key) <= _LONGEST_KEY:
        return "request_key must be given"
    if not _CODE.fullmatch(order.code):
        return "code must be six digits"
    if not order.clinic_id or not order.user_id:
        return "clinic_id and user_id must be given"
    if len(order.replaces) > _MOST_REPLACED or order.request_key in order.replaces:
        return "replaces must name a few earlier codes"
    if not sms.is_textable(order.to):
        return "Text messages cannot be sent to this number."
    if needs_countries(order.kind) and not order.terms.countries:
        return "countries must be given"
    return None
