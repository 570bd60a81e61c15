"""The style sheet and the icon: two files, named here; nothing else of the folder can be asked for."""

from functools import cache
from pathlib import Path

from fastapi import APIRouter
from starlette.responses import Response

from services.common.errors import ErrorCode, ServiceError
from services.identity.guards import PUBLIC
from services.identity.pages.route import PageRoute

router = APIRouter(route_class=PageRoute, include_in_schema=False)

_FILES = {"countersign.css": "text/css; charset=utf-8", "mark.svg": "image/svg+xml"}


@router.get("/static/{name}", dependencies=[PUBLIC])
async def get_file(name: str) -> Response:
    if name not in _FILES:
        raise ServiceError(ErrorCode.NOT_FOUND, "There is nothing here.")
    return Response(_content(name), media_type=_FILES[name], headers={"Cache-Control": "public, max-age=3600"})


@cache
def _content(name: str) -> bytes:
    return Path(__file__).with_name("static").joinpath(name).read_bytes()
