"""Takes the provider's status callbacks. One counts only if the provider has signed it for the very address that it was
asked to call; each status counts once; and a delivery only ever moves forward (A52)."""

from collections.abc import Mapping
from urllib.parse import parse_qs

from services.common.clock import Clock
from services.common.errors import ErrorCode, ServiceError
from services.common.logs import get_logger
from services.notifier import texts
from services.notifier.measures import CALLBACKS_REFUSED, CHANGES
from services.notifier.model import DeliveryId, Provider, State, is_delivery_id
from services.notifier.store import DeliveryStore

# Twilio's MessageStatus → ours. `accepted` to `sent` all mean that Twilio has it.
_STATES = {
    "accepted": State.SENT,
    "scheduled": State.SENT,
    "queued": State.SENT,
    "sending": State.SENT,
    "sent": State.SENT,
    "delivered": State.DELIVERED,
    "read": State.DELIVERED,
    "undelivered": State.FAILED,
    "failed": State.FAILED,
    "canceled": State.FAILED,
}

_log = get_logger(__name__)


class Callbacks:
    """Verifies and applies callbacks. `address` is the configured one, never what a request says of itself."""

    def __init__(
        self,
        store: DeliveryStore,
        provider: Provider | None,
        address: str | None,
        clock: Clock,
    ) -> None:
        self._store = store
        self._provider = provider
        self._address = address
        self._clock = clock

    async def receive(self, form: Mapping[str, str], signature: str, query: str) -> None:
        """Applies a callback; FORBIDDEN where it is not the provider's, not ours, or was taken before."""
        if self._provider is None or self._address is None:
            raise _forbidden("no_provider")
        address = f"{self._address}?{query}" if query else self._address
        if not self._provider.signed(address, dict(form), signature):
            raise _forbidden("signature")
        named = parse_qs(query).get("delivery", [""])[0]
        sid, status = form.get("MessageSid", ""), form.get("MessageStatus", "")
        if not is_delivery_id(named) or not sid or not status:
            raise _forbidden("incomplete")
        state = _STATES.get(status)
        if state is None:
            _log.warning("callback_status_not_known", delivery_id=named, status=status[:30])
            return
        code = int(form["ErrorCode"]) if form.get("ErrorCode", "").isdecimal() else None
        reason = texts.reason_for(code) if state is State.FAILED else None
        moved = await self._store.apply_callback(DeliveryId(named), sid, status, state, reason, code, self._clock.now())
        if moved is None:
            raise _forbidden("repeated_or_foreign")
        if moved:
            CHANGES.labels(state, reason or "").inc()
        _log.info("callback_taken", delivery_id=named, status=status, error_code=code, moved=moved)


def _forbidden(why: str) -> ServiceError:
    CALLBACKS_REFUSED.labels(why).inc()
    _log.warning("callback_refused", why=why)
    return ServiceError(ErrorCode.FORBIDDEN, "This callback is not accepted.")
