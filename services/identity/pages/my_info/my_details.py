"""My name, and the language in which I am texted and written to."""

from typing import Annotated

from fastapi import APIRouter, Depends
from starlette.requests import Request
from starlette.responses import Response

from services.identity.accounts import OwnChange
from services.identity.guards import Access, Admits, GatewayDep
from services.identity.pages.form import fields_of
from services.identity.pages.rendering import lead_to, page, speech_of
from services.identity.pages.route import PageRoute
from services.identity.pages.speech.marking import marked
from services.identity.particulars import NAME_MOST, is_name

router = APIRouter(route_class=PageRoute, include_in_schema=False)

_Active = Annotated[Access, Depends(Admits.active())]
LANGUAGE_NAMES = {"en": "English", "de": "Deutsch", "fr": "Français", "es": "Español", "nl": "Nederlands"}
_NO_NAME = marked("Type your name, in up to 100 characters.")


@router.get("/me/details")
async def get_details(request: Request, access: _Active) -> Response:
    return _details(request, access, access.user.name, _language_of(access.user.locale))


@router.post("/me/details")
async def post_details(request: Request, access: _Active, gateway: GatewayDep) -> Response:
    assert access.standing is not None
    fields = await fields_of(request)
    name, language = fields("name").strip(), fields("language")
    if not is_name(name):
        return _details(request, access, name, language, wrong=speech_of(request).say(_NO_NAME))
    wanted = language if language in LANGUAGE_NAMES and language != _language_of(access.user.locale) else None
    await gateway.accounts.change(access.signed_in, access.standing, access.client, OwnChange(name=name, locale=wanted))
    return lead_to(gateway, "/me?done=saved")


def language_in_words(locale: str) -> str:
    """The language's own name for itself; texts of a language that we do not speak are English."""
    return LANGUAGE_NAMES.get(_language_of(locale), LANGUAGE_NAMES["en"])


def _details(request: Request, access: Access, name: str, language: str, *, wrong: str = "") -> Response:
    languages = list(LANGUAGE_NAMES.items())
    if access.user.locale is None:
        own = language_in_words(access.clinic.locale)
        languages.insert(0, ("", speech_of(request).say("The clinic's: %(language)s", language=own)))
    return page(
        request,
        "me_details.html",
        422 if wrong else 200,
        access=access,
        name=name,
        name_most=NAME_MOST,
        language_chosen=language,
        languages=languages,
        wrong=wrong,
        errors={"name": wrong} if wrong else {},
    )


def _language_of(locale: str | None) -> str:
    return (locale or "").replace("_", "-").split("-")[0].lower()
