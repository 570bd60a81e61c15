"""People, for their clinic's administrators: invite, list, read, change, sign out, reset."""

from datetime import datetime
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Path, Query
from pydantic import BaseModel, Field, StrictBool
from starlette.responses import JSONResponse, Response

from services.identity.activations import Link
from services.identity.api.fields import Body, Email, Name, Phone, rfc3339
from services.identity.api.sessions import NoFields
from services.identity.api.two_factor import TwoFactorAnswer, overview_as_json
from services.identity.guards import Access, Admits, GatewayDep
from services.identity.model import Role, User, UserId
from services.identity.store.staff import UserChange
from services.identity.users import NewUser

router = APIRouter(tags=["users"])

_Administrator = Annotated[Access, Depends(Admits.active(role=Role.ADMIN))]
_FreshAdministrator = Annotated[Access, Depends(Admits.active(role=Role.ADMIN, step_up=True))]
_Id = Annotated[UserId, Path(max_length=64, examples=["usr_2f0c9d4e8a7b4c1d9e6f3a2b1c0d9e8f"])]


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


class UserPage(BaseModel):
    users: list[UserView]
    next_cursor: str | None


class UserTwoFactorView(TwoFactorAnswer):
    requirement: Literal["clinic_default", "required", "exempt"]


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
    cursor: Annotated[str, Field(min_length=1, max_length=200, pattern=r"^[A-Za-z0-9_-]+$")] | None = None
    two_factor: Literal["missing", "enrolled", "exempt"] | None = None
    q: Annotated[str | None, Field(min_length=1, max_length=100)] = None


@router.post("/v1/users", status_code=201, response_model=NewUserView)
async def post_user(access: _FreshAdministrator, gateway: GatewayDep, body: PostUser) -> JSONResponse:
    """Invite someone; the answer holds the link by which they choose a password."""
    new = NewUser(body.email, body.name, body.role, body.phone)
    user, link = await gateway.users.add(access.signed_in, access.client, new)
    return JSONResponse({"user": user_as_json(user), "activation": _link(link)}, status_code=201)


@router.get("/v1/users", response_model=UserPage)
async def list_users(access: _Administrator, gateway: GatewayDep, asked: Annotated[ListUsers, Query()]) -> JSONResponse:
    """People of the clinic, in the order they came."""
    page = await gateway.users.page(
        access.signed_in, limit=asked.limit, cursor=asked.cursor, text=asked.q, two_factor=asked.two_factor
    )
    return JSONResponse({"users": [user_as_json(user) for user in page.users], "next_cursor": page.next_cursor})


@router.get("/v1/users/{user_id}", response_model=UserView)
async def get_user(access: _Administrator, gateway: GatewayDep, user_id: _Id) -> JSONResponse:
    """One person."""
    return JSONResponse(user_as_json(await gateway.users.one(access.signed_in, user_id)))


@router.patch("/v1/users/{user_id}", response_model=UserView)
async def patch_user(access: _FreshAdministrator, gateway: GatewayDep, user_id: _Id, body: PatchUser) -> JSONResponse:
    """Change someone; disabling ends their sessions and links at once."""
    change = UserChange(body.name, body.email, body.role, body.phone, body.disabled)
    return JSONResponse(user_as_json(await gateway.users.change(access.signed_in, access.client, user_id, change)))


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


@router.get("/v1/users/{user_id}/two-factor", response_model=UserTwoFactorView)
async def get_two_factor(access: _Administrator, gateway: GatewayDep, user_id: _Id) -> JSONResponse:
    """Someone's second factors, and what is asked of them."""
    overview = await gateway.users.two_factor(access.signed_in, user_id)
    return JSONResponse({**overview_as_json(overview), "requirement": "clinic_default"})


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


def _link(link: Link) -> dict[str, Any]:
    return {"url": link.url, "token": link.token, "expires_at": rfc3339(link.expires_at)}
