"""Hands out what pages load."""

from fastapi import APIRouter
from starlette.responses import Response

from services.common.errors import ErrorCode, ServiceError
from services.identity.guards import PUBLIC
from services.identity.pages.assets import FILES, content
from services.identity.pages.route import PageRoute

router = APIRouter(route_class=PageRoute, include_in_schema=False)


@router.get("/static/{name}", dependencies=[PUBLIC])
async def get_file(name: str) -> Response:
    if name not in FILES:
        raise ServiceError(ErrorCode.NOT_FOUND, "There is nothing here.")
    return Response(content(name), media_type=FILES[name], headers={"Cache-Control": "public, max-age=86400"})
