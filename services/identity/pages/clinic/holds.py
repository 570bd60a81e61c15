"""Holds set by hand: what a package demands of the whole clinic, noted by an administrator, looked at first, ended."""

from typing import Annotated, Any

from fastapi import APIRouter, Depends
from pydantic import BaseModel, StrictBool, ValidationError
from starlette.requests import Request
from starlette.responses import Response

from services.common.errors import ErrorCode, ServiceError
from services.identity.api.integrations import Hours, IntegrationName
from services.identity.guards import Access, Admits, GatewayDep
from services.identity.model import Role
from services.identity.pages.clinic.clinic_security import ON_THE_FORM, security_page
from services.identity.pages.clinic.previewed import groups_of
from services.identity.pages.clinic.security_form import Typed, refused
from services.identity.pages.clinic.security_words import time_in_words
from services.identity.pages.form import Fields, fields_of
from services.identity.pages.rendering import lead_to, page, speech_of
from services.identity.pages.route import PageRoute
from services.identity.pages.speech.languages import Speech
from services.identity.pages.speech.marking import marked
from services.identity.policy_words import HoldTerms
from services.identity.validation_words import sentence_of

router = APIRouter(route_class=PageRoute, include_in_schema=False)

_PATH = "/clinic/security/holds"
_Administrator = Annotated[Access, Depends(Admits.active(role=Role.ADMIN))]
_FreshAdministrator = Annotated[Access, Depends(Admits.active(role=Role.ADMIN, step_up=True))]
_FIELDS = ("name", "requires_two_factor", "max_device_trust_hours")
_NOTHING: Typed = {"name": "", "requires_two_factor": "yes", "max_device_trust_hours": ""}
_NO_NUMBER = marked("Write a whole number.")


class _Demand(BaseModel):
    """The API's shapes, under the form's names."""

    name: IntegrationName
    requires_two_factor: StrictBool
    max_device_trust_hours: Hours | None


@router.get(_PATH)
async def get_hold(request: Request, access: _Administrator) -> Response:
    return _form(request, access, _NOTHING)


@router.get(f"{_PATH}/preview")
async def get_preview(access: _Administrator, gateway: GatewayDep) -> Response:
    """Asked for by its address: there is nothing to preview."""
    return lead_to(gateway, _PATH)


@router.post(f"{_PATH}/preview")
async def post_preview(request: Request, access: _Administrator, gateway: GatewayDep) -> Response:
    """What the hold would do to everybody."""
    fields, speech = await fields_of(request), speech_of(request)
    typed = _typed(fields)
    if fields("back") == "yes":
        return _form(request, access, typed)
    try:
        terms = _terms(speech, typed)
        found, totals = await gateway.previews.of_hold(access.signed_in, terms)
    except ServiceError as error:
        return _beside(request, access, typed, error)
    values: dict[str, Any] = {
        "groups": groups_of(speech, found, totals),
        "begins": None,
        "zone": access.clinic.timezone,
        "carried": list(typed.items()),
        "save": _PATH,
        "back": f"{_PATH}/preview",
        "hold": _in_words(speech, terms),
    }
    return page(request, "security_preview.html", access=access, **values)


@router.post(_PATH)
async def post_hold(request: Request, access: _FreshAdministrator, gateway: GatewayDep) -> Response:
    typed = _typed(await fields_of(request))
    try:
        await gateway.integrations.put(access.clinic.id, access.actor, _terms(speech_of(request), typed))
    except ServiceError as error:
        return _beside(request, access, typed, error)
    return lead_to(gateway, "/clinic/security?done=hold-set")


@router.post(f"{_PATH}/end")
async def post_end(request: Request, access: _FreshAdministrator, gateway: GatewayDep) -> Response:
    name = (await fields_of(request))("name")
    try:
        await gateway.integrations.end(access.clinic.id, access.actor, name)
    except ServiceError as error:
        if error.code not in ON_THE_FORM:
            raise
        return await security_page(request, access, gateway, refusal=error)
    return lead_to(gateway, "/clinic/security?done=hold-ended")


def _typed(fields: Fields) -> Typed:
    return {name: fields(name).strip() for name in _FIELDS}


def _terms(speech: Speech, typed: Typed) -> HoldTerms:
    """Raises `invalid-request`, by field."""
    wrong: dict[str, str] = {}
    hours: int | None = None
    if written := typed["max_device_trust_hours"]:
        if written.isascii() and written.isdigit() and len(written) < 10:
            hours = int(written)
        else:
            wrong["max_device_trust_hours"] = speech.say(_NO_NUMBER)
    try:
        demand = _Demand(
            name=typed["name"],
            requires_two_factor=typed["requires_two_factor"] == "yes",
            max_device_trust_hours=hours,
        )
    except ValidationError as error:
        raise refused({**{str(one["loc"][0]): sentence_of(one) for one in error.errors()}, **wrong}) from None
    if wrong:
        raise refused(wrong)
    return HoldTerms(demand.name, demand.requires_two_factor, demand.max_device_trust_hours)


def _beside(request: Request, access: Access, typed: Typed, error: ServiceError) -> Response:
    if error.code not in ON_THE_FORM or error.code is ErrorCode.NOT_FOUND:
        raise error
    return _form(request, access, typed, error)


def _form(request: Request, access: Access, typed: Typed, refusal: ServiceError | None = None) -> Response:
    return page(request, "hold.html", access=access, refusal=refusal, typed=typed)


def _in_words(speech: Speech, terms: HoldTerms) -> str:
    parts = []
    if terms.requires_two_factor:
        parts.append(speech.say("%(hold)s will require two-factor authentication of everyone.", hold=terms.name))
    hours = terms.max_device_trust_hours
    if hours is not None:
        parts.append(
            speech.say("%(hold)s allows no remembered browsers at all.", hold=terms.name)
            if hours == 0
            else speech.say(
                "%(hold)s lets a browser be remembered for %(time)s at most.",
                hold=terms.name,
                time=time_in_words(speech, hours),
            )
        )
    return " ".join(parts) or speech.say("%(hold)s will be noted here, and requires nothing.", hold=terms.name)
