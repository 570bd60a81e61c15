"""Adding somebody to the clinic: who they are, and then the link by which they choose their password."""

from typing import Annotated, Any

from fastapi import APIRouter, Depends
from starlette.requests import Request
from starlette.responses import Response

from services.common.errors import ErrorCode, ServiceError
from services.identity.guards import Access, Admits, GatewayDep
from services.identity.model import Role
from services.identity.pages.form import Fields, fields_of
from services.identity.pages.people.users_fields import Reading
from services.identity.pages.people.users_link import link_page
from services.identity.pages.rendering import page, speech_of
from services.identity.pages.route import PageRoute
from services.identity.pages.speech.words import ROLE_NAMES
from services.identity.users import NewUser

router = APIRouter(route_class=PageRoute, include_in_schema=False)

_Administrator = Annotated[Access, Depends(Admits.active(role=Role.ADMIN))]
_FreshAdministrator = Annotated[Access, Depends(Admits.active(role=Role.ADMIN, step_up=True))]


@router.get("/users/new")
async def get_new(request: Request, access: _Administrator) -> Response:
    return _new(request, access, Fields({"role": Role.PRACTITIONER}))


@router.post("/users/new")
async def post_new(request: Request, access: _FreshAdministrator, gateway: GatewayDep) -> Response:
    fields = await fields_of(request)
    reading = Reading(fields)
    try:
        new = NewUser(reading.email(), reading.name(), reading.role(), reading.phone(access.clinic))
        reading.check()
        user, link = await gateway.users.add(access.clinic, access.actor, new)
    except ServiceError as error:
        if error.code not in (ErrorCode.INVALID_REQUEST, ErrorCode.CONFLICT):
            raise
        return _new(request, access, fields, error)
    return link_page(request, access, user, link, is_new=True)


def _new(request: Request, access: Access, typed: Fields, refusal: ServiceError | None = None) -> Response:
    speech = speech_of(request)
    values: dict[str, Any] = {
        "typed": typed,
        "roles": [(role.value, speech.say(ROLE_NAMES[role])) for role in Role if role is not Role.ADMIN]
        + [(Role.ADMIN.value, speech.say(ROLE_NAMES[Role.ADMIN]))],
    }
    return page(request, "users_new.html", access=access, refusal=refusal, **values)
