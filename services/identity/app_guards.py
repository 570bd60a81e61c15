"""How a machine passes a route: with an app's key that carries the scope the route names, as a bearer token. What a
route does not offer to apps is `forbidden` to them, whatever their scopes."""

from dataclasses import dataclass

from starlette.requests import Request

from services.common.errors import ErrorCode, ServiceError
from services.identity.apps import is_app_key
from services.identity.gateway import Gateway
from services.identity.model import Client, Clinic, Scope
from services.identity.policy_words import Actor
from services.identity.standing import unauthenticated
from services.identity.store.apps import CallingApp


@dataclass(frozen=True, slots=True)
class AppAccess:
    """Which machine calls. It has no session, and proves nothing about any person."""

    calling: CallingApp
    client: Client

    @property
    def clinic(self) -> Clinic:
        return self.calling.clinic

    @property
    def actor(self) -> Actor:
        return Actor("app", self.calling.app.id, self.client.address)


async def admit_app(gateway: Gateway, key: str, client: Client, scope: Scope | None) -> AppAccess:
    """`scope`: what the route asks of an app; None where it is not for apps."""
    calling = await gateway.apps.calling(key)
    if scope is None:
        raise ServiceError(ErrorCode.FORBIDDEN, "This is not for apps; a person must sign in for it.")
    if scope not in calling.app.scopes:
        raise ServiceError(ErrorCode.FORBIDDEN, f"The app's key does not carry the scope {scope.value}.")
    return AppAccess(calling, client)


class AdmitsApps:
    """The declaration of a route for machines alone: `Depends(AdmitsApps(Scope.SESSIONS_READ))`."""

    def __init__(self, scope: Scope) -> None:
        self.app = scope

    async def __call__(self, request: Request) -> AppAccess:
        gateway: Gateway = request.app.state.gateway
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        token = token.strip()
        if scheme.lower() != "bearer" or not token:
            raise unauthenticated()
        if not is_app_key(token):
            await gateway.standings.signed_in(token)
            raise ServiceError(ErrorCode.FORBIDDEN, "This is for apps alone, with a key of their own.")
        return await admit_app(gateway, token, gateway.client_of(request.scope), self.app)
