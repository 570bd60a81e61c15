"""Tries a waiting delivery again at once, at an operator's word, and refuses everything else: what may have been sent
is never sent again (R20), and what has ended has nothing left to send, because number and content are gone."""

from services.common.clock import Clock
from services.common.errors import ErrorCode, ServiceError
from services.common.logs import get_logger
from services.notifier.model import LEAST_LIFE, DeliveryId, State, is_delivery_id
from services.notifier.operator_store import OperatorStore, ShownDelivery

_INSTEAD_OF_A_CODE = "The person can ask for a new code in the window where the code is entered."
_INSTEAD_OF_A_NOTICE = "The person finds the notice in the app, under My info."

_log = get_logger(__name__)


class Hastening:
    def __init__(self, store: OperatorStore, clock: Clock) -> None:
        self._store = store
        self._clock = clock

    async def resend(self, delivery_id: str) -> ShownDelivery:
        """The delivery, which is due now. Raises with what to do instead."""
        found = await self._store.find(DeliveryId(delivery_id)) if is_delivery_id(delivery_id) else None
        if found is None:
            raise ServiceError(ErrorCode.NOT_FOUND, "There is no such delivery.")
        now = self._clock.now()
        refusal = self._refusal(found)
        if refusal is None and not await self._store.hasten(found, now, now + LEAST_LIFE):
            # It moved between the two looks; or something is told of it that a waiting one cannot have.
            found = await self._store.find(found.id) or found
            refusal = self._refusal(found) or "It has just been tried again. Look at it once more: deliveries ID."
        if refusal is not None:
            raise ServiceError(ErrorCode.CONFLICT, refusal)
        _log.info("delivery_hastened", delivery_id=found.id, attempt=found.attempt)
        return found

    def _refusal(self, delivery: ShownDelivery) -> str | None:
        now = self._clock.now()
        instead = _INSTEAD_OF_A_NOTICE if delivery.is_notice else _INSTEAD_OF_A_CODE
        match delivery.state:
            case State.SENDING:
                return "It is being sent at this moment. Within a minute it is known whether it was."
            case State.SENT | State.DELIVERED:
                return f"The provider has it: a second one could reach the person. {instead}"
            case State.UNKNOWN:
                return f"It may have been sent, and nobody can tell: it is never sent again. {instead}"
            case State.FAILED:
                why = f" ({delivery.reason})" if delivery.reason else ""
                return f"It was refused{why}, and its number and content are gone. Look at the number; then: {instead}"
            case State.EXPIRED if delivery.reason == "replaced":
                return f"A newer code has replaced it, and its number and content are gone. {instead}"
            case State.EXPIRED:
                return f"It was too late to be sent, and its number and content are gone. {instead}"
        if delivery.provider_sid is not None:
            return f"The provider has named it, so it may have been sent. {instead}"
        if delivery.not_after <= now + LEAST_LIFE:
            return f"Too little of its life is left to send it. {instead}"
        if delivery.next_at <= now:
            return (
                "It is due already; nothing holds it back but the queue. Look whether relay, worker and broker run "
                "(notifier_heartbeat_age_seconds)."
            )
        return None
