"""Invitations and resets, for whoever holds the link: whom it is for, and setting the password. Public, and limited per
address; the token in the path is never logged (the log names the route's template)."""

from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter, Path
from pydantic import BaseModel, Field
from starlette.responses import JSONResponse, Response

from services.identity.api.fields import Body, rfc3339
from services.identity.guards import PUBLIC, ClientDep, GatewayDep
from services.identity.model import ActivationKind
from services.identity.password_rules import LEAST, MOST, SENTENCE
from services.identity.store.activations import Activation

router = APIRouter(tags=["activations"])

Token = Annotated[str, Path(min_length=1, max_length=100, examples=["q3hVb0vJx1Y3mJ6cP7tR2uW8zK4nF5sL9dG0aH1eT2o"])]
Password = Annotated[str, Field(min_length=LEAST, max_length=MOST, examples=["tidal harbour gravel moon"])]


class NamedClinic(BaseModel):
    slug: str
    name: str


class NamedUser(BaseModel):
    email: str
    name: str


class PasswordRules(BaseModel):
    min_length: int
    max_length: int
    hint: str


class ActivationView(BaseModel):
    kind: ActivationKind
    expires_at: datetime
    clinic: NamedClinic
    user: NamedUser
    password: PasswordRules


class UseActivation(Body):
    password: Password


@router.get("/v1/activations/{token}", response_model=ActivationView, dependencies=[PUBLIC])
async def get_activation(token: Token, gateway: GatewayDep, client: ClientDep) -> JSONResponse:
    """Whom the link is for, and what a password must be."""
    return JSONResponse(_activation(await gateway.activations.look_up(token, client)))


@router.post("/v1/activations/{token}", status_code=204, response_class=Response, dependencies=[PUBLIC])
async def post_activation(token: Token, body: UseActivation, gateway: GatewayDep, client: ClientDep) -> Response:
    """Set the password. The link is used up by it; no session is opened."""
    await gateway.activations.use(token, body.password, client)
    return Response(status_code=204)


def _activation(found: Activation) -> dict[str, Any]:
    return {
        "kind": found.kind.value,
        "expires_at": rfc3339(found.expires_at),
        "clinic": {"slug": found.clinic.slug, "name": found.clinic.name},
        "user": {"email": found.user.email, "name": found.user.name},
        "password": {
            "min_length": LEAST,
            "max_length": MOST,
            "hint": SENTENCE,
        },
    }
