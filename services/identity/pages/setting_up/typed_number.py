"""The number that a code was sent to, kept by the browser while the code is waited for: another code can be asked for
without typing it again. Sealed for its owner: nobody reads it in the browser, and nobody else's is taken from there."""

import base64
import binascii
from collections.abc import Awaitable, Callable
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from services.common.errors import ErrorCode, ServiceError
from services.common.logs import mask_phone
from services.identity.gateway import Gateway
from services.identity.guards import Access
from services.identity.model import UserId
from services.identity.otp_words import SmsEnrolment
from services.identity.pages.rendering import lead_to

_SECONDS = 600  # a set-up is over after ten minutes
_LONGEST = 1000


async def text_again(
    request: Request,
    access: Access,
    gateway: Gateway,
    enrolment_id: str,
    start: Callable[[str], Awaitable[SmsEnrolment]],
    asking: str,
    waiting: str,
) -> Response:
    """`start`s anew with the number of this enrolment, and leads to where its code is waited for; without the browser's
    help to where the number is asked for. Raises `too-many-attempts` where no second text was sent: who asks for one
    is told how long to wait."""
    sent = await gateway.two_factor.sms_enrolment(access.signed_in, enrolment_id)
    number = kept_number(request, gateway, access.user.id, sent.phone_hint)
    if number is None:
        return lead_to(gateway, asking)
    found = await start(number)
    if found.id == enrolment_id:
        raise _too_soon(found, gateway)
    response = lead_to(gateway, f"{waiting}/{found.id}")
    keep_number(response, gateway, access.user.id, number)
    return response


def keep_number(response: Response, gateway: Gateway, user_id: UserId, number: str) -> None:
    sealed = gateway.phone_numbers.seal(user_id, number) or b""
    value = base64.urlsafe_b64encode(sealed).decode()
    response.set_cookie(**_attributes(gateway), value=value, max_age=_SECONDS)


def kept_number(request: Request, gateway: Gateway, user_id: UserId, phone_hint: str) -> str | None:
    """The number, where it is this user's and the one that is shown to them; another tab may have kept another."""
    kept = request.cookies.get(_name(gateway), "")
    if not 0 < len(kept) <= _LONGEST:
        return None
    try:
        number = gateway.phone_numbers.open(user_id, base64.b64decode(kept.encode(), b"-_", validate=True))
    except (ServiceError, binascii.Error, ValueError):
        return None
    return number if number and mask_phone(number) == phone_hint else None


def forget_number(response: Response, gateway: Gateway) -> None:
    response.set_cookie(**_attributes(gateway), value="", max_age=0)


def _too_soon(found: SmsEnrolment, gateway: Gateway) -> ServiceError:
    seconds = max(1, -int((gateway.clock.now() - found.resend_after).total_seconds() // 1))
    how_long = "1 second" if seconds == 1 else f"{seconds} seconds"
    sentence = f"Please wait {how_long} before you ask for another code."
    return ServiceError(ErrorCode.TOO_MANY_ATTEMPTS, sentence, retry_after=seconds, locked=False)


def _name(gateway: Gateway) -> str:
    return "__Host-countersign-number" if gateway.settings.is_https else "countersign-number"


def _attributes(gateway: Gateway) -> dict[str, Any]:
    secure = gateway.settings.is_https
    return {"key": _name(gateway), "path": "/", "httponly": True, "secure": secure, "samesite": "lax"}
