"""My info: contact data, number, password, open sessions."""

from datetime import datetime
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Path
from pydantic import BaseModel, Field
from starlette.responses import JSONResponse, Response

from services.common.logs import mask_phone
from services.identity.accounts import OwnChange
from services.identity.api.fields import Body, Locale, Name, Phone, rfc3339
from services.identity.api.session_view import ClinicName, SessionAnswer, session_as_json
from services.identity.api.sessions import Code, seconds_until
from services.identity.guards import Access, Admits, GatewayDep, step_up_required
from services.identity.model import Clinic, Role, Session, SessionId, SessionState, User
from services.identity.sessions import acr_of, expires_at, idle_expires_at, is_fresh

router = APIRouter(tags=["me"])

_Active = Annotated[Access, Depends(Admits.active())]
_Fresh = Annotated[Access, Depends(Admits.active(step_up=True))]
_Known = Annotated[Access, Depends(Admits.enrolment())]
_FreshOrSpent = Annotated[Access, Depends(Admits.active(step_up=True, unless_budget_spent=True))]


class MeAnswer(BaseModel):
    id: str
    email: str
    name: str
    role: Role
    phone: str | None
    phone_proven: bool
    locale: str | None
    clinic: ClinicName
    created_at: datetime


class PatchMe(Body):
    name: Name = None  # type: ignore[assignment]  # absent, never null
    phone: Phone = None  # type: ignore[assignment]
    locale: Locale = None  # type: ignore[assignment]


class PhoneRequest(Body):
    phone: Phone


class PhoneProofAnswer(BaseModel):
    phone_hint: str
    expires_at: datetime
    resend_after: Annotated[int, Field(ge=0)]


class CodeRequest(Body):
    code: Code


class PasswordRequest(Body):
    current_password: Annotated[str, Field(min_length=1, max_length=1024)]
    new_password: Annotated[str, Field(max_length=1024, examples=["tidal harbour gravel moon"])]


class OwnSessionAnswer(BaseModel):
    id: str
    current: bool
    acr: Literal["aal1", "aal2"]
    authenticated_at: datetime
    last_seen_at: datetime
    expires_at: datetime
    idle_expires_at: datetime
    address: str | None
    user_agent: str | None
    shared_device: bool


class OwnSessionsAnswer(BaseModel):
    sessions: list[OwnSessionAnswer]


@router.get("/v1/me", response_model=MeAnswer)
async def get_me(access: _Known) -> JSONResponse:
    """Who I am. Before the second factor is set up, the number is masked."""
    return JSONResponse(_me_as_json(access.user, access.clinic, access.state))


@router.patch("/v1/me", response_model=MeAnswer)
async def patch_me(access: _Known, gateway: GatewayDep, body: PatchMe) -> JSONResponse:
    """Change contact data; a number given here is not proven by that."""
    assert access.standing is not None
    session = access.session
    has_proven = session.verified_at is not None or session.remembered_at is not None  # so they have a factor
    if body.phone is not None and has_proven and not is_fresh(session, gateway.clock.now()):
        raise step_up_required()
    change = OwnChange(body.name, body.phone, body.locale)
    user = await gateway.accounts.change(access.signed_in, access.standing, access.client, change)
    return JSONResponse(_me_as_json(user, access.clinic, access.state))


@router.post("/v1/me/phone", status_code=202, response_model=PhoneProofAnswer)
async def post_phone(access: _Fresh, gateway: GatewayDep, body: PhoneRequest) -> JSONResponse:
    """Send a code to a number, to prove that it is mine."""
    found = await gateway.accounts.start_phone_proof(access.signed_in, access.client, body.phone)
    answer = {
        "phone_hint": found.phone_hint,
        "expires_at": rfc3339(found.expires_at),
        "resend_after": seconds_until(found.resend_after, gateway.clock.now()),
    }
    return JSONResponse(answer, status_code=202)


@router.post("/v1/me/phone/confirm", status_code=204, response_class=Response)
async def confirm_phone(access: _Fresh, gateway: GatewayDep, body: CodeRequest) -> Response:
    """Prove the number with the code sent to it."""
    await gateway.accounts.confirm_phone(access.signed_in, access.client, body.code)
    return Response(status_code=204)


@router.put("/v1/me/password", response_model=SessionAnswer)
async def put_password(access: _FreshOrSpent, gateway: GatewayDep, body: PasswordRequest) -> JSONResponse:
    """Change the password. Every other session ends; this one goes on under a new token."""
    view = await gateway.accounts.change_password(
        access.signed_in, access.client, body.current_password, body.new_password
    )
    return JSONResponse(session_as_json(view))


@router.get("/v1/me/sessions", response_model=OwnSessionsAnswer)
async def get_sessions(access: _Active, gateway: GatewayDep) -> JSONResponse:
    """My open sessions, newest first."""
    found = await gateway.accounts.sessions(access.signed_in)
    return JSONResponse({"sessions": [_session_as_json(session, access.session) for session in found]})


@router.delete("/v1/me/sessions/{session_id}", status_code=204, response_class=Response)
async def delete_session(
    access: _Active, gateway: GatewayDep, session_id: Annotated[str, Path(min_length=1, max_length=64)]
) -> Response:
    """End one of my sessions."""
    await gateway.accounts.end_session(access.signed_in, access.client, SessionId(session_id))
    return Response(status_code=204)


def _me_as_json(user: User, clinic: Clinic, state: SessionState | None) -> dict[str, Any]:
    in_full = state is SessionState.ACTIVE
    return {
        "id": user.id,
        "email": user.email,
        "name": user.name,
        "role": user.role.value,
        "phone": user.phone if in_full or user.phone is None else mask_phone(user.phone),
        "phone_proven": user.phone_proven,
        "locale": user.locale,
        "clinic": {"id": clinic.id, "slug": clinic.slug, "name": clinic.name},
        "created_at": rfc3339(user.created_at),
    }


def _session_as_json(session: Session, current: Session) -> dict[str, Any]:
    return {
        "id": session.id,
        "current": session.id == current.id,
        "acr": acr_of(session),
        "authenticated_at": rfc3339(session.authenticated_at),
        "last_seen_at": rfc3339(session.last_seen_at),
        "expires_at": rfc3339(expires_at(session)),
        "idle_expires_at": rfc3339(idle_expires_at(session)),
        "address": session.address,
        "user_agent": session.user_agent,
        "shared_device": session.shared_device,
    }
