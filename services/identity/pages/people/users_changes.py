"""What an administrator changes of a person's account: details, whether it is open, its password, its sessions."""

from typing import Annotated

from fastapi import APIRouter, Depends
from starlette.requests import Request
from starlette.responses import Response

from services.common.errors import ServiceError
from services.identity.gateway import Gateway
from services.identity.guards import Access, Admits, GatewayDep
from services.identity.model import Role, UserId
from services.identity.pages.form import fields_of
from services.identity.pages.people.users_fields import Reading
from services.identity.pages.people.users_link import link_page
from services.identity.pages.people.users_person import Refused, person_page
from services.identity.pages.rendering import lead_to
from services.identity.pages.route import PageRoute
from services.identity.store.staff import UserChange

router = APIRouter(route_class=PageRoute, include_in_schema=False)

_Fresh = Annotated[Access, Depends(Admits.active(role=Role.ADMIN, step_up=True))]


@router.post("/users/{user_id}/details")
async def post_details(request: Request, access: _Fresh, gateway: GatewayDep, user_id: UserId) -> Response:
    fields = await fields_of(request)
    reading = Reading(fields)
    try:
        before = await gateway.users.one(access.clinic, access.actor, user_id)
        name, email, role = reading.name(), reading.email(), reading.role()
        phone = reading.phone(access.clinic, before.phone)
        reading.check()
        change = UserChange(
            name=name if name != before.name else None,
            email=email if email != before.email else None,
            role=role if role is not before.role else None,
            phone=phone if phone != before.phone else None,
        )
        await gateway.users.change(access.clinic, access.actor, user_id, change)
    except ServiceError as error:
        refused = Refused("details", error, fields)
        return await person_page(request, access, gateway, user_id, refused=refused)
    if user_id == access.user.id and role is not Role.ADMIN:
        return lead_to(gateway, "/me?done=saved")  # these pages are closed to them from here on
    return _back(gateway, user_id, "saved")


@router.post("/users/{user_id}/disable")
async def post_disable(request: Request, access: _Fresh, gateway: GatewayDep, user_id: UserId) -> Response:
    return await _set_disabled(request, access, gateway, user_id, disabled=True)


@router.post("/users/{user_id}/enable")
async def post_enable(request: Request, access: _Fresh, gateway: GatewayDep, user_id: UserId) -> Response:
    return await _set_disabled(request, access, gateway, user_id, disabled=False)


@router.post("/users/{user_id}/reset")
async def post_reset(request: Request, access: _Fresh, gateway: GatewayDep, user_id: UserId) -> Response:
    """The link is on this one answer and nowhere else."""
    try:
        user = await gateway.users.one(access.clinic, access.actor, user_id)
        link = await gateway.users.reset_password(access.signed_in, access.client, user_id)
    except ServiceError as error:
        return await person_page(request, access, gateway, user_id, refused=Refused("account", error))
    return link_page(request, access, user, link, is_new=False)


@router.post("/users/{user_id}/sign-out")
async def post_sign_out(request: Request, access: _Fresh, gateway: GatewayDep, user_id: UserId) -> Response:
    try:
        await gateway.users.end_sessions(access.signed_in, access.client, user_id)
    except ServiceError as error:
        return await person_page(request, access, gateway, user_id, refused=Refused("account", error))
    return _back(gateway, user_id, "signed-out-everywhere")


@router.post("/users/{user_id}/forget")
async def post_forget(request: Request, access: _Fresh, gateway: GatewayDep, user_id: UserId) -> Response:
    """Every browser of theirs asks for a code again."""
    try:
        user = await gateway.users.one(access.clinic, access.actor, user_id)
        await gateway.remembering.forget_all_of(access.signed_in, access.client, user)
    except ServiceError as error:
        return await person_page(request, access, gateway, user_id, refused=Refused("account", error))
    return _back(gateway, user_id, "browsers-forgotten")


async def _set_disabled(
    request: Request, access: Access, gateway: Gateway, user_id: UserId, *, disabled: bool
) -> Response:
    try:
        await gateway.users.change(access.clinic, access.actor, user_id, UserChange(disabled=disabled))
    except ServiceError as error:
        return await person_page(request, access, gateway, user_id, refused=Refused("account", error))
    return _back(gateway, user_id, "account-disabled" if disabled else "account-enabled")


def _back(gateway: Gateway, user_id: UserId, done: str) -> Response:
    return lead_to(gateway, f"/users/{user_id}?done={done}")
