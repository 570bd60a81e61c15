"""The end of a set-up: its first code, and once the factor is in force, on under the session's new token, past the
backup codes where there are new ones, and back to where its browser came from."""

from collections.abc import Awaitable
from typing import Protocol

from starlette.requests import Request
from starlette.responses import Response

from services.common.errors import ErrorCode, ServiceError
from services.identity.gateway import Gateway
from services.identity.guards import Access
from services.identity.model import Method, SessionState
from services.identity.overviews import Enrolled
from services.identity.pages.form import fields_of
from services.identity.pages.rendering import lead_to
from services.identity.pages.setting_up.backup_codes import AFTER_APP, AFTER_TEXT, codes_page
from services.identity.pages.setting_up.typed_number import forget_number
from services.identity.pages.way_back import lead_on, way_back

TRY_AGAIN = (
    ErrorCode.INVALID_REQUEST,
    ErrorCode.INVALID_CODE,
    ErrorCode.CODE_ALREADY_USED,
    ErrorCode.CODE_EXPIRED,
    ErrorCode.TOO_MANY_ATTEMPTS,
    ErrorCode.UNAVAILABLE,
)
"""Refusals of a first code after which the same set-up goes on."""
_WHY = {Method.TOTP: AFTER_APP, Method.SMS: AFTER_TEXT}
_OVER = (ErrorCode.GONE, ErrorCode.NOT_FOUND)


class DrawnAgain(Protocol):
    """The page that asks for the code, with what was typed and what is wrong with it."""

    def __call__(self, *, typed: str, refusal: ServiceError) -> Awaitable[Response]: ...


async def confirm(
    request: Request, access: Access, gateway: Gateway, method: Method, enrolment_id: str, draw: DrawnAgain
) -> Response:
    """The factor's first code, of a form of the page that `draw` draws."""
    code = (await fields_of(request))("code")
    if not code:  # it is not carried past a fresh code of another factor: it is too old by then
        return lead_to(gateway, f"/set-up/{method.value}/{enrolment_id}?done=stepped-up")
    try:
        enrolled = await gateway.confirming.confirm(
            access.signed_in, access.client, method, enrolment_id, code, access.standing, key=access.key
        )
    except ServiceError as error:
        if error.code not in TRY_AGAIN or access.state is SessionState.SECOND_FACTOR_REQUIRED:
            return begin_again(access, gateway, error)
        return await draw(typed=code, refusal=error)
    return _lead_on(request, access, gateway, enrolled, method)


def _lead_on(request: Request, access: Access, gateway: Gateway, enrolled: Enrolled, method: Method) -> Response:
    response: Response
    if enrolled.backup_codes is not None:
        response = codes_page(request, access, enrolled.backup_codes.codes, _WHY[method])
    elif way_back(request, gateway) is not None:
        response = lead_on(request, gateway, SessionState.ACTIVE)
    else:
        response = lead_to(gateway, "/me?done=set-up")
    response.set_cookie(**gateway.cookies.session(enrolled.view.token or ""))
    forget_number(response, gateway)
    return response


def begin_again(access: Access, gateway: Gateway, error: ServiceError) -> Response:
    """Where a set-up is over, or another's: to the page that says how things stand. Raises every other refusal."""
    if error.code not in _OVER:
        raise error
    if access.state is SessionState.ACTIVE:
        return lead_to(gateway, "/me?done=set-up-over")
    return lead_to(gateway, "/set-up?done=set-up-again")
