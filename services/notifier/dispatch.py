"""Sends a delivery, at most once. It is claimed, and the claim committed, before the provider hears of it; from then on
it goes back to the queue only where it is certain that nothing was sent. Whatever is not certain is `unknown`, and
nobody sends it again by itself."""

import asyncio
import random
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import Executor
from datetime import timedelta
from typing import cast

from services.common.clock import Clock
from services.common.errors import ErrorCode, ServiceError
from services.common.keyring_in_use import Sealing
from services.common.logs import get_logger, request_id_var
from services.common.sealing import SealingError
from services.notifier import envelope, notice_texts, texts
from services.notifier.measures import CHANGES, LOCKED_OUT, PROVIDER_SECONDS
from services.notifier.model import (
    LEAST_LIFE,
    LONGEST_START,
    Channel,
    Claim,
    Delivery,
    DeliveryId,
    Happening,
    Kind,
    Mail,
    Mailer,
    NoticeKind,
    Outcome,
    Provider,
    State,
    Text,
    Verdict,
)
from services.notifier.store import DeliveryStore

_FIRST_WAIT_SECONDS = 1.0
_LONGEST_WAIT_SECONDS = 30.0
_LONGEST_WAIT_OF_A_NOTICE_SECONDS = 900.0  # it may wait for a day, and nobody sits and waits for it
_LOCKED_OUT_WAIT_SECONDS = 30.0
_LONGEST_VALIDITY_SECONDS = 36_000
_RECORDING_WAITS_SECONDS = (0.1, 0.3, 1, 2, 4, 8, 8, 8, 8)  # together within LONGEST_SENDING

FindProvider = Callable[[], Awaitable[Provider | None]]

_log = get_logger(__name__)


class Dispatch:
    """The worker's one operation, `send`. The provider's call blocks, so it runs in `threads`."""

    def __init__(
        self,
        store: DeliveryStore,
        keyring: Sealing,
        find_provider: FindProvider,
        threads: Executor,
        clock: Clock,
        product_name: str,
        status_callback: str | None,
        mailer: Mailer | None = None,
    ) -> None:
        self._store = store
        self._keyring = keyring
        self._find_provider = find_provider
        self._threads = threads
        self._clock = clock
        self._product_name = product_name
        self._status_callback = status_callback
        self._mailer = mailer

    async def send(self, delivery_id: DeliveryId) -> None:
        """Sends the delivery if it is due and nobody else has it; else does nothing."""
        now = self._clock.now()
        claim = await self._store.claim(delivery_id, now, now + LEAST_LIFE)
        if claim is None:
            _log.info("delivery_not_claimed", delivery_id=delivery_id)
            return
        request_id_var.set(claim.delivery.request_id)
        CHANGES.labels(State.SENDING, "").inc()
        _log.info("delivery_claimed", delivery_id=delivery_id, attempt=claim.delivery.attempt)
        by_mail = claim.delivery.channel is Channel.EMAIL
        provider = self._mailer if by_mail else await self._find_provider()
        outcome = await self._call(provider, claim) if provider else Outcome(Verdict.NOT_SENT, "no_provider")
        name = provider.name if provider else ""
        await self._keep_trying(lambda: self._record(claim.delivery, outcome, name))

    async def _call(self, provider: Provider | Mailer, claim: Claim) -> Outcome:
        delivery = claim.delivery
        try:
            content = envelope.unseal(self._keyring, delivery.id, claim.sealed)
        except SealingError as error:
            _log.error("delivery_not_opened", delivery_id=delivery.id, error=str(error))
            return Outcome(Verdict.NOT_SENT, "not_opened")
        seconds_left = int((delivery.not_after - self._clock.now()).total_seconds())
        if seconds_left < LEAST_LIFE.total_seconds():  # the process stood still since the claim
            return Outcome(Verdict.NOT_SENT, "too_late")
        call = self._prepared(provider, delivery, content, seconds_left)
        started = time.perf_counter()
        outcome = await asyncio.get_running_loop().run_in_executor(self._threads, call)
        PROVIDER_SECONDS.labels(delivery.channel, outcome.verdict).observe(time.perf_counter() - started)
        return outcome

    def _prepared(
        self, provider: Provider | Mailer, delivery: Delivery, content: envelope.Content, seconds_left: int
    ) -> Callable[[], Outcome]:
        """The call that remains to be made. A code is only ever put in a text message."""
        locale, product = delivery.locale, self._product_name
        match delivery.channel, delivery.kind, content.says:
            case Channel.EMAIL, NoticeKind() as kind, Happening() as happening:
                subject, body = notice_texts.mail(kind, locale, happening, product)
                mail = Mail(delivery.id, content.to, subject, body, self._clock.now())
                return lambda: cast(Mailer, provider).send(mail)
            case Channel.SMS, NoticeKind() as kind, Happening() as happening:
                body = notice_texts.text_message(kind, locale, happening, product)
            case Channel.SMS, Kind() as kind, str(code):
                body = texts.render(kind, locale, code, product)
            case _:
                raise AssertionError("a row's kind and channel and what is sealed in it were written together")
        text = Text(
            to=content.to,
            body=body,
            not_after=delivery.not_after,
            valid_seconds=min(seconds_left - int(LONGEST_START.total_seconds()), _LONGEST_VALIDITY_SECONDS),
            status_callback=f"{self._status_callback}?delivery={delivery.id}" if self._status_callback else None,
        )
        return lambda: cast(Provider, provider).send(text)

    async def _record(self, claimed: Delivery, outcome: Outcome, name: str) -> None:
        now = self._clock.now()
        match outcome.verdict:
            case Verdict.ACCEPTED:
                state, reason = State.SENT, None
            case Verdict.REFUSED:
                state, reason = State.FAILED, outcome.reason or texts.reason_for(outcome.code)
            case Verdict.UNKNOWN:
                state, reason = State.UNKNOWN, outcome.reason
            case Verdict.NOT_SENT | Verdict.BUSY | Verdict.LOCKED_OUT:
                state, reason = State.QUEUED, outcome.reason or str(outcome.verdict)
        if state is State.QUEUED:
            next_at = now + timedelta(seconds=_wait_seconds(outcome, claimed))
            put_back = await self._store.put_back(claimed, reason or "", next_at, now)
            moved = put_back is not None
            if put_back:
                state, reason = put_back.state, put_back.reason
        else:
            moved = await self._store.end_attempt(claimed, state, outcome, name, reason, now)
        if outcome.verdict is Verdict.LOCKED_OUT:
            LOCKED_OUT.inc()
            _log.error("provider_locked_us_out", provider=name, delivery_id=claimed.id)
        if moved:
            CHANGES.labels(state, reason or "").inc()
        _log.info(
            "delivery_attempted",
            delivery_id=claimed.id,
            attempt=claimed.attempt,
            verdict=outcome.verdict,
            reason=reason,
            provider=name,
            provider_sid=outcome.sid,
            error_code=outcome.code,
            state=state if moved else None,
        )

    @staticmethod
    async def _keep_trying(record: Callable[[], Awaitable[None]]) -> None:
        """What the provider has answered must not be lost to a database that is away for a moment. If it stays away,
        the delivery counts as lost in sending, which is `unknown`: never sent again."""
        for seconds in _RECORDING_WAITS_SECONDS:
            try:
                return await record()
            except ServiceError as error:
                if error.code is not ErrorCode.UNAVAILABLE:
                    raise
                await asyncio.sleep(seconds)
        return await record()


def _wait_seconds(outcome: Outcome, claimed: Delivery) -> float:
    """Doubling from a second, never less than the provider asks for, and spread, so that not all come at once."""
    longest = _LONGEST_WAIT_OF_A_NOTICE_SECONDS if claimed.is_notice else _LONGEST_WAIT_SECONDS
    seconds = min(_FIRST_WAIT_SECONDS * float(2 ** min(claimed.attempt - 1, 10)), longest)
    if outcome.verdict is Verdict.LOCKED_OUT:
        seconds = max(seconds, _LOCKED_OUT_WAIT_SECONDS)
    return max(seconds, outcome.retry_after or 0) + random.uniform(0, seconds / 4)  # noqa: S311
