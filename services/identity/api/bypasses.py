"""Leave to sign in once without a code, for administrators: granted, taken back, undone."""

from typing import Annotated

from fastapi import APIRouter, Depends, Path
from pydantic import Field, StrictBool
from starlette.responses import JSONResponse, Response

from services.identity.api.fields import Body, Sentence
from services.identity.api.requirements import BypassView, bypass_as_json
from services.identity.bypasses import LIFE_MINUTES, Grant
from services.identity.guards import Access, Admits, GatewayDep
from services.identity.model import Role, UserId

router = APIRouter(tags=["users"])

_FreshAdministrator = Annotated[Access, Depends(Admits.active(role=Role.ADMIN, step_up=True))]
_Id = Annotated[UserId, Path(max_length=64, examples=["usr_2f0c9d4e8a7b4c1d9e6f3a2b1c0d9e8f"])]


class PostBypass(Body):
    """`suspend_factors`: for a stolen phone; the old factor, codes, sessions and remembered browsers end at once."""

    reason: Sentence
    expires_in_minutes: Annotated[int, Field(strict=True, ge=1, le=1440)] = LIFE_MINUTES
    suspend_factors: StrictBool = False


@router.post("/v1/users/{user_id}/two-factor/bypass", status_code=201, response_model=BypassView)
async def post_bypass(access: _FreshAdministrator, gateway: GatewayDep, user_id: _Id, body: PostBypass) -> JSONResponse:
    """Let someone sign in once without a code; that sign-in can set up a second factor and do nothing else."""
    grant = Grant(body.reason, body.expires_in_minutes, body.suspend_factors)
    found = await gateway.bypasses.grant(access.signed_in, access.client, user_id, grant)
    return JSONResponse(bypass_as_json(found), status_code=201)


@router.delete("/v1/users/{user_id}/two-factor/bypass", status_code=204, response_class=Response)
async def delete_bypass(access: _FreshAdministrator, gateway: GatewayDep, user_id: _Id) -> Response:
    """Take it back; within 24 hours of its use, undo what was done with it."""
    await gateway.bypasses.revoke(access.signed_in, access.client, user_id)
    return Response(status_code=204)
