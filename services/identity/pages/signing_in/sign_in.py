"""Signing in and out, and the door before it: which clinic."""

from dataclasses import replace
from typing import Annotated, Any

from fastapi import APIRouter, Depends
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from services.common.errors import ErrorCode, ServiceError
from services.identity.gateway import Gateway
from services.identity.guards import PUBLIC, Access, Admits, ClientDep, GatewayDep
from services.identity.model import Client, SessionState, slug_key
from services.identity.pages.form import BeforeSignIn, fields_of
from services.identity.pages.rendering import lead_to, page, speech_of
from services.identity.pages.route import PageRoute
from services.identity.pages.signing_in.already_in import AlreadyIn, already_in, way_on
from services.identity.pages.signing_in.clinic_cookie import remember_clinic, remembered_clinic
from services.identity.pages.speech.marking import marked
from services.identity.pages.way_back import asked_way_back, forget_way_back, lead_on, way_back
from services.identity.particulars import is_slug
from services.identity.sessions import Standing, new_token

router = APIRouter(route_class=PageRoute, include_in_schema=False)

_SHOWN = 64
_NO_SLUG = marked("A short name has letters from a to z, digits and hyphens, and no spaces.")
_NO_MATCH = marked("That did not match. Check the e-mail address and the password, and try again.")


@router.get("/", dependencies=[PUBLIC])
async def get_start(request: Request, gateway: GatewayDep, clinic: str | None = None, done: str = "") -> Response:
    """Asks for the clinic's short name; a browser that has signed in before is led to its own, and whoever is signed in
    goes on."""
    if clinic is None and "again" in request.query_params:
        return _start(request, done)
    if clinic is None:
        found = await already_in(request, gateway)
        if found is not None and not found.is_shared and asked_way_back(request, gateway) is None:
            return lead_on(request, gateway, found.state)
        slug = found.signed_in.clinic.slug if found else remembered_clinic(request, gateway)
        return lead_to(gateway, f"/c/{slug}") if slug else _start(request, done)
    slug = slug_key(clinic)
    if is_slug(slug):
        return lead_to(gateway, f"/c/{slug}")
    wrong = speech_of(request).say(_NO_SLUG)
    return page(request, "start.html", 422, errors={"clinic": wrong}, typed=clinic[:_SHOWN])


@router.get("/c/{slug}", dependencies=[PUBLIC])
async def get_sign_in(request: Request, gateway: GatewayDep, slug: str, done: str = "") -> Response:
    """The same for a clinic that does not exist: who asks learns nothing of it. Whoever is signed in there is shown the
    way on above the form."""
    found = await already_in(request, gateway)
    if found is not None and found.signed_in.clinic.slug != slug_key(slug):
        found = None
    return _sign_in(request, gateway, slug, done=done, found=found)


@router.post("/c/{slug}", dependencies=[PUBLIC])
async def post_sign_in(request: Request, gateway: GatewayDep, client: ClientDep, slug: str) -> Response:
    fields = await fields_of(request)
    form = BeforeSignIn(request, gateway)
    form.check(request, fields)
    email = fields("email")
    known_by = client.browser or new_token()
    try:
        view = await gateway.login.sign_in(
            slug,
            email,
            fields("password"),
            replace(client, browser=known_by),
            shared_device=gateway.cookies.is_shared(request.cookies),
            device_token=request.cookies.get(gateway.cookies.device_name(slug, email)),
            bypass_first=True,
        )
    except ServiceError as error:
        return _sign_in(request, gateway, slug, email=email, refusal=error)
    await _end_older(request, gateway, client)
    response = _led_on(request, gateway, view.standing)
    response.set_cookie(**gateway.cookies.session(view.token or ""))
    response.set_cookie(**gateway.cookies.browser(known_by))
    if view.device_token is not None:
        response.set_cookie(**gateway.cookies.device(slug, email, view.device_token))
    form.forget(response)
    remember_clinic(response, gateway, view.signed_in.clinic.slug)
    return response


@router.get("/announced")
async def get_announced(
    request: Request, access: Annotated[Access, Depends(Admits.active())], gateway: GatewayDep
) -> Response:
    """A rule that is to come, told to whoever it will stop before they go on to where they came from."""
    assert access.standing is not None
    on = way_back(request, gateway) or f"{gateway.settings.path_prefix}/me"
    if access.standing.upcoming is None:
        return lead_on(request, gateway, SessionState.ACTIVE)
    response = page(request, "announced.html", access=access, upcoming=access.standing.upcoming, on=on)
    forget_way_back(response, gateway)
    return response


@router.post("/sign-out")
async def post_sign_out(
    access: Annotated[Access, Depends(Admits.waiting(renews=False))], gateway: GatewayDep
) -> Response:
    await gateway.accounts.sign_out(access.signed_in, access.client)
    response = lead_to(gateway, f"/c/{access.clinic.slug}?done=signed-out")
    response.set_cookie(**gateway.cookies.gone())
    forget_way_back(response, gateway)  # whoever signs in next was not going there
    return response


def _led_on(request: Request, gateway: Gateway, standing: Standing) -> RedirectResponse:
    # My info says it itself; who goes on to somewhere else would not see it.
    if standing.upcoming is not None and way_back(request, gateway) is not None:
        return lead_to(gateway, "/announced")
    return lead_on(request, gateway, standing.state)


def _start(request: Request, done: str) -> Response:
    return page(request, "start.html", done=done, typed="")


def _sign_in(
    request: Request,
    gateway: Gateway,
    slug: str,
    email: str = "",
    done: str = "",
    refusal: ServiceError | None = None,
    found: AlreadyIn | None = None,
) -> Response:
    form = BeforeSignIn(request, gateway)
    values: dict[str, Any] = {"slug": slug[:_SHOWN], "email": email[:254], "csrf": form.token}
    values["already_in"] = found.signed_in.user.name if found else ""
    values["on"] = way_on(request, gateway, found) if found else ""
    values["is_shared"] = gateway.cookies.is_shared(request.cookies)
    if refusal is not None and refusal.code is ErrorCode.INVALID_CREDENTIALS:
        values["wrong"] = speech_of(request).say(_NO_MATCH)
    response = page(request, "sign_in.html", refusal=refusal, done=done, **values)
    form.remember(response)
    return response


async def _end_older(request: Request, gateway: Gateway, client: Client) -> None:
    """The session that this browser had before is over: its cookie is replaced, and nobody holds it any more (A63)."""
    older = request.cookies.get(gateway.cookies.name, "")
    if not older:
        return
    try:
        found = await gateway.standings.signed_in(older)
    except ServiceError:
        return
    await gateway.accounts.sign_out(found, client)
