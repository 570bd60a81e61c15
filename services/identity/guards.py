"""Who may pass a route. Every route declares what it admits; one that declares nothing stops the start (P8).

The token comes from `Authorization: Bearer`, or from the pages' cookie; never from both: a request with an
Authorization header is judged by it alone. A mutation by cookie must come from our own origin and carry the session's
CSRF token.
"""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Annotated, Any

from fastapi import Depends
from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute
from starlette.requests import Request
from starlette.routing import BaseRoute, Mount
from starlette.staticfiles import StaticFiles

from services.common.errors import ErrorCode, ServiceError
from services.identity.app_guards import AdmitsApps, AppAccess, admit_app
from services.identity.apps import is_app_key
from services.identity.gateway import Gateway
from services.identity.lost_replies import RequestKey, checked_key
from services.identity.model import (
    Client,
    Clinic,
    EndCause,
    Role,
    Scope,
    Session,
    SessionState,
    SignedIn,
    User,
)
from services.identity.policy_words import Actor
from services.identity.problems import STEP_UP_SECONDS
from services.identity.sessions import Standing, digest_of, is_fresh
from services.identity.standing import refusal_of, unauthenticated

CSRF_HEADER = "x-csrf-token"
CSRF_FIELD = "csrf"
KEY_HEADER = "Idempotency-Key"
KEY_FIELD = "key"
FORWARDED_METHOD_HEADER = "X-Forwarded-Method"
BACKGROUND_HEADER = "X-Countersign-Background"
_SAFE = frozenset({"GET", "HEAD", "OPTIONS"})
_FORMS = ("application/x-www-form-urlencoded", "multipart/form-data")


@dataclass(frozen=True, slots=True)
class Access:
    """Who calls, and where their session stands. `standing` is None on routes that admit every live session."""

    signed_in: SignedIn
    standing: Standing | None
    client: Client
    by_cookie: bool
    key: RequestKey | None = None
    """On routes whose reply may be given again, where the request came with a key."""

    @property
    def session(self) -> Session:
        return self.signed_in.session

    @property
    def user(self) -> User:
        return self.signed_in.user

    @property
    def clinic(self) -> Clinic:
        return self.signed_in.clinic

    @property
    def actor(self) -> Actor:
        return Actor.user(self.signed_in, self.client)

    @property
    def state(self) -> SessionState | None:
        return self.standing.state if self.standing else None


class Public:
    """The declaration of a route that anybody may call."""

    async def __call__(self) -> None:
        return None


PUBLIC = Depends(Public())
"""For `dependencies=[PUBLIC]` of a route."""


class Admits:
    """The declaration of a route that needs a session: `Depends(Admits.active(step_up=True, role=Role.ADMIN))`."""

    def __init__(
        self,
        states: frozenset[SessionState] | None,
        *,
        step_up: bool = False,
        unless_budget_spent: bool = False,
        role: Role | None = None,
        renews: bool = True,
        app: Scope | None = None,
        proxied: bool = False,
        repeats: bool = False,
    ) -> None:
        self.states = states
        self.step_up = step_up
        self.role = role
        self.app = app
        self._unless_budget_spent = unless_budget_spent
        self._renews = renews
        self._proxied = proxied
        self._repeats = repeats

    @classmethod
    def active(
        cls,
        *,
        step_up: bool = False,
        role: Role | None = None,
        unless_budget_spent: bool = False,
        app: Scope | None = None,
    ) -> "Admits":
        """Active sessions only. `step_up`: of someone who has a factor, a proof not older than 5 minutes. `app`: apps
        with this scope too, for which the route must take an `AppAccess`."""
        states = frozenset({SessionState.ACTIVE})
        return cls(states, step_up=step_up, role=role, unless_budget_spent=unless_budget_spent, app=app)

    @classmethod
    def enrolment(cls, *, step_up: bool = False, repeats: bool = False) -> "Admits":
        """Active sessions, and those that must set up a second factor. `repeats`: also who may have lost the reply;
        those that wait for a code are let through to hear it again, and the route must let them do nothing else."""
        states = frozenset({SessionState.ACTIVE, SessionState.ENROLMENT_REQUIRED})
        return cls(states, step_up=step_up, repeats=repeats)

    @classmethod
    def waiting(cls, *, renews: bool = True, repeats: bool = False) -> "Admits":
        """Every session that lives. Its standing is not computed; what the route does must be right in any.
        `repeats`: also who may have lost the reply."""
        return cls(None, renews=renews, repeats=repeats)

    @classmethod
    def proxied(cls) -> "Admits":
        """Active sessions, of whoever sent the request that a reverse proxy asks about."""
        return cls(frozenset({SessionState.ACTIVE}), proxied=True)

    async def __call__(self, request: Request) -> Access | AppAccess:
        gateway: Gateway = request.app.state.gateway
        # A proxy asks by GET about a request of any method. One that does not say which is taken for a change.
        method = request.headers.get(FORWARDED_METHOD_HEADER, "") if self._proxied else request.method
        token, by_cookie = _token(request, gateway, method)
        client = gateway.client_of(request.scope)
        if not by_cookie and is_app_key(token):
            return await admit_app(gateway, token, client, self.app)
        signed_in, key = await self._whose(request, gateway, token)
        if by_cookie and request.method not in _SAFE:
            await _check_csrf(request, gateway, signed_in)
        standing: Standing | None = None
        if key is not None and key.is_kept:
            return Access(signed_in, None, client, by_cookie, key)
        if self.states is not None:
            standing = await gateway.standings.stand(signed_in, fresh=self.step_up)
            if self._repeats and standing.state is SessionState.SECOND_FACTOR_REQUIRED:
                request.state.refused_anyway = refusal_of(standing)
                return Access(signed_in, standing, client, by_cookie, key)
            if standing.state not in self.states:
                raise refusal_of(standing)
            if standing.became is not None:
                signed_in = replace(signed_in, session=standing.became)
        if self.role is not None and signed_in.user.role is not self.role:
            raise ServiceError(ErrorCode.FORBIDDEN, "Only an administrator of the clinic may do this.")
        if self.step_up:
            await self._require_step_up(gateway, signed_in, standing)
        if self._renews and not (self._proxied and request.headers.get(BACKGROUND_HEADER) == "1"):
            await gateway.standings.renew(signed_in.session)
        return Access(signed_in, standing, client, by_cookie, key)

    async def _whose(self, request: Request, gateway: Gateway, token: str) -> tuple[SignedIn, RequestKey | None]:
        """Whose the token is, or whose reply to it may be given again."""
        sent = await _key(request) if self._repeats else None
        try:
            signed_in = await gateway.standings.signed_in(token)
        except ServiceError as error:
            if sent is None or error.members.get("cause") != EndCause.REPLACED:
                raise
            return await gateway.lost_replies.find(token, checked_key(sent), error)
        return signed_in, RequestKey(checked_key(sent), digest_of(token)) if sent is not None else None

    async def _require_step_up(self, gateway: Gateway, signed_in: SignedIn, standing: Standing | None) -> None:
        session = signed_in.session
        # One that has proven nothing and still got here belongs to someone without a factor, or a bypass opened it; but
        # a remembered browser has let it in without a code, and that is no proof.
        if session.verified_at is None:
            if session.bypass_id is not None or (standing is not None and not standing.has_factor):
                return
            raise step_up_required()
        if is_fresh(session, gateway.clock.now()):
            return
        if self._unless_budget_spent and (await gateway.otp.factors_of(session.user_id)).is_budget_spent:
            return
        raise step_up_required()


def step_up_required() -> ServiceError:
    return ServiceError(ErrorCode.STEP_UP_REQUIRED, "Enter a new code first.", max_age=STEP_UP_SECONDS)


async def gateway_of(request: Request) -> Gateway:
    gateway: Gateway = request.app.state.gateway
    return gateway


async def client_of(request: Request) -> Client:
    gateway: Gateway = request.app.state.gateway
    return gateway.client_of(request.scope)


GatewayDep = Annotated[Gateway, Depends(gateway_of)]
ClientDep = Annotated[Client, Depends(client_of)]


def check_declared(routes: Iterable[BaseRoute]) -> None:
    """Raises where a route does not say, exactly once, what it admits."""
    for route in routes:
        if isinstance(route, Mount) and isinstance(route.app, StaticFiles):
            continue
        if not isinstance(route, APIRoute):
            raise LookupError(f"{route!r} cannot say what it admits")
        if len(_declarations(route.dependant)) != 1:
            raise LookupError(f"{sorted(route.methods or ())} {route.path} must declare, once, what it admits")


Declaration = Admits | AdmitsApps | Public


def declaration_of(route: APIRoute) -> Declaration:
    return _declarations(route.dependant)[0]


def _declarations(dependant: Dependant) -> list[Declaration]:
    found: list[Declaration] = []
    for inner in dependant.dependencies:
        call: Any = inner.call
        if isinstance(call, Admits | AdmitsApps | Public):
            found.append(call)
        found.extend(_declarations(inner))
    return found


def _token(request: Request, gateway: Gateway, method: str) -> tuple[str, bool]:
    authorization = request.headers.get("authorization")
    if authorization is not None:
        scheme, _, token = authorization.partition(" ")
        if scheme.lower() != "bearer" or not token.strip():
            raise unauthenticated()
        return token.strip(), False
    token = request.cookies.get(gateway.cookies.name, "")
    # Cookies never count across origins: a foreign read is nobody's, and so is all that a proxy asks about; a foreign
    # mutation of ours is refused below.
    if not token or (request.method in _SAFE and is_foreign(request, gateway, method)):
        raise unauthenticated()
    return token, True


async def _key(request: Request) -> str | None:
    """The request's key. That of a page's form counts for one code: whoever goes back types another into it."""
    sent = request.headers.get(KEY_HEADER)
    if sent is None and request.headers.get("content-type", "").lower().startswith(_FORMS):
        form = await request.form()
        if isinstance(field := form.get(KEY_FIELD), str) and field:
            return hashlib.sha256(f"{field}:{form.get('method', '')}:{form.get('code', '')}".encode()).hexdigest()
    return sent


async def _check_csrf(request: Request, gateway: Gateway, signed_in: SignedIn) -> None:
    """SameSite keeps the cookie from most foreign mutations; this keeps the rest out (P25, A62)."""
    submitted = request.headers.get(CSRF_HEADER, "")
    if not submitted and request.headers.get("content-type", "").lower().startswith(_FORMS):
        field = (await request.form()).get(CSRF_FIELD, "")
        submitted = field if isinstance(field, str) else ""
    if is_foreign(request, gateway) or not gateway.cookies.is_csrf_token(submitted, signed_in.session.id):
        raise ServiceError(ErrorCode.FORBIDDEN, "This form is out of date. Please reload the page and try again.")


def is_foreign(request: Request, gateway: Gateway, method: str | None = None) -> bool:
    """Whether another site made the browser send this; a link that somebody followed from there is not meant.
    `method`: of the request that a proxy asks about."""
    origin = request.headers.get("origin")
    site = request.headers.get("sec-fetch-site")
    asked = request.method if method is None else method
    sent_from_elsewhere = asked not in _SAFE and site in ("cross-site", "same-site")
    return sent_from_elsewhere or (origin is not None and origin != gateway.settings.public_origin)
