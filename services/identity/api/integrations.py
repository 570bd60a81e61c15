"""What integrations demand of the clinic, for its administrators and for the apps that set it."""

from datetime import datetime
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Path
from pydantic import BaseModel, Field, StrictBool, StrictInt
from starlette.responses import JSONResponse, Response

from services.identity.api.fields import Body, rfc3339
from services.identity.app_guards import AppAccess
from services.identity.guards import Access, Admits, GatewayDep
from services.identity.model import Role, Scope
from services.identity.particulars import INTEGRATION
from services.identity.policy_words import Actor, Hold, HoldTerms

router = APIRouter(tags=["clinic"])

IntegrationName = Annotated[str, Field(max_length=63, pattern=INTEGRATION, examples=["ledger"])]
Hours = Annotated[StrictInt, Field(ge=0, le=2160)]

_Reading = Annotated[Access | AppAccess, Depends(Admits.active(role=Role.ADMIN, app=Scope.INTEGRATIONS_WRITE))]
_Changing = Annotated[
    Access | AppAccess, Depends(Admits.active(role=Role.ADMIN, step_up=True, app=Scope.INTEGRATIONS_WRITE))
]
_Name = Annotated[str, Path(max_length=63, pattern=INTEGRATION, examples=["ledger"])]


class ActorView(BaseModel):
    kind: Literal["user", "app", "operator", "system"]
    id: str | None


class HoldView(BaseModel):
    name: str
    requires_two_factor: bool
    max_device_trust_hours: int | None
    set_by: ActorView
    set_at: datetime


class HoldsView(BaseModel):
    integrations: list[HoldView]


class PutIntegration(Body):
    requires_two_factor: StrictBool
    max_device_trust_hours: Hours | None = None


@router.get("/v1/clinic/integrations", response_model=HoldsView)
async def get_integrations(access: _Reading, gateway: GatewayDep) -> JSONResponse:
    """The holds on the clinic, by name; to an app, its own."""
    holds = await gateway.integrations.holds(access.clinic.id, access.actor)
    return JSONResponse({"integrations": [hold_as_json(hold) for hold in holds]})


@router.put("/v1/clinic/integrations/{name}", response_model=HoldView)
async def put_integration(access: _Changing, gateway: GatewayDep, name: _Name, body: PutIntegration) -> JSONResponse:
    """Set a hold: the clinic's rule cannot be turned off, nor anybody be exempt, while it requires two factors."""
    terms = HoldTerms(name, body.requires_two_factor, body.max_device_trust_hours)
    return JSONResponse(hold_as_json(await gateway.integrations.put(access.clinic.id, access.actor, terms)))


@router.delete("/v1/clinic/integrations/{name}", status_code=204, response_class=Response)
async def delete_integration(access: _Changing, gateway: GatewayDep, name: _Name) -> Response:
    """End a hold."""
    await gateway.integrations.end(access.clinic.id, access.actor, name)
    return Response(status_code=204)


def hold_as_json(hold: Hold) -> dict[str, Any]:
    return {
        "name": hold.name,
        "requires_two_factor": hold.requires_two_factor,
        "max_device_trust_hours": hold.max_device_trust_hours,
        "set_by": actor_as_json(hold.set_by),
        "set_at": rfc3339(hold.set_at),
    }


def actor_as_json(actor: Actor) -> dict[str, Any]:
    return {"kind": actor.kind, "id": actor.id}
