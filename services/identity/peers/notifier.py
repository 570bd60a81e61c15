"""Calls to the notifier: what this deployment can send, notices, and Twilio's callbacks handed on."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from countersign.notifier.v1 import notifier_pb2
from countersign.notifier.v1.notifier_pb2_grpc import NotifierStub

from services.common.clock import Clock
from services.common.errors import ServiceError
from services.common.rpc_client import Peer
from services.identity.model import Method
from services.identity.notice_words import TOLD_WITHIN, DueNotice
from services.identity.policy_words import SmsTerms

if TYPE_CHECKING:
    from countersign.notifier.v1.notifier_pb2_grpc import NotifierAsyncStub

_SECONDS = 1.5
_CLOCKS_DIFFER = timedelta(minutes=10)  # the notifier takes nothing for longer than a day from its own now
# As long as the notifier believes itself how deliveries fare: whoever waits for a text hears of it within ten seconds.
_CAPABILITIES_HOLD = timedelta(seconds=5)
_AWAY_HOLD = timedelta(seconds=2)


class NotifierPeer:
    def __init__(self, target: str, tls_dir: Path, clock: Clock) -> None:
        self._peer: Peer[NotifierAsyncStub] = Peer(lambda channel: NotifierStub(channel), target, "notifier", tls_dir)
        self._clock = clock
        self._can_send_sms: bool | None = None
        self._is_sms_degraded = False
        self._asked_at: datetime | None = None

    async def close(self) -> None:
        await self._peer.close()

    async def methods_available(self) -> tuple[Method, ...]:
        """The methods that this deployment can do.

        While the notifier is away the last answer counts, and before the first one text messages are taken to work:
        an outage must not make a factor look as if it were not there.
        """
        now = self._clock.now()
        if self._asked_at is None or not timedelta(0) <= now - self._asked_at < _CAPABILITIES_HOLD:
            self._asked_at = now
            try:
                request = notifier_pb2.GetCapabilitiesRequest()
                response = await self._peer.call(self._peer.stub.GetCapabilities, request, 0.5)
                self._can_send_sms, self._is_sms_degraded = response.sms, response.sms_degraded
            except ServiceError:
                self._asked_at = now - _CAPABILITIES_HOLD + _AWAY_HOLD
        if self._can_send_sms is False:
            return (Method.TOTP,)
        return (Method.TOTP, Method.SMS)

    async def degraded(self) -> frozenset[Method]:
        """Methods that are there but have not worked of late, as of the last answer: texts that do not go out."""
        is_there = Method.SMS in await self.methods_available()
        return frozenset({Method.SMS}) if is_there and self._is_sms_degraded else frozenset()

    async def notify(self, notice: DueNotice, phone: str | None, email: str | None, terms: SmsTerms | None) -> None:
        """Hands a notice over, to be sent there; the same one again changes nothing. Raises `invalid-request` where it
        is to go to no number or address that can be reached."""
        detail = notice.detail
        request = notifier_pb2.NotifyRequest(
            request_key=notice.id,
            kind=notifier_pb2.NoticeKind.Value(f"NOTICE_KIND_{notice.kind.name}"),
            phone=phone or "",
            email=email or "",
            clinic_id=notice.clinic_id,
            user_id=notice.user_id,
            locale=notice.locale,
            timezone=notice.timezone,
            address=detail.get("address", ""),
            browser=detail.get("browser", ""),
            method=detail.get("method", ""),
            backup_codes_left=detail.get("codes_left", 0),
        )
        if terms is not None:
            request.clinic_daily_cap = terms.daily_cap
            request.countries.extend(terms.countries)
        request.happened_at.FromDatetime(notice.at)
        request.not_after.FromDatetime(notice.at + TOLD_WITHIN - _CLOCKS_DIFFER)
        await self._peer.call(self._peer.stub.Notify, request, _SECONDS, repeatable=True)

    async def receive_twilio_status(self, form: Mapping[str, str], signature: str, query: str) -> None:
        """Raises `forbidden` where the signature does not fit."""
        request = notifier_pb2.ReceiveTwilioStatusRequest(form=form, signature=signature, query=query)
        await self._peer.call(self._peer.stub.ReceiveTwilioStatus, request, _SECONDS, repeatable=True)

    async def ping(self) -> None:
        """Raises `unavailable` unless notifier says that it serves."""
        await self._peer.ping()
