"""The notifier's gRPC edge: contract in, operation, contract out."""

from datetime import UTC
from typing import Any

from countersign.notifier.v1 import notifier_pb2 as pb
from countersign.notifier.v1.notifier_pb2_grpc import NotifierServicer as GeneratedServicer

from services.common.errors import ErrorCode, ServiceError
from services.common.rpc_server import Allowed
from services.notifier.callbacks import Callbacks
from services.notifier.delivery import Deliveries
from services.notifier.model import Delivery, Happening, Kind, Notice, NoticeKind, Order, Terms
from services.notifier.notices import Notices

_SERVICE = "/countersign.notifier.v1.Notifier"
ALLOWED: Allowed = {
    f"{_SERVICE}/Submit": frozenset({"otp"}),
    f"{_SERVICE}/GetDelivery": frozenset({"otp"}),
    f"{_SERVICE}/GetCapabilities": frozenset({"identity", "otp"}),
    f"{_SERVICE}/Notify": frozenset({"identity"}),
    f"{_SERVICE}/ReceiveTwilioStatus": frozenset({"identity"}),
}

_KINDS = {
    pb.MESSAGE_KIND_SIGN_IN_CODE: Kind.SIGN_IN_CODE,
    pb.MESSAGE_KIND_ENROLMENT_CODE: Kind.ENROLMENT_CODE,
    pb.MESSAGE_KIND_PHONE_PROOF_CODE: Kind.PHONE_PROOF_CODE,
}
_NOTICE_KINDS = {pb.NoticeKind.Value(f"NOTICE_KIND_{kind.name}"): kind for kind in NoticeKind}


class NotifierServicer(GeneratedServicer):
    def __init__(self, deliveries: Deliveries, notices: Notices, callbacks: Callbacks) -> None:
        self._deliveries = deliveries
        self._notices = notices
        self._callbacks = callbacks

    async def Submit(self, request: pb.SubmitRequest, context: Any) -> pb.Delivery:  # noqa: N802
        kind = _KINDS.get(request.kind)
        if kind is None or not request.HasField("not_after"):
            raise ServiceError(ErrorCode.INVALID_REQUEST, "kind and not_after must be given")
        order = Order(
            request_key=request.request_key,
            kind=kind,
            to=request.to,
            code=request.code,
            not_after=request.not_after.ToDatetime(UTC),
            clinic_id=request.clinic_id,
            user_id=request.user_id,
            locale=request.locale,
            terms=_terms(request),
            replaces=tuple(request.replaces),
        )
        return self._answer(await self._deliveries.submit(order))

    async def GetDelivery(self, request: pb.GetDeliveryRequest, context: Any) -> pb.Delivery:  # noqa: N802
        return self._answer(await self._deliveries.get(request.delivery_id))

    async def GetCapabilities(self, request: pb.GetCapabilitiesRequest, context: Any) -> pb.Capabilities:  # noqa: N802
        sms = await self._deliveries.can_send_sms()
        degraded = sms and await self._deliveries.is_sms_degraded()
        return pb.Capabilities(sms=sms, email=self._notices.can_send_email(), sms_degraded=degraded)

    async def Notify(self, request: pb.NotifyRequest, context: Any) -> pb.NotifyResponse:  # noqa: N802
        kind = _NOTICE_KINDS.get(request.kind)
        if kind is None or not request.HasField("happened_at") or not request.HasField("not_after"):
            raise ServiceError(ErrorCode.INVALID_REQUEST, "kind, happened_at and not_after must be given")
        happening = Happening(
            at=request.happened_at.ToDatetime(UTC),
            timezone=request.timezone,
            address=request.address,
            browser=request.browser,
            method=request.method,
            backup_codes_left=request.backup_codes_left,
        )
        notice = Notice(
            request_key=request.request_key,
            kind=kind,
            phone=request.phone,
            email=request.email,
            happening=happening,
            not_after=request.not_after.ToDatetime(UTC),
            clinic_id=request.clinic_id,
            user_id=request.user_id,
            locale=request.locale,
            terms=_terms(request),
        )
        deliveries = await self._notices.notify(notice)
        return pb.NotifyResponse(deliveries=[self._answer(delivery) for delivery in deliveries])

    async def ReceiveTwilioStatus(  # noqa: N802
        self, request: pb.ReceiveTwilioStatusRequest, context: Any
    ) -> pb.ReceiveTwilioStatusResponse:
        await self._callbacks.receive(request.form, request.signature, request.query)
        return pb.ReceiveTwilioStatusResponse()

    def _answer(self, delivery: Delivery) -> pb.Delivery:
        return pb.Delivery(
            delivery_id=delivery.id,
            status=self._deliveries.state_now(delivery),
            detail=self._deliveries.detail_now(delivery),
        )


def _terms(request: pb.SubmitRequest | pb.NotifyRequest) -> Terms:
    cap = request.clinic_daily_cap if request.HasField("clinic_daily_cap") else None
    return Terms(cap, tuple(request.countries))
