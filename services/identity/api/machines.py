"""For machines: is the gateway alive, is it ready, what does its API look like, and Twilio's delivery callbacks."""

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Header
from pydantic import BaseModel
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from services.identity.api.openapi import describe
from services.identity.guards import PUBLIC, GatewayDep
from services.identity.problems import problem

router = APIRouter(tags=["machines"])


_FORM = {
    "requestBody": {
        "required": True,
        "content": {
            "application/x-www-form-urlencoded": {
                "schema": {"type": "object", "additionalProperties": {"type": "string"}}
            }
        },
    }
}


class Health(BaseModel):
    status: Literal["ok"]


class Ready(BaseModel):
    status: Literal["ready"]
    checks: dict[str, Literal["ok", "away"]]


@router.get("/healthz", response_model=Health, dependencies=[PUBLIC])
async def healthz() -> JSONResponse:
    """The process is alive."""
    return JSONResponse({"status": "ok"})


@router.get("/readyz", response_model=Ready, dependencies=[PUBLIC])
async def readyz(gateway: GatewayDep) -> JSONResponse:
    """Whether all that is needed answers; names what does not."""
    found = await gateway.readiness.look()
    if found.needed_and_away:
        names = ", ".join(found.needed_and_away)
        members = {"retry_after": 2, "not_ready": list(found.needed_and_away)}
        return problem("unavailable", f"Not ready: no answer from {names}.", members)
    checks = {name: "ok" if answered else "away" for name, answered in found.answers.items()}
    return JSONResponse({"status": "ready", "checks": checks})


@router.post(
    "/v1/webhooks/twilio/status",
    status_code=204,
    response_class=Response,
    dependencies=[PUBLIC],
    openapi_extra=_FORM,
)
async def twilio_status(
    request: Request, gateway: GatewayDep, x_twilio_signature: Annotated[str, Header(max_length=200)] = ""
) -> Response:
    """A delivery callback, as Twilio signs it."""
    async with request.form(max_fields=100) as submitted:
        form = {name: value for name, value in submitted.items() if isinstance(value, str)}
    query = request.scope["query_string"].decode("latin-1")
    await gateway.notifier.receive_twilio_status(form, x_twilio_signature, query)
    return Response(status_code=204)


@router.get("/openapi.json", dependencies=[PUBLIC], response_model=dict[str, Any])
async def openapi_json(request: Request, gateway: GatewayDep) -> JSONResponse:
    """This document."""
    document = getattr(request.app.state, "openapi", None)
    if document is None:
        document = describe(request.app.router.routes, gateway.settings)
        request.app.state.openapi = document
    return JSONResponse(document, headers={"Cache-Control": "public, max-age=300"})
