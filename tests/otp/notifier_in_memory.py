"""A stand-in for the notifier, in memory: it keeps the contract of `countersign.notifier.v1` that otp relies on (a
request key is one delivery), sends nothing, and can be told to fail. It is a test's tool and no part of the product."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from countersign.notifier.v1 import notifier_pb2, notifier_pb2_grpc

from services.common.errors import ErrorCode, ServiceError, unavailable


class NotifierInMemory(notifier_pb2_grpc.NotifierServicer):
    """`taken` holds every message on record, in order."""

    def __init__(self) -> None:
        self.taken: list[notifier_pb2.SubmitRequest] = []
        self.statuses: dict[str, str] = {}
        self.is_away = False
        self.refuses: ServiceError | None = None
        self.delay_seconds = 0.0
        self.counts: Callable[[notifier_pb2.SubmitRequest], Awaitable[object]] | None = None
        """Asked first; what it raises is the answer."""

    def code_to(self, number: str) -> str:
        """The newest code that went to the number."""
        return next(message.code for message in reversed(self.taken) if message.to == number)

    async def Submit(self, request: notifier_pb2.SubmitRequest, context: Any) -> notifier_pb2.Delivery:  # noqa: N802
        if self.counts is not None:
            await self.counts(request)
        if self.is_away:
            raise unavailable("twilio")
        if self.refuses is not None:
            raise self.refuses
        if all(message.request_key != request.request_key for message in self.taken):
            self.taken.append(request)
            self.statuses[f"dlv_{request.request_key}"] = "queued"
        await asyncio.sleep(self.delay_seconds)
        return self._delivery(f"dlv_{request.request_key}")

    async def GetDelivery(  # noqa: N802
        self, request: notifier_pb2.GetDeliveryRequest, context: Any
    ) -> notifier_pb2.Delivery:
        if self.is_away:
            raise unavailable("database")
        if request.delivery_id not in self.statuses:
            raise ServiceError(ErrorCode.NOT_FOUND, "no such delivery")
        return self._delivery(request.delivery_id)

    def _delivery(self, delivery_id: str) -> notifier_pb2.Delivery:
        return notifier_pb2.Delivery(delivery_id=delivery_id, status=self.statuses[delivery_id])
