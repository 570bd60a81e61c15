"""People, for their clinic's administrators: invite, list, read, change, sign out, reset."""

from datetime import datetime
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Path, Query
from pydantic import BaseModel, Field, StrictBool
from starlette.responses import JSONResponse, Response

from services.common.errors import ErrorCode, ServiceError
from services.identity.activations import Link
from services.identity.adoption import Adopted, Member
from services.identity.api import csv_lines
from services.identity.api.fields import Body, Email, Name, Phone, rfc3339
from services.identity.api.sessions import NoFields
from services.identity.app_guards import AppAccess
from services.identity.gateway import Gateway
from services.identity.guards import Access, Admits, GatewayDep
from services.identity.model import Clinic, Method, Role, Scope, User, UserId
from services.identity.particulars import OPAQUE
from services.identity.policy_words import Requirement
from services.identity.store.staff import UserChange
from services.identity.users import NewUser

router = APIRouter(tags=["users"])

_FreshAdministrator = Annotated[Access, Depends(Admits.active(role=Role.ADMIN, step_up=True))]
_Reading = Annotated[Access | AppAccess, Depends(Admits.active(role=Role.ADMIN, app=Scope.USERS_WRITE))]
_Adding = Annotated[Access | AppAccess, Depends(Admits.active(role=Role.ADMIN, step_up=True, app=Scope.USERS_WRITE))]
_Id = Annotated[UserId, Path(max_length=64, examples=["usr_2f0c9d4e8a7b4c1d9e6f3a2b1c0d9e8f"])]

_CSV_COLUMNS = (
    *("id", "email", "name", "role", "disabled", "activated", "has_phone", "two_factor", "methods", "requirement"),
    *("exempt_until", "created_at"),
)
_CSV: dict[int | str, dict[str, Any]] = {
    200: {"content": {"text/csv": {"schema": {"type": "string"}, "example": '"id","email",…\r\n'}}}
}


class UserView(BaseModel):
    id: str
    email: str
    name: str
    role: Role
    phone: str | None
    phone_proven: bool
    disabled: bool
    activated: bool
    created_at: datetime


class ActivationLink(BaseModel):
    url: str
    token: str
    expires_at: datetime


class NewUserView(BaseModel):
    user: UserView
    activation: ActivationLink


class ResetView(BaseModel):
    activation: ActivationLink


class TwoFactorState(BaseModel):
    """A line of the adoption board. `suspended`: of someone whose factors all are, after a stolen phone."""

    enabled: bool
    methods: list[Method]
    suspended: bool
    requirement: Requirement
    exempt: bool
    exempt_until: datetime | None


class ListedUserView(UserView):
    """`two_factor` is for administrators; apps do not see it."""

    two_factor: TwoFactorState = TwoFactorState(
        enabled=False,
        methods=[],
        suspended=False,
        requirement=Requirement.CLINIC_DEFAULT,
        exempt=False,
        exempt_until=None,
    )


class CountsView(BaseModel):
    """Of the clinic's people who are not disabled."""

    total: int
    enrolled: int
    missing: int
    exempt: int
    without_phone: int


class UserPage(BaseModel):
    users: list[ListedUserView]
    next_cursor: str | None
    counts: CountsView = CountsView(total=0, enrolled=0, missing=0, exempt=0, without_phone=0)


class PostUser(Body):
    email: Email
    name: Name
    role: Role
    phone: Phone = None  # type: ignore[assignment]  # absent, never null


class PatchUser(Body):
    name: Name = None  # type: ignore[assignment]
    email: Email = None  # type: ignore[assignment]
    role: Role = None  # type: ignore[assignment]
    phone: Phone = None  # type: ignore[assignment]
    disabled: StrictBool = None  # type: ignore[assignment]


class ListUsers(Body):
    limit: Annotated[int, Field(ge=1, le=200)] = 50
    cursor: Annotated[str, Field(min_length=1, max_length=200, pattern=OPAQUE)] | None = None
    two_factor: Annotated[
        Adopted | None, Field(description="Only such people. Whoever is disabled is in none of these lists.")
    ] = None
    q: Annotated[str | None, Field(min_length=1, max_length=100)] = None
    counts: bool = False
    format: Literal["json", "csv"] = "json"


@router.post("/v1/users", status_code=201, response_model=NewUserView)
async def post_user(access: _Adding, gateway: GatewayDep, body: PostUser) -> JSONResponse:
    """Invite someone; the answer holds the link by which they choose a password. Apps invite no administrators."""
    new = NewUser(body.email, body.name, body.role, body.phone)
    user, link = await gateway.users.add(access.clinic, access.actor, new)
    return JSONResponse({"user": user_as_json(user), "activation": _link(link)}, status_code=201)


@router.get("/v1/users", response_model=UserPage, responses=_CSV)
async def list_users(access: _Reading, gateway: GatewayDep, asked: Annotated[ListUsers, Query()]) -> Response:
    """People of the clinic, in the order they came, with the state of their second factors; `format=csv` gives all that
    match. Apps see no administrators, and nothing of second factors."""
    clinic_id = access.clinic.id
    if isinstance(access, AppAccess):
        if asked.two_factor is not None or asked.counts or asked.format != "json":
            raise ServiceError(ErrorCode.FORBIDDEN, "Second factors are no business of apps.")
        people, following = await gateway.adoption.people(
            clinic_id, limit=asked.limit, cursor=asked.cursor, text=asked.q
        )
        return JSONResponse({"users": [user_as_json(user) for user in people], "next_cursor": following})
    if asked.format == "csv":
        return await people_as_csv(gateway, access.clinic, asked.q, asked.two_factor)
    page = await gateway.adoption.page(
        clinic_id, limit=asked.limit, cursor=asked.cursor, text=asked.q, wanted=asked.two_factor
    )
    body: dict[str, Any] = {
        "users": [_member_as_json(member) for member in page.members],
        "next_cursor": page.next_cursor,
    }
    if asked.counts:
        counts = await gateway.adoption.counts(clinic_id)
        body["counts"] = {name: getattr(counts, name) for name in CountsView.model_fields}
    return JSONResponse(body)


@router.get("/v1/users/{user_id}", response_model=UserView)
async def get_user(access: _Reading, gateway: GatewayDep, user_id: _Id) -> JSONResponse:
    """One person; to an app, none who is an administrator."""
    return JSONResponse(user_as_json(await gateway.users.one(access.clinic, access.actor, user_id)))


@router.patch("/v1/users/{user_id}", response_model=UserView)
async def patch_user(access: _Adding, gateway: GatewayDep, user_id: _Id, body: PatchUser) -> JSONResponse:
    """Change someone; disabling ends their sessions and links at once. Apps rename and disable, no more, and no
    administrators."""
    change = UserChange(body.name, body.email, body.role, body.phone, body.disabled)
    return JSONResponse(user_as_json(await gateway.users.change(access.clinic, access.actor, user_id, change)))


@router.delete("/v1/users/{user_id}/sessions", status_code=204, response_class=Response)
async def delete_sessions(access: _FreshAdministrator, gateway: GatewayDep, user_id: _Id) -> Response:
    """Sign someone out everywhere."""
    await gateway.users.end_sessions(access.signed_in, access.client, user_id)
    return Response(status_code=204)


@router.post("/v1/users/{user_id}/password-reset", status_code=201, response_model=ResetView)
async def post_reset(
    access: _FreshAdministrator, gateway: GatewayDep, user_id: _Id, _: NoFields | None = None
) -> JSONResponse:
    """A link by which someone sets a new password; their second factor stays."""
    link = await gateway.users.reset_password(access.signed_in, access.client, user_id)
    return JSONResponse({"activation": _link(link)}, status_code=201)


async def people_as_csv(gateway: Gateway, clinic: Clinic, text: str | None, wanted: Adopted | None) -> Response:
    """All who match, as a file to be saved."""
    members = gateway.adoption.every(clinic.id, text=text, wanted=wanted)
    lines = [csv_lines.line(_CSV_COLUMNS), *[csv_lines.line(_cells(member)) async for member in members]]
    name = f'attachment; filename="{clinic.slug}-people.csv"'
    return Response("".join(lines), media_type="text/csv", headers={"Content-Disposition": name})


def user_as_json(user: User) -> dict[str, Any]:
    return {
        "id": user.id,
        "email": user.email,
        "name": user.name,
        "role": user.role.value,
        "phone": user.phone,
        "phone_proven": user.phone_proven,
        "disabled": user.is_disabled,
        "activated": user.has_password,
        "created_at": rfc3339(user.created_at),
    }


def _member_as_json(member: Member) -> dict[str, Any]:
    settings = member.settings
    return {
        **user_as_json(member.user),
        "two_factor": {
            "enabled": bool(member.factors.factors),
            "methods": [factor.method.value for factor in member.factors.factors],
            "suspended": bool(member.factors.factors) and not member.factors.usable_methods(),
            "requirement": settings.requirement.value,
            "exempt": member.is_exempt,
            "exempt_until": rfc3339(settings.expires_at) if member.is_exempt and settings.expires_at else None,
        },
    }


def _cells(member: Member) -> list[str]:
    user, settings, factors = member.user, member.settings, member.factors.factors
    until = settings.expires_at if member.is_exempt else None
    return [
        user.id,
        user.email,
        user.name,
        user.role.value,
        "yes" if user.is_disabled else "no",
        "yes" if user.has_password else "no",
        "yes" if user.phone is not None else "no",
        "enrolled" if factors else "missing",
        " ".join(factor.method.value for factor in factors),
        settings.requirement.value,
        rfc3339(until) if until else "",
        rfc3339(user.created_at),
    ]


def _link(link: Link) -> dict[str, Any]:
    return {"url": link.url, "token": link.token, "expires_at": rfc3339(link.expires_at)}
