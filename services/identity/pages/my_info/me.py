"""My info: who I am here, my second factors and why I am asked, where I am signed in, what happened to my account."""

import asyncio
from typing import Annotated, Any

from fastapi import APIRouter, Depends
from starlette.requests import Request
from starlette.responses import Response

from services.common.errors import ErrorCode, ServiceError
from services.identity.browsers import words_of
from services.identity.guards import Access, Admits, GatewayDep
from services.identity.model import DeviceId, Method, Session, SessionId, UserFactors
from services.identity.overviews import Overview
from services.identity.pages.form import fields_of
from services.identity.pages.my_info.my_details import language_in_words
from services.identity.pages.rendering import lead_to, page, speech_of
from services.identity.pages.route import PageRoute
from services.identity.pages.speech.words import METHOD_NAMES, ROLE_NAMES, number_in_words
from services.identity.remembering import OwnDevice

router = APIRouter(route_class=PageRoute, include_in_schema=False)

_Active = Annotated[Access, Depends(Admits.active())]
_FEW_CODES = 3


@router.get("/me")
async def get_me(request: Request, access: _Active, gateway: GatewayDep, done: str = "") -> Response:
    overview, notices, sessions = await asyncio.gather(
        gateway.two_factor.overview(access.signed_in),
        gateway.notices.own(access.signed_in),
        gateway.accounts.sessions(access.signed_in),
    )
    decision, user, speech = overview.decision, access.user, speech_of(request)
    values: dict[str, Any] = {
        "name": user.name,
        "email": user.email,
        "clinic_name": access.clinic.name,
        "role": speech.say(ROLE_NAMES[user.role]),
        "language_name": language_in_words(user.locale or access.clinic.locale),
        "phone": number_in_words(user.phone or ""),
        "phone_proven": user.phone_proven,
        "enabled": bool(overview.factors.factors),
        "required": decision.is_two_factor_required,
        "reason": decision.reason.sentence,
        "upcoming": decision.upcoming,
        "factors": _factors(overview),
        "codes_left": overview.factors.backup_codes_remaining,
        "codes_made_at": overview.factors.backup_codes_generated_at,
        "few_codes": overview.factors.backup_codes_remaining <= _FEW_CODES,
        "is_suspended": _is_suspended(overview.factors),
        "notices": notices,
        "browsers": [_browser(own, access) for own in await gateway.remembering.own(access.signed_in)],
        "sessions": sorted((_session(one, access) for one in sessions), key=lambda one: not one["is_this"]),
    }
    return page(request, "me.html", access=access, done=done, **values)


@router.post("/me/notices/{notice_id}/dismiss")
async def post_dismiss(access: _Active, gateway: GatewayDep, notice_id: str) -> Response:
    try:
        await gateway.notices.dismiss(access.signed_in, notice_id)
    except ServiceError as error:
        _as_meant(error)
    return lead_to(gateway, "/me")


@router.post("/me/browsers/{device_id}/end")
async def post_end_browser(access: _Active, gateway: GatewayDep, device_id: str) -> Response:
    """From now on this browser is asked for a code again."""
    try:
        await gateway.remembering.forget(access.signed_in, access.client, DeviceId(device_id[:64]))
    except ServiceError as error:
        _as_meant(error)
    return lead_to(gateway, "/me?done=browser-ended")


@router.post("/me/sessions/end")
async def post_end_session(request: Request, access: _Active, gateway: GatewayDep) -> Response:
    """One of the others, by `session`; without it all of them. This one ends by signing out."""
    wanted = (await fields_of(request))("session")
    for session in await gateway.accounts.sessions(access.signed_in):
        if session.id != access.session.id and wanted in ("", session.id):
            try:
                await gateway.accounts.end_session(access.signed_in, access.client, SessionId(session.id))
            except ServiceError as error:
                _as_meant(error)
    return lead_to(gateway, f"/me?done={'session-ended' if wanted else 'sessions-ended'}")


def _as_meant(error: ServiceError) -> None:
    """What has gone in another tab meanwhile is as it was meant to be."""
    if error.code is not ErrorCode.NOT_FOUND:
        raise error


def _factors(overview: Overview) -> list[dict[str, Any]]:
    """Those that are on, and those that could be."""
    held = {factor.method: factor for factor in overview.factors.factors}
    allowed = overview.decision.methods_allowed
    return [
        {
            "method": method.value,
            "words": METHOD_NAMES[method],
            "on": held.get(method),
            "is_allowed": method in allowed,
        }
        for method in (Method.TOTP, Method.SMS)
        if method in held or method in allowed
    ]


def _is_suspended(factors: UserFactors) -> bool:
    return bool(factors.factors) and not factors.is_any_usable


def _browser(own: OwnDevice, access: Access) -> dict[str, Any]:
    device = own.device
    return {
        "id": device.id,
        "words": words_of(device.user_agent or ""),
        "address": device.address or "",
        "last_used_at": device.last_used_at,
        "until": own.expires_at,
        "is_this": device.id == access.session.device_id,
    }


def _session(session: Session, access: Access) -> dict[str, Any]:
    return {
        "id": session.id,
        "words": words_of(session.user_agent or ""),
        "address": session.address or "",
        "began_at": session.authenticated_at,
        "last_seen_at": session.last_seen_at,
        "is_shared": session.shared_device,
        "is_waiting": session.waiting_until is not None,
        "is_this": session.id == access.session.id,
    }
