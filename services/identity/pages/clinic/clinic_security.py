"""General settings, Security: the clinic's rule of two-factor authentication, as its administrators read and change it.

A change that would stop anybody is looked at first (R17): the form goes to its preview, and from there with a mark of
what was looked at to be saved; another change than that is looked at again. Looking needs no fresh code, saving does.
"""

import asyncio
import hashlib
import json
from dataclasses import replace
from typing import Annotated, Any

from fastapi import APIRouter, Depends
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from services.common.errors import ErrorCode, ServiceError
from services.identity.gateway import Gateway
from services.identity.guards import Access, Admits, GatewayDep
from services.identity.model import Method, Role
from services.identity.own_factor import check_own_factor
from services.identity.pages.clinic import security_words
from services.identity.pages.clinic.adoption_picture import picture_of
from services.identity.pages.clinic.previewed import groups_of, stops_anybody
from services.identity.pages.clinic.security_form import Asked, Typed, asked, both_moments, coming, shown
from services.identity.pages.clinic.security_merge import Sent, merged, sent_in
from services.identity.pages.form import fields_of
from services.identity.pages.local_times import offset_at
from services.identity.pages.rendering import lead_to, page, speech_of
from services.identity.pages.route import PageRoute
from services.identity.policy_words import Hold, SecurityRule

router = APIRouter(route_class=PageRoute, include_in_schema=False)

_PATH = "/clinic/security"
_Administrator = Annotated[Access, Depends(Admits.active(role=Role.ADMIN))]
_FreshAdministrator = Annotated[Access, Depends(Admits.active(role=Role.ADMIN, step_up=True))]
ON_THE_FORM = (
    *(ErrorCode.INVALID_REQUEST, ErrorCode.CONFLICT, ErrorCode.REQUIRED_BY_POLICY, ErrorCode.FORBIDDEN),
    ErrorCode.NOT_FOUND,
)
"""Refusals that are said on the page they come of; others are the route's."""


@router.get(_PATH)
async def get_security(request: Request, access: _Administrator, gateway: GatewayDep, done: str = "") -> Response:
    return await security_page(request, access, gateway, done=done)


@router.get(f"{_PATH}/preview")
async def get_preview(access: _Administrator, gateway: GatewayDep) -> Response:
    """Asked for by its address: there is nothing to preview."""
    return lead_to(gateway, _PATH)


@router.post(f"{_PATH}/preview")
async def post_preview(request: Request, access: _Administrator, gateway: GatewayDep) -> Response:
    """What the form would do. A change that stops nobody goes on to be saved: browsers send the form again."""
    fields = await fields_of(request)
    sent = sent_in(fields)
    if fields("back") == "yes":
        return await security_page(request, access, gateway, sent=sent)
    try:
        wanted, of_now = await _asked(request, access, gateway, sent)
        preview = await _preview(request, access, gateway, wanted, of_now)
    except ServiceError as error:
        return await _refused(request, access, gateway, error, sent)
    return preview or RedirectResponse(f"{gateway.settings.path_prefix}{_PATH}", 307)


@router.post(_PATH)
async def post_security(request: Request, access: _FreshAdministrator, gateway: GatewayDep) -> Response:
    fields = await fields_of(request)
    sent = sent_in(fields)
    try:
        wanted, of_now = await _asked(request, access, gateway, sent)
        if fields("seen") != _mark(wanted.typed, of_now.version):
            preview = await _preview(request, access, gateway, wanted, of_now)
            if preview is not None:
                return preview
        await gateway.clinics.change_security(access.signed_in, access.client, wanted.change, {int(of_now.version)})
    except ServiceError as error:
        return await _refused(request, access, gateway, error, sent)
    if wanted.change.require_two_factor is None:
        return lead_to(gateway, f"{_PATH}?done={'saved' if of_now.version == sent.version else 'saved-with-theirs'}")
    if wanted.change.schedule is not None:
        return lead_to(gateway, f"{_PATH}?done=rule-scheduled")
    return lead_to(gateway, f"{_PATH}?done={'rule-on' if wanted.change.require_two_factor else 'rule-off'}")


@router.post(f"{_PATH}/shared-computer")
async def post_shared(request: Request, access: _FreshAdministrator, gateway: GatewayDep) -> Response:
    """Marks this browser as a shared computer, or takes the mark away."""
    is_shared = (await fields_of(request))("shared") == "yes"
    await gateway.accounts.note_shared(access.signed_in, access.client, is_shared=is_shared)
    response = lead_to(gateway, f"{_PATH}?done={'shared' if is_shared else 'not-shared'}")
    cookies = gateway.cookies
    marker = cookies.shared_marker(access.clinic.id) if is_shared else cookies.shared_marker_gone()
    response.set_cookie(**marker)
    return response


async def security_page(
    request: Request,
    access: Access,
    gateway: Gateway,
    *,
    sent: Sent | None = None,
    done: str = "",
    refusal: ServiceError | None = None,
    **values: Any,
) -> Response:
    """The page, with the rule or with the form as it was sent."""
    clinic, speech, now = access.clinic, speech_of(request), gateway.clock.now()
    rule, holds, counts, factors, available = await asyncio.gather(
        gateway.clinics.security(access.signed_in),
        gateway.integrations.holds(clinic.id, access.actor),
        gateway.adoption.counts(clinic.id),
        gateway.otp.factors_of(access.user.id),
        gateway.notifier.methods_available(),
    )
    demanding = [hold.name for hold in holds if hold.requires_two_factor]
    date = coming(rule, now)
    if sent is None:
        of_rule = shown(rule, clinic, speech, now)
        sent = Sent(of_rule, str(rule.version), of_rule)
    drawn = {
        "typed": sent.typed,
        "version": sent.version,
        "was": sent.was_in_one_field,
        "is_on": rule.require_two_factor,
        "in_force_since": rule.required_since,
        "coming": date,
        "holders": ", ".join(demanding),
        "is_bound": bool(demanding) and (rule.require_two_factor or date is not None),
        "holds": await _holds_in_words(request, access, gateway, holds),
        "caps": [words for hold in holds if (words := security_words.cap_in_words(speech, hold))],
        "zone": clinic.timezone,
        "offset": offset_at(now, clinic.timezone),
        "both": [
            {"moment": one, "offset": offset_at(one, clinic.timezone)} for one in both_moments(sent.typed, clinic)
        ],
        "has_own_factor": any(not factor.is_suspended for factor in factors.factors),
        "can_text": Method.SMS in available,
        "is_shared": gateway.cookies.is_shared(request.cookies),
        "picture": picture_of(counts),
        "stands": [],
        **values,
    }
    return page(request, "clinic_security.html", access=access, refusal=refusal, done=done, **drawn)


async def _preview(request: Request, access: Access, gateway: Gateway, wanted: Asked, of_now: Sent) -> Response | None:
    """The page "What this will do"; None where the change stops nobody."""
    found, totals = await gateway.previews.of_rule(access.signed_in, wanted.change)
    if not stops_anybody(totals):
        return None
    speech, schedule = speech_of(request), wanted.change.schedule
    mark = _mark(wanted.typed, of_now.version)
    values: dict[str, Any] = {
        "groups": groups_of(speech, found, totals),
        "changes": security_words.differences(speech, access.clinic, of_now.was, wanted.typed),
        "begins": schedule.enforce_from if schedule else None,
        "zone": access.clinic.timezone,
        "carried": [
            *wanted.typed.items(),
            *(("version", of_now.version), ("was", of_now.was_in_one_field), ("seen", mark)),
        ],
        "save": _PATH,
        "back": f"{_PATH}/preview",
        "hold": None,
    }
    return page(request, "security_preview.html", access=access, **values)


async def _asked(request: Request, access: Access, gateway: Gateway, sent: Sent) -> tuple[Asked, Sent]:
    """What is asked for, and the form as one of the rule of now. Raises `conflict` where somebody else has changed the
    same meanwhile, or where the change is not this administrator's to make yet."""
    rule, speech, now = await gateway.clinics.security(access.signed_in), speech_of(request), gateway.clock.now()
    of_rule, version = shown(rule, access.clinic, speech, now), str(rule.version)
    of_now = replace(sent, was=of_rule)
    if sent.version != version:
        of_now, both = merged(sent, of_rule, version)
        if both:
            raise _stale(rule)
    wanted = asked(of_now.typed, rule, access.clinic, speech, now)
    if wanted.change.require_two_factor is not None:
        await check_own_factor(gateway.otp, access.user.id, "change the rule for everyone")
    return wanted, of_now


async def _refused(request: Request, access: Access, gateway: Gateway, error: ServiceError, sent: Sent) -> Response:
    """The form again with all that was typed. Where others have changed the rule meanwhile: with what they have, and
    beside each other what both have changed; and who that was."""
    if error.code not in ON_THE_FORM:
        raise error
    speech, values = speech_of(request), dict[str, Any]()
    if "version" in error.members:
        rule = await gateway.clinics.security(access.signed_in)
        now = shown(rule, access.clinic, speech, gateway.clock.now())
        sent, both = merged(sent, now, str(rule.version))
        meanwhile = await security_words.changed_by(speech, access, gateway)
        values["stands"] = security_words.differences(speech, access.clinic, now, sent.typed, both)
        values["wrong"] = f"{meanwhile} {speech.say('Nothing that you typed is saved yet.')}"
    elif holders := error.members.get("holders"):
        names = ", ".join(str(name) for name in holders)
        values["wrong"] = f"{speech.heard(error.detail)} {speech.say('It is required by: %(names)s.', names=names)}"
    return await security_page(request, access, gateway, sent=sent, refusal=error, **values)


async def _holds_in_words(
    request: Request, access: Access, gateway: Gateway, holds: list[Hold]
) -> list[dict[str, Any]]:
    speech = speech_of(request)
    names = await gateway.trail_names.of(access.clinic.id, [hold.set_by.id for hold in holds])
    return [
        {
            "name": hold.name,
            "requires": hold.requires_two_factor,
            "cap": security_words.cap_in_words(speech, hold),
            "by": security_words.setter_in_words(speech, hold.set_by, names.get(hold.set_by.id or "")),
            "at": hold.set_at,
            "is_by_app": hold.set_by.kind == "app",
        }
        for hold in holds
    ]


def _mark(typed: Typed, version: str) -> str:
    """Of what was looked at: not secret, so that nothing else is saved in its place by accident."""
    return hashlib.sha256(json.dumps([sorted(typed.items()), version]).encode()).hexdigest()


def _stale(rule: SecurityRule) -> ServiceError:
    detail = "Someone else has changed this in the meantime. Please look at it again."
    return ServiceError(ErrorCode.CONFLICT, detail, version=rule.version)
