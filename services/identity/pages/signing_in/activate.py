"""An invitation or a reset, for whoever holds its link: choosing a password. No session comes of it."""

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from services.common.errors import ErrorCode, ServiceError
from services.identity.gateway import Gateway
from services.identity.guards import PUBLIC, ClientDep, GatewayDep
from services.identity.model import ActivationKind
from services.identity.pages.form import BeforeSignIn, fields_of
from services.identity.pages.rendering import lead_to, page, speech_of
from services.identity.pages.route import PageRoute
from services.identity.pages.signing_in.clinic_cookie import remember_clinic
from services.identity.password_rules import LEAST, MOST
from services.identity.store.activations import Activation

router = APIRouter(route_class=PageRoute, include_in_schema=False)


@router.get("/activate/{token}", dependencies=[PUBLIC])
async def get_activate(request: Request, gateway: GatewayDep, client: ClientDep, token: str) -> Response:
    return _activate(request, gateway, token, await gateway.activations.look_up(token, client))


@router.post("/activate/{token}", dependencies=[PUBLIC])
async def post_activate(request: Request, gateway: GatewayDep, client: ClientDep, token: str) -> Response:
    fields = await fields_of(request)
    BeforeSignIn(request, gateway).check(request, fields)
    try:
        used = await gateway.activations.use(token, fields("password"), client)
    except ServiceError as error:
        if error.code is not ErrorCode.INVALID_REQUEST:
            raise
        return _activate(request, gateway, token, await gateway.activations.look_up(token, client), error)
    response = lead_to(gateway, f"/c/{used.clinic.slug}?done=password-saved")
    remember_clinic(response, gateway, used.clinic.slug)
    return response


def _activate(
    request: Request, gateway: Gateway, token: str, found: Activation, refusal: ServiceError | None = None
) -> Response:
    form = BeforeSignIn(request, gateway)
    response = page(
        request,
        "activate.html",
        refusal=refusal,
        wrong=speech_of(request).heard(refusal.detail) if refusal else "",  # what is wrong with it stands beside it
        csrf=form.token,
        token=token,
        is_reset=found.kind is ActivationKind.RESET,
        name=found.user.name,
        email=found.user.email,
        clinic_name=found.clinic.name,
        min_length=LEAST,
        max_length=MOST,
    )
    form.remember(response)
    return response
