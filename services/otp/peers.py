"""The notifier, as the otp service needs it: takes codes to send, and says how a delivery fares."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import TYPE_CHECKING

from countersign.notifier.v1 import notifier_pb2
from google.protobuf.timestamp_pb2 import Timestamp

from services.common.rpc_client import Peer

if TYPE_CHECKING:
    from countersign.notifier.v1.notifier_pb2_grpc import NotifierAsyncStub

_DEADLINE_SECONDS = 1.5


class MessageKind(StrEnum):
    SIGN_IN_CODE = "sign_in_code"
    ENROLMENT_CODE = "enrolment_code"
    PHONE_PROOF_CODE = "phone_proof_code"


_KINDS = {
    MessageKind.SIGN_IN_CODE: notifier_pb2.MESSAGE_KIND_SIGN_IN_CODE,
    MessageKind.ENROLMENT_CODE: notifier_pb2.MESSAGE_KIND_ENROLMENT_CODE,
    MessageKind.PHONE_PROOF_CODE: notifier_pb2.MESSAGE_KIND_PHONE_PROOF_CODE,
}


@dataclass(frozen=True, slots=True)
class SmsTerms:
    """What the clinic spends on text messages. The notifier holds it to that; here it is only passed on."""

    daily_cap: int
    countries: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Message:
    """A code to send. `key` makes a repeated submission the same one."""

    key: str
    kind: MessageKind
    to: str
    code: str
    not_after: datetime
    clinic_id: str
    user_id: str
    locale: str
    terms: SmsTerms | None
    replaces: tuple[str, ...] = ()
    """Keys of the user's earlier codes that can no longer be right, and need not be sent."""


@dataclass(frozen=True, slots=True)
class Delivery:
    id: str
    status: str
    detail: str


class NotifierPeer:
    def __init__(self, peer: "Peer[NotifierAsyncStub]") -> None:
        self._peer = peer

    async def submit(self, message: Message) -> Delivery:
        """On record with the notifier, or a ServiceError."""
        not_after = Timestamp()
        not_after.FromDatetime(message.not_after)
        request = notifier_pb2.SubmitRequest(
            request_key=message.key,
            kind=_KINDS[message.kind],
            to=message.to,
            code=message.code,
            not_after=not_after,
            clinic_id=message.clinic_id,
            user_id=message.user_id,
            locale=message.locale,
            replaces=message.replaces,
        )
        if message.terms is not None:
            request.clinic_daily_cap = message.terms.daily_cap
            request.countries.extend(message.terms.countries)
        return _delivery(
            await self._peer.call(self._peer.stub.Submit, request, seconds=_DEADLINE_SECONDS, repeatable=True)
        )

    async def delivery(self, delivery_id: str) -> Delivery:
        request = notifier_pb2.GetDeliveryRequest(delivery_id=delivery_id)
        return _delivery(
            await self._peer.call(self._peer.stub.GetDelivery, request, seconds=_DEADLINE_SECONDS, repeatable=True)
        )


def _delivery(answer: notifier_pb2.Delivery) -> Delivery:
    return Delivery(answer.delivery_id, answer.status, answer.detail)
