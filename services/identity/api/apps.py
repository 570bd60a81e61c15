"""For apps alone: what stands behind a session's token."""

from typing import Annotated, Any

from fastapi import APIRouter, Depends
from pydantic import BaseModel, BeforeValidator
from starlette.responses import JSONResponse

from services.identity.api.fields import Body
from services.identity.api.session_view import SessionAnswer, session_as_json
from services.identity.app_guards import AdmitsApps, AppAccess
from services.identity.apps import is_active
from services.identity.guards import GatewayDep
from services.identity.model import Scope

router = APIRouter(tags=["machines"])

_Reader = Annotated[AppAccess, Depends(AdmitsApps(Scope.SESSIONS_READ))]


_MOST_TOKEN = 200


def _possible(token: Any) -> Any:
    """A back end passes on what strangers send it: what can be no token is one of nobody."""
    is_odd = isinstance(token, str) and not (token.isascii() and len(token) <= _MOST_TOKEN)
    return "" if is_odd else token


class IntrospectRequest(Body):
    """`token`: whatever the back end was sent; what no session has is answered as not active."""

    token: Annotated[str, BeforeValidator(_possible)]


class DeadSession(BaseModel):
    active: bool


class IntrospectedSession(SessionAnswer):
    """`active` says whether its bearer may be served; a session that waits for a code or for enrolment is shown, and is
    not."""

    active: bool


@router.post("/v1/sessions/introspect", response_model=IntrospectedSession | DeadSession)
async def post_introspect(access: _Reader, gateway: GatewayDep, body: IntrospectRequest) -> JSONResponse:
    """The session behind a token of the app's clinic. Asking renews nothing."""
    view = await gateway.apps.introspect(access.calling, body.token)
    if view is None:
        return JSONResponse({"active": False})
    answer: dict[str, Any] = {**session_as_json(view), "active": is_active(view)}
    return JSONResponse(answer)
