"""How a code fares that was sent by text message, in words, and when another may be asked for."""

from typing import Any

from starlette.requests import Request

from services.identity.gateway import Gateway
from services.identity.otp_words import SmsChallenge
from services.identity.pages.rendering import speech_of
from services.identity.pages.speech.words import delivery_in_words

_OVER = frozenset({"delivered", "failed", "expired"})
_LONG_SECONDS = 15 * 60


def sent_in_words(request: Request, gateway: Gateway, sent: SmsChallenge) -> dict[str, Any]:
    """`is_over`: nothing of it changes any more. `wait`: seconds until another may be asked for. `is_last`: so long
    that nobody waits for it here."""
    now = gateway.clock.now()
    status, detail = ("expired", "") if sent.expires_at <= now else (sent.delivery_status, sent.delivery_detail)
    wait = max(0, -int((now - sent.resend_after).total_seconds() // 1))
    return {
        "phone_hint": sent.phone_hint,
        "words": delivery_in_words(speech_of(request), status, detail),
        "is_over": status in _OVER,
        "has_failed": status in ("failed", "expired"),
        "wait": wait,
        "is_last": wait > _LONG_SECONDS,
    }


def wants_part(request: Request) -> bool:
    """Whether the page's script asks for the part that changes, and not for the page."""
    return request.headers.get("x-part") == "1"
