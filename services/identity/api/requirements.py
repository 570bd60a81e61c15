"""Someone's second factors and what is required of them, for their clinic's administrators."""

from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Path
from pydantic import BaseModel, StrictBool, model_validator
from starlette.responses import JSONResponse

from services.identity.api.fields import Body, Moment, Sentence, moment_of, rfc3339
from services.identity.api.integrations import ActorView, actor_as_json
from services.identity.api.two_factor import TwoFactorAnswer, overview_as_json
from services.identity.guards import Access, Admits, GatewayDep
from services.identity.model import Role, UserId
from services.identity.policy_words import Bypass, BypassState, Requirement, RequirementChange
from services.identity.requirements import UserOverview

router = APIRouter(tags=["users"])

_Administrator = Annotated[Access, Depends(Admits.active(role=Role.ADMIN))]
_FreshAdministrator = Annotated[Access, Depends(Admits.active(role=Role.ADMIN, step_up=True))]
_Id = Annotated[UserId, Path(max_length=64, examples=["usr_2f0c9d4e8a7b4c1d9e6f3a2b1c0d9e8f"])]


class BypassView(BaseModel):
    """Leave to sign in once without a code: unused, or used and still to be undone."""

    id: str
    state: BypassState
    note: str
    granted_by: ActorView
    granted_at: datetime
    expires_at: datetime
    used_at: datetime | None
    suspend_factors: bool


class UserTwoFactorView(TwoFactorAnswer):
    """`requirement_note` is the reason the administrator gave; `phone_lifted`: no number is asked of this person, for
    `phone_reason`."""

    requirement: Requirement
    requirement_note: str
    requirement_expires_at: datetime | None
    requirement_set_by: ActorView | None
    requirement_set_at: datetime | None
    phone_lifted: bool
    phone_reason: str | None
    phone_set_by: ActorView | None
    phone_set_at: datetime | None
    bypass: BypassView | None = None


class PutRequirement(Body):
    """What is left out stays."""

    requirement: Requirement = None  # type: ignore[assignment]  # absent, never null
    reason: Sentence = None  # type: ignore[assignment]
    """For what the request names: the requirement, the number, or both."""
    expires_at: Moment | None = None
    """Of an exemption; null: it has no end."""
    phone_required: StrictBool = None  # type: ignore[assignment]

    @model_validator(mode="after")
    def _says_something(self) -> "PutRequirement":
        if not self.model_fields_set:
            raise ValueError("Say what to set.")
        return self


@router.get("/v1/users/{user_id}/two-factor", response_model=UserTwoFactorView)
async def get_user_two_factor(access: _Administrator, gateway: GatewayDep, user_id: _Id) -> JSONResponse:
    """Someone's second factors, and what is asked of them."""
    return JSONResponse(user_overview_as_json(await gateway.requirements.of(access.signed_in, user_id)))


@router.put("/v1/users/{user_id}/two-factor/requirement", response_model=UserTwoFactorView)
async def put_requirement(
    access: _FreshAdministrator, gateway: GatewayDep, user_id: _Id, body: PutRequirement
) -> JSONResponse:
    """Require a second factor of someone, exempt them, or lift the number; it counts from their next request on."""
    change = RequirementChange(
        requirement=body.requirement,
        reason=body.reason,
        sets_expiry="expires_at" in body.model_fields_set,
        expires_at=None if body.expires_at is None else moment_of(body.expires_at),
        phone_required=body.phone_required,
    )
    found = await gateway.requirements.set(access.signed_in, access.client, user_id, change)
    return JSONResponse(user_overview_as_json(found))


def user_overview_as_json(found: UserOverview) -> dict[str, Any]:
    settings = found.settings
    body = {
        **overview_as_json(found.overview),
        "requirement": settings.requirement.value,
        "requirement_note": settings.reason,
        "requirement_expires_at": rfc3339(settings.expires_at) if settings.expires_at else None,
        "requirement_set_by": actor_as_json(settings.set_by) if settings.set_by and settings.set_at else None,
        "requirement_set_at": rfc3339(settings.set_at) if settings.set_at else None,
        "phone_lifted": settings.is_phone_lifted,
        "phone_reason": settings.phone_reason,
        "phone_set_by": actor_as_json(settings.phone_set_by) if settings.phone_set_by else None,
        "phone_set_at": rfc3339(settings.phone_set_at) if settings.phone_set_at else None,
    }
    if settings.bypass is not None:
        body["bypass"] = bypass_as_json(settings.bypass)
    return body


def bypass_as_json(bypass: Bypass) -> dict[str, Any]:
    return {
        "id": bypass.id,
        "state": bypass.state.value,
        "note": bypass.reason,
        "granted_by": actor_as_json(bypass.granted_by),
        "granted_at": rfc3339(bypass.granted_at),
        "expires_at": rfc3339(bypass.expires_at),
        "used_at": rfc3339(bypass.used_at) if bypass.used_at else None,
        "suspend_factors": bypass.suspend_factors,
    }
