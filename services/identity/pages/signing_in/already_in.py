"""Whoever comes to the door while they are signed in: who they are, and where they go on.

A clinic's own door always holds the form: whoever opens it may be somebody else, and an app that has sent them here may
do so again and again. The first page leads on, but not at a computer that others use too.
"""

from dataclasses import dataclass

from starlette.requests import Request

from services.common.errors import ServiceError
from services.identity.gateway import Gateway
from services.identity.guards import is_foreign
from services.identity.model import SessionState, SignedIn
from services.identity.pages.way_back import WAY_ON, asked_way_back, way_back


@dataclass(frozen=True, slots=True)
class AlreadyIn:
    signed_in: SignedIn
    state: SessionState
    is_shared: bool


async def already_in(request: Request, gateway: Gateway) -> AlreadyIn | None:
    """By the browser's cookie; None too where it cannot be said just now. It keeps no session alive."""
    token = request.cookies.get(gateway.cookies.name, "")
    if not token or is_foreign(request, gateway):
        return None
    try:
        signed_in = await gateway.standings.signed_in(token)
        standing = await gateway.standings.stand(signed_in)
    except ServiceError:
        return None
    is_shared = signed_in.session.shared_device or gateway.cookies.is_shared(request.cookies)
    return AlreadyIn(signed_in, standing.state, is_shared)


def way_on(request: Request, gateway: Gateway, found: AlreadyIn) -> str:
    """The address at which they go on of their own accord."""
    back = asked_way_back(request, gateway) or way_back(request, gateway)
    if found.state is SessionState.ACTIVE and back is not None:
        return back
    return f"{gateway.settings.path_prefix}{WAY_ON[found.state]}"
