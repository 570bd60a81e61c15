"""The notifier's parts in one process, with one clock that stands still: real rows, a real provider, no waiting."""

import dataclasses
import secrets
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

from services.common.clock import FixedClock
from services.common.postgres import Database
from services.common.sealing import Keyring
from services.notifier.delivery import Deliveries
from services.notifier.dispatch import Dispatch
from services.notifier.model import Delivery, DeliveryId, Happening, Kind, Notice, NoticeKind, Order, Provider, State
from services.notifier.notices import Notices
from services.notifier.provider_health import ProviderHealth
from services.notifier.relay import Relay
from services.notifier.relay_store import QueuedSignal, RelayStore
from services.notifier.spending import Spending
from services.notifier.store import DeliveryStore

START = datetime(2026, 11, 20, 12, tzinfo=UTC)


class House:
    """The notifier's parts in one process, with one clock."""

    def __init__(self, database: Database, url: tuple[str, str], keyring: Keyring) -> None:
        self.clock = FixedClock(START)
        self.store = DeliveryStore(database)
        self.relay_store = RelayStore(database)
        self.keyring = keyring
        self.signal = QueuedSignal(*url)
        self.provider: Provider | None = None
        self.can_mail = False
        self.daily_cap = 5000
        self.product_name = "Countersign"
        self.published: list[DeliveryId] = []
        self.backlog: int | None = 0
        self.threads = ThreadPoolExecutor(4)

    def dispatch(self, keyring: Keyring | None = None) -> Dispatch:
        return Dispatch(
            self.store, keyring or self.keyring, self._provider, self.threads, self.clock, self.product_name, None
        )

    def relay(self) -> Relay:
        return Relay(self.relay_store, self.signal, self.published.extend, lambda: self.backlog, self.clock)

    def health(self) -> ProviderHealth:
        return ProviderHealth(self.store.texts_since, self.clock)

    async def submit(self, number: str, seconds: float = 300, **changed: Any) -> Delivery:
        spending = Spending(self.daily_cap, self.product_name)
        deliveries = Deliveries(self.store, self.keyring, self._is_there, spending, self.health(), self.clock)
        not_after = self.clock.now() + timedelta(seconds=seconds)
        key = f"chl_{secrets.token_hex(8)}"
        order = Order(key, Kind.SIGN_IN_CODE, number, "246810", not_after, "cli_harbour", "usr_nurse", "en")
        return await deliveries.submit(dataclasses.replace(order, **changed))

    async def notify(self, phone: str, email: str = "", seconds: float = 300, **changed: Any) -> list[Delivery]:
        given = Notice(
            request_key=f"ntc_{secrets.token_hex(8)}",
            kind=NoticeKind.PASSWORD_CHANGED,
            phone=phone,
            email=email,
            happening=Happening(self.clock.now(), "Europe/Berlin"),
            not_after=self.clock.now() + timedelta(seconds=seconds),
            clinic_id="cli_harbour",
            user_id="usr_nurse",
            locale="en",
        )
        spending = Spending(self.daily_cap, self.product_name)
        notices = Notices(self.store, self.keyring, self._is_there, spending, can_mail=self.can_mail, clock=self.clock)
        return await notices.notify(dataclasses.replace(given, **changed))

    async def state(self, delivery: Delivery) -> State:
        found = await self.store.find(delivery.id)
        assert found
        return found.state

    async def _provider(self) -> Provider | None:
        return self.provider

    async def _is_there(self) -> bool:
        return self.provider is not None
