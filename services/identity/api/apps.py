"""For apps alone: what stands behind a session's token."""

from typing import Annotated, Any

from fastapi import APIRouter, Depends
from pydantic import BaseModel, Field
from starlette.responses import JSONResponse

from services.identity.api.fields import Body
from services.identity.api.session_view import SessionAnswer, session_as_json
from services.identity.app_guards import AdmitsApps, AppAccess
from services.identity.apps import is_active
from services.identity.guards import GatewayDep
from services.identity.model import Scope
from services.identity.particulars import ANY

router = APIRouter(tags=["machines"])

_Reader = Annotated[AppAccess, Depends(AdmitsApps(Scope.SESSIONS_READ))]


class IntrospectRequest(Body):
    token: Annotated[str, Field(min_length=1, max_length=200, pattern=ANY)]


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
