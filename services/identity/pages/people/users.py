"""The clinic's people, for administrators: who has set up a second factor and who has not; filtered, and exported."""

from typing import Annotated, Any
from urllib.parse import urlencode

from fastapi import APIRouter, Depends
from starlette.requests import Request
from starlette.responses import Response

from services.common.errors import ErrorCode, ServiceError
from services.identity.adoption import Adopted, Member
from services.identity.api.users import people_as_csv
from services.identity.gateway import Gateway
from services.identity.guards import Access, Admits, GatewayDep
from services.identity.model import Role
from services.identity.pages.people.users_words import state_in_words
from services.identity.pages.rendering import lead_to, page, speech_of
from services.identity.pages.route import PageRoute
from services.identity.pages.speech.languages import Speech
from services.identity.pages.speech.words import ROLE_NAMES

router = APIRouter(route_class=PageRoute, include_in_schema=False)

_Administrator = Annotated[Access, Depends(Admits.active(role=Role.ADMIN))]
_A_PAGE = 50
_MOST_TEXT = 100


@router.get("/users")
async def get_users(
    request: Request,
    access: _Administrator,
    gateway: GatewayDep,
    q: str = "",
    show: str = "",
    cursor: str = "",
    done: str = "",
) -> Response:
    text, wanted, speech = _text(q), _wanted(show), speech_of(request)
    asked = {name: value for name, value in (("q", text), ("show", wanted.value if wanted else "")) if value}
    try:
        found = await gateway.adoption.page(
            access.clinic.id, limit=_A_PAGE, cursor=cursor or None, text=text or None, wanted=wanted
        )
    except ServiceError as error:
        if error.code is not ErrorCode.INVALID_REQUEST:
            raise
        return lead_to(gateway, _address("/users", asked))  # a place that no page has named: from the beginning
    following = _address("/users", {**asked, "cursor": found.next_cursor}) if found.next_cursor else ""
    values: dict[str, Any] = {
        "people": [_line(speech, access, gateway, member) for member in found.members],
        "q": text,
        "show": wanted.value if wanted else "",
        "shown": [
            ("", speech.say("Everyone")),
            (Adopted.MISSING.value, speech.say("Not set up")),
            (Adopted.ENROLLED.value, speech.say("Set up")),
            (Adopted.EXEMPT.value, speech.say("Exempt")),
        ],
        "is_narrowed": bool(asked),
        "following": following,
        "beginning": _address("/users", asked) if cursor else "",
        "export": _address("/users/export", asked),
    }
    return page(request, "users.html", access=access, done=done, **values)


@router.get("/users/export")
async def get_export(access: _Administrator, gateway: GatewayDep, q: str = "", show: str = "") -> Response:
    """All that match, for a spreadsheet."""
    return await people_as_csv(gateway, access.clinic, _text(q) or None, _wanted(show))


def _line(speech: Speech, access: Access, gateway: Gateway, member: Member) -> dict[str, Any]:
    user = member.user
    state = state_in_words(speech, access.clinic, user, member.factors, member.settings, gateway.clock.now())
    return {
        "id": user.id,
        "name": user.name,
        "email": user.email,
        "role": speech.say(ROLE_NAMES[user.role]),
        "state": state,
        "is_invited": not user.has_password and not user.is_disabled,
        "is_self": user.id == access.user.id,
    }


def _text(q: str) -> str:
    return q.replace("\x00", "").strip()[:_MOST_TEXT]


def _wanted(show: str) -> Adopted | None:
    return Adopted(show) if show in set(Adopted) else None


def _address(path: str, asked: dict[str, str]) -> str:
    return f"{path}?{urlencode(asked)}" if asked else path
