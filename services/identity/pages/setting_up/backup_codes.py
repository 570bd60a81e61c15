"""Ten backup codes, shown once: to print, to save, to copy, and a tick that they are put away before anything goes on.

They are nowhere but in the answer and in the page: where the tick is missing, the form brings them along to be shown
again.
"""

import re
from collections.abc import Sequence
from typing import Annotated

from fastapi import APIRouter, Depends
from starlette.requests import Request
from starlette.responses import Response

from services.common.errors import ErrorCode, ServiceError
from services.identity.gateway import Gateway
from services.identity.guards import Access, Admits, GatewayDep
from services.identity.model import SessionState
from services.identity.pages.form import fields_of
from services.identity.pages.rendering import lead_to, page, speech_of
from services.identity.pages.route import PageRoute
from services.identity.pages.setting_up.steps import Step, progress
from services.identity.pages.speech.marking import marked
from services.identity.pages.way_back import lead_on, way_back

router = APIRouter(route_class=PageRoute, include_in_schema=False)

AFTER_APP, AFTER_TEXT, MADE_ANEW = "app", "text", "anew"
_STEPS = {AFTER_APP: [Step.SCAN, Step.TYPE, Step.CODES], AFTER_TEXT: [Step.TYPE, Step.CODES], MADE_ANEW: []}
_FIRST, _ANEW = marked("It is on. Now keep these codes safe"), marked("Your new backup codes")
_CODES = re.compile(r"[0-9A-Z]{4}(?:-[0-9A-Z]{4}){3}(?: [0-9A-Z]{4}(?:-[0-9A-Z]{4}){3}){0,9}")
_NOT_TICKED = marked("Put the codes somewhere safe first, then tick the box.")

_Active = Annotated[Access, Depends(Admits.active())]
_Fresh = Annotated[Access, Depends(Admits.active(step_up=True))]


@router.post("/me/backup-codes")
async def post_backup_codes(request: Request, access: _Fresh, gateway: GatewayDep) -> Response:
    """Ten new ones; the old ones are dead."""
    try:
        made = await gateway.two_factor.make_backup_codes(access.signed_in, access.client)
    except ServiceError as error:
        if error.code is not ErrorCode.CONFLICT:  # no factor any more, as another tab has it
            raise
        return lead_to(gateway, "/me")
    return codes_page(request, access, made.codes, MADE_ANEW)


@router.post("/me/backup-codes/kept")
async def post_kept(request: Request, access: _Active, gateway: GatewayDep) -> Response:
    fields = await fields_of(request)
    codes, why = fields("codes"), fields("why")
    if fields("safe") == "yes" or not _CODES.fullmatch(codes):
        return _go_on(request, gateway)
    return codes_page(request, access, codes.split(" "), why if why in _STEPS else MADE_ANEW, is_ticked=False)


def codes_page(
    request: Request, access: Access, codes: Sequence[str], why: str, *, is_ticked: bool | None = None
) -> Response:
    """The codes, this once. `is_ticked`: False where whoever saw them wanted to go on without the tick."""
    speech = speech_of(request)
    gateway: Gateway = request.app.state.gateway
    missing = speech.say(_NOT_TICKED) if is_ticked is False else ""
    lines = (
        speech.say("%(product)s: backup codes", product=gateway.settings.product_name),
        f"{access.clinic.name}, {access.user.email}",
        speech.say("Each works once, in place of the code from your phone."),
        "",
        *codes,
    )
    return page(
        request,
        "backup_codes.html",
        422 if missing else 200,
        access=access,
        codes=codes,
        as_text="\r\n".join(lines) + "\r\n",
        why=why,
        heading=speech.say(_ANEW if why == MADE_ANEW else _FIRST),
        steps=progress(_STEPS[why], Step.CODES),
        made_at=gateway.clock.now(),
        wrong=missing,
        errors={"safe": missing} if missing else {},
    )


def _go_on(request: Request, gateway: Gateway) -> Response:
    if way_back(request, gateway) is not None:
        return lead_on(request, gateway, SessionState.ACTIVE)
    return lead_to(gateway, "/me?done=codes-kept")
