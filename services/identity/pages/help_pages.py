"""The help: five short pages, and the list of them. Open to anybody: whoever needs help may not be signed in."""

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from services.common.errors import ErrorCode, ServiceError
from services.identity.guards import PUBLIC
from services.identity.pages.help_topics import TOPICS
from services.identity.pages.rendering import page
from services.identity.pages.route import PageRoute

router = APIRouter(route_class=PageRoute, include_in_schema=False)


@router.get("/help", dependencies=[PUBLIC])
async def get_help(request: Request) -> Response:
    return page(request, "help.html", topics=TOPICS, topic="")


@router.get("/help/{topic}", dependencies=[PUBLIC])
async def get_topic(request: Request, topic: str) -> Response:
    if topic not in TOPICS:
        raise ServiceError(ErrorCode.NOT_FOUND, "There is nothing here.")
    return page(request, f"help_{topic.replace('-', '_')}.html", topics=TOPICS, topic=topic)
