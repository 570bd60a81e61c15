"""The clinic's audit trail, for its administrators: read page by page, narrowed to a person or a kind, taken along."""

import json
from collections.abc import Mapping
from typing import Annotated, Any
from urllib.parse import urlencode

from fastapi import APIRouter, Depends
from starlette.requests import Request
from starlette.responses import Response

from services.common.errors import ErrorCode, ServiceError
from services.identity.api.audit import export
from services.identity.audit_events import ClinicEvent, Filter
from services.identity.gateway import Gateway
from services.identity.guards import Access, Admits, GatewayDep
from services.identity.model import Role, User
from services.identity.pages.clinic.audit_words import in_words, is_kind, kinds_to_choose
from services.identity.pages.rendering import lead_to, page, speech_of
from services.identity.pages.route import PageRoute
from services.identity.pages.speech.languages import Speech
from services.identity.pages.speech.marking import marked

router = APIRouter(route_class=PageRoute, include_in_schema=False)

_Administrator = Annotated[Access, Depends(Admits.active(role=Role.ADMIN))]
_A_PAGE = 25
_MOST_FOUND = 10
_MOST_TEXT = 100
_MOST_BACK = 20
"""Pages that can be gone back one by one: their places are in the address."""
_NOBODY = marked("Nobody here has this name or e-mail address.")
_ACTORS = {
    "operator": marked("An operator"),
    "system": marked("The system"),
    "anonymous": marked("Unknown person"),
}


@router.get("/audit")
async def get_audit(
    request: Request,
    access: _Administrator,
    gateway: GatewayDep,
    person: str = "",
    user: str = "",
    kind: str = "",
    cursor: str = "",
    back: str = "",
) -> Response:
    """`person` is looked for by name or e-mail; `user` is whoever was found, or was followed from elsewhere."""
    speech, text = speech_of(request), person.replace("\x00", "").strip()[:_MOST_TEXT]
    people = await _people(access, gateway, text) if text else []
    if len(people) == 1:
        user = people[0].id
    wanted = Filter("" if text and len(people) != 1 else _text(user), kind if is_kind(kind) else "")
    asked = {name: value for name, value in (("user", wanted.user_id), ("kind", wanted.kind)) if value}
    values: dict[str, Any] = {
        "person": text,
        "user": wanted.user_id,
        "kind": wanted.kind,
        "kinds": kinds_to_choose(speech),
        "people": [
            {"name": one.name, "email": one.email, "address": _address({**asked, "user": one.id})}
            for one in people[:_MOST_FOUND]
        ],
        "too_many": len(people) > _MOST_FOUND,
        "everything": _address({}),
        "is_narrowed": bool(asked),
        "export": {form: _address({**asked, "form": form}, "/audit/export") for form in ("csv", "jsonl")},
    }
    if text and len(people) != 1:
        values |= {"events": None, "name": "", **_NOWHERE, "errors": {} if people else {"person": speech.say(_NOBODY)}}
        return page(request, "audit.html", access=access, **values)
    try:
        found = await gateway.audit_events.page(access.clinic.id, wanted, _A_PAGE, cursor or None)
    except ServiceError as error:
        if error.code is not ErrorCode.INVALID_REQUEST:
            raise
        return lead_to(gateway, _address(asked))  # a place that no page has named: from the beginning
    ids = [one for found_one in found.events for one in (found_one.event.actor_id, found_one.event.subject_id)]
    names = await gateway.trail_names.of(access.clinic.id, [*ids, wanted.user_id])
    values |= {
        "events": [_line(speech, one, names) for one in found.events],
        "name": names.get(wanted.user_id, wanted.user_id),
        **_ways(asked, cursor, back, found.next_cursor),
    }
    return page(request, "audit.html", access=access, **values)


@router.get("/audit/export")
async def get_export(
    access: _Administrator, gateway: GatewayDep, user: str = "", kind: str = "", form: str = ""
) -> Response:
    """All that match, as the API gives it."""
    wanted = Filter(_text(user), kind if is_kind(kind) else "")
    return await export(gateway, access.clinic, wanted, "jsonl" if form == "jsonl" else "csv", None)


async def _people(access: Access, gateway: Gateway, text: str) -> list[User]:
    """Whom the text may mean: whoever has just this e-mail address, or all in whose name or address it is."""
    found = await gateway.adoption.page(access.clinic.id, limit=_MOST_FOUND + 1, cursor=None, text=text, wanted=None)
    users = [member.user for member in found.members]
    return [user for user in users if user.email.casefold() == text.casefold()] or users


_NOWHERE = {"following": "", "before": "", "beginning": ""}


def _ways(asked: Mapping[str, str], cursor: str, back: str, next_cursor: str | None) -> dict[str, str]:
    """Where to go from this page. `back` holds the places of the pages before it, the newest of all being ''."""
    places = back.split(".")[-_MOST_BACK:] if back else []
    ways = dict(_NOWHERE)
    if next_cursor:
        been = [*places, cursor] if cursor else []
        ways["following"] = _address({**asked, "cursor": next_cursor, "back": ".".join(been[-_MOST_BACK:])})
    if cursor:
        ways["beginning"] = _address(asked)
        ways["before"] = (
            _address({**asked, "cursor": places[-1], "back": ".".join(places[:-1])}) if places else _address(asked)
        )
    return ways


def _line(speech: Speech, one: ClinicEvent, names: Mapping[str, str]) -> dict[str, Any]:
    event = one.event
    facts = {
        "id": event.id,
        "service": one.service,
        "kind": event.kind,
        "request_id": event.request_id or "",
        **{name: _plain(value) for name, value in json.loads(event.detail).items()},
    }
    subject = event.subject_id or ""
    return {
        "at": event.at,
        "words": in_words(speech, one.service, event.kind),
        "who": _who(speech, event.actor_kind, event.actor_id, names),
        "who_id": event.actor_id if event.actor_id in names and event.actor_kind == "user" else "",
        "whom": "" if subject == event.actor_id else names.get(subject, subject),
        "whom_id": subject if subject in names and not subject.startswith("app_") else "",
        "address": event.address or "",
        "facts": {name: value for name, value in facts.items() if value},
    }


def _who(speech: Speech, kind: str, actor_id: str | None, names: Mapping[str, str]) -> str:
    if kind in _ACTORS:
        return speech.say(_ACTORS[kind])
    name = names.get(actor_id or "", actor_id or "")
    return speech.say("The app %(name)s", name=name) if kind == "app" else name


def _plain(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _text(value: str) -> str:
    return value.replace("\x00", "")[:64]


def _address(asked: Mapping[str, str], path: str = "/audit") -> str:
    given = {name: value for name, value in asked.items() if value}
    return f"{path}?{urlencode(given)}" if given else path
