"""Ways out for whoever cannot sign in: a forgotten password, a phone that is lost or not at hand.

Before the password is proven nothing is said that depends on the clinic, not even whether it exists; afterwards its
administrators are named, and no more than named.
"""

from typing import Annotated

from fastapi import APIRouter, Depends
from starlette.requests import Request
from starlette.responses import Response

from services.identity.guards import PUBLIC, Access, Admits, GatewayDep
from services.identity.model import Method
from services.identity.pages.rendering import page
from services.identity.pages.route import PageRoute, may_return

router = APIRouter(route_class=PageRoute, include_in_schema=False)

_Proven = Annotated[Access, Depends(Admits.waiting())]
_SHOWN = 64


@router.get("/c/{slug}/forgotten", dependencies=[PUBLIC])
async def get_forgotten(request: Request, slug: str) -> Response:
    return page(request, "forgotten.html", back=f"/c/{slug[:_SHOWN]}", administrators=None)


@router.get("/code/forgotten")
async def get_forgotten_later(request: Request, access: _Proven, gateway: GatewayDep) -> Response:
    administrators = await gateway.users.administrators_to_ask(access.signed_in)
    return page(request, "forgotten.html", access=access, back="/code", administrators=administrators)


@router.get("/code/lost")
async def get_lost(request: Request, access: _Proven, gateway: GatewayDep, then: str = "") -> Response:
    """What helps, the quickest first."""
    standing = await gateway.standings.view(access.signed_in)
    return page(
        request,
        "lost.html",
        access=access,
        then=then if may_return(then) else "",
        can_use_backup_code=Method.BACKUP_CODE in standing.methods,
        can_be_texted=Method.SMS in standing.methods,
        administrators=await gateway.users.administrators_to_ask(access.signed_in),
    )
