"""What is required of one person, whether their number is needed, and leave to sign in once without a code: three
things that never change one another."""

from typing import Annotated

from fastapi import APIRouter, Depends
from starlette.requests import Request
from starlette.responses import Response

from services.common.errors import ServiceError
from services.identity.bypasses import Grant
from services.identity.guards import Access, Admits, GatewayDep
from services.identity.model import Role, UserId
from services.identity.pages.form import fields_of
from services.identity.pages.people.users_fields import Reading
from services.identity.pages.people.users_person import Refused, person_page
from services.identity.pages.rendering import lead_to
from services.identity.pages.route import PageRoute
from services.identity.policy_words import BypassState, Requirement, RequirementChange

router = APIRouter(route_class=PageRoute, include_in_schema=False)

_Fresh = Annotated[Access, Depends(Admits.active(role=Role.ADMIN, step_up=True))]
_MOST_MINUTES = 24 * 60


@router.post("/users/{user_id}/requirement")
async def post_requirement(request: Request, access: _Fresh, gateway: GatewayDep, user_id: UserId) -> Response:
    fields = await fields_of(request)
    reading = Reading(fields)
    try:
        wanted = reading.requirement()
        is_exempt = wanted is Requirement.EXEMPT
        # What the form still holds of an exemption is not meant where none is chosen.
        reason = None if wanted is Requirement.CLINIC_DEFAULT else reading.reason("reason", needed=is_exempt)
        until = reading.moment("expires_at", access.clinic, gateway.clock.now()) if is_exempt else None
        reading.check()
        change = RequirementChange(requirement=wanted, reason=reason, sets_expiry=is_exempt, expires_at=until)
        await gateway.requirements.set(access.signed_in, access.client, user_id, change)
    except ServiceError as error:
        refused = Refused("requirement", error, fields)
        return await person_page(request, access, gateway, user_id, refused=refused)
    return lead_to(gateway, f"/users/{user_id}?done=requirement-saved")


@router.post("/users/{user_id}/phone")
async def post_phone(request: Request, access: _Fresh, gateway: GatewayDep, user_id: UserId) -> Response:
    """Whether a mobile number is needed of this person."""
    fields = await fields_of(request)
    reading = Reading(fields)
    lifted = reading.ticked("phone_lifted")
    try:
        reason = reading.reason("phone_reason") if lifted else None
        reading.check()
        change = RequirementChange(phone_required=not lifted, reason=reason)
        await gateway.requirements.set(access.signed_in, access.client, user_id, change)
    except ServiceError as error:
        return await person_page(request, access, gateway, user_id, refused=Refused("phone", error, fields))
    return lead_to(gateway, f"/users/{user_id}?done={'phone-lifted' if lifted else 'phone-needed'}")


@router.post("/users/{user_id}/bypass")
async def post_bypass(request: Request, access: _Fresh, gateway: GatewayDep, user_id: UserId) -> Response:
    """Lets somebody sign in once without a code."""
    fields = await fields_of(request)
    reading = Reading(fields)
    try:
        grant = Grant(
            reason=reading.reason("bypass_reason"),
            expires_in_minutes=reading.minutes("minutes", _MOST_MINUTES),
            suspend_factors=reading.ticked("stolen"),
        )
        reading.check()
        await gateway.bypasses.grant(access.signed_in, access.client, user_id, grant)
    except ServiceError as error:
        return await person_page(request, access, gateway, user_id, refused=Refused("bypass", error, fields))
    return lead_to(gateway, f"/users/{user_id}?done={'let-in-stolen' if grant.suspend_factors else 'let-in'}")


@router.post("/users/{user_id}/take-back")
async def post_take_back(request: Request, access: _Fresh, gateway: GatewayDep, user_id: UserId) -> Response:
    """Takes the leave back, or undoes what was done with it."""
    try:
        found = await gateway.bypasses.revoke(access.signed_in, access.client, user_id)
    except ServiceError as error:
        return await person_page(request, access, gateway, user_id, refused=Refused("bypass", error))
    return lead_to(
        gateway, f"/users/{user_id}?done={'let-in-undone' if found is BypassState.UNDONE else 'let-in-taken-back'}"
    )
