"""My password: the current one and a new one, after a fresh code. Every other session of mine ends with the old one."""

from typing import Annotated, Any

from fastapi import APIRouter, Depends
from starlette.requests import Request
from starlette.responses import Response

from services.common.errors import ErrorCode, ServiceError
from services.identity.guards import Access, Admits, GatewayDep
from services.identity.pages.form import fields_of
from services.identity.pages.rendering import lead_to, page, speech_of
from services.identity.pages.route import PageRoute
from services.identity.password_rules import LEAST, MOST

router = APIRouter(route_class=PageRoute, include_in_schema=False)

# Who cannot type a code because somebody guessed too often must still be able to shut them out.
_FreshOrSpent = Annotated[Access, Depends(Admits.active(step_up=True, unless_budget_spent=True))]
_SAID_HERE = (
    ErrorCode.INVALID_REQUEST,
    ErrorCode.INVALID_CREDENTIALS,
    ErrorCode.TOO_MANY_ATTEMPTS,
    ErrorCode.UNAVAILABLE,
)


@router.get("/me/password")
async def get_password(request: Request, access: _FreshOrSpent, done: str = "") -> Response:
    return _password(request, access, done=done)


@router.post("/me/password")
async def post_password(request: Request, access: _FreshOrSpent, gateway: GatewayDep) -> Response:
    fields = await fields_of(request)
    current, new = fields("current_password"), fields("new_password")
    if not current or not new:  # a password is not carried past a fresh code: it is typed again
        return lead_to(gateway, "/me/password?done=stepped-up")
    try:
        view = await gateway.accounts.change_password(access.signed_in, access.client, current, new)
    except ServiceError as error:
        if error.code not in _SAID_HERE:
            raise
        return _password(request, access, refusal=error)
    response = lead_to(gateway, "/me?done=password-changed")
    response.set_cookie(**gateway.cookies.session(view.token or ""))
    return response


def _password(request: Request, access: Access, *, done: str = "", refusal: ServiceError | None = None) -> Response:
    """Nothing of what was typed comes back: passwords do not stand in pages."""
    values: dict[str, Any] = {"email": access.user.email, "min_length": LEAST, "max_length": MOST}
    if refusal is not None and refusal.code is ErrorCode.INVALID_CREDENTIALS:
        errors = {"current_password": speech_of(request).heard(refusal.detail)}
        return page(request, "me_password.html", access=access, refusal=refusal, errors=errors, **values)
    return page(request, "me_password.html", access=access, refusal=refusal, done=done, **values)
