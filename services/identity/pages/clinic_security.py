"""General settings, Security: the clinic's rule of two-factor authentication, as its administrators read and change it.

A change that would stop anybody is looked at first (R17): the form goes to its preview, and from there with a mark of
what was looked at to be saved; another change than that is looked at again. Looking needs no fresh code, saving does.
"""

import asyncio
import hashlib
import json
from typing import Annotated, Any

from fastapi import APIRouter, Depends
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from services.common.errors import ErrorCode, ServiceError
from services.identity.gateway import Gateway
from services.identity.guards import Access, Admits, GatewayDep
from services.identity.model import Method, Role
from services.identity.own_factor import check_own_factor
from services.identity.pages import security_words
from services.identity.pages.adoption_picture import picture_of
from services.identity.pages.form import fields_of
from services.identity.pages.local_times import offset_at
from services.identity.pages.previewed import groups_of, stops_anybody
from services.identity.pages.rendering import lead_to, page, speech_of
from services.identity.pages.route import PageRoute
from services.identity.pages.security_form import Asked, Typed, asked, both_moments, coming, shown, typed_in
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
    typed, version = typed_in(fields), fields("version")
    if fields("back") == "yes":
        return await security_page(request, access, gateway, typed=typed, version=version)
    try:
        preview = await _preview(request, access, gateway, typed, version)
    except ServiceError as error:
        return await _refused(request, access, gateway, error, typed)
    return preview or RedirectResponse(f"{gateway.settings.path_prefix}{_PATH}", 307)


@router.post(_PATH)
async def post_security(request: Request, access: _FreshAdministrator, gateway: GatewayDep) -> Response:
    fields = await fields_of(request)
    typed, version = typed_in(fields), fields("version")
    try:
        wanted = await _asked(request, access, gateway, typed, version)
        if fields("seen") != _mark(wanted.typed, version):
            preview = await _preview(request, access, gateway, typed, version)
            if preview is not None:
                return preview
        await gateway.clinics.change_security(access.signed_in, access.client, wanted.change, _versions(version))
    except ServiceError as error:
        return await _refused(request, access, gateway, error, typed)
    if wanted.change.require_two_factor is None:
        return lead_to(gateway, f"{_PATH}?done=saved")
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
    typed: Typed | None = None,
    version: str = "",
    done: str = "",
    refusal: ServiceError | None = None,
    **values: Any,
) -> Response:
    """The page, with the rule or with what was typed (of the version that it was typed into)."""
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
    on_the_form = typed if typed is not None else shown(rule, clinic, speech, now)
    drawn = {
        "typed": on_the_form,
        "version": version or str(rule.version),
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
            {"moment": one, "offset": offset_at(one, clinic.timezone)} for one in both_moments(on_the_form, clinic)
        ],
        "has_own_factor": any(not factor.is_suspended for factor in factors.factors),
        "can_text": Method.SMS in available,
        "is_shared": gateway.cookies.is_shared(request.cookies),
        "picture": picture_of(counts),
        "stands": [],
        **values,
    }
    return page(request, "clinic_security.html", access=access, refusal=refusal, done=done, **drawn)


async def _preview(request: Request, access: Access, gateway: Gateway, typed: Typed, version: str) -> Response | None:
    """The page "What this does"; None where the change stops nobody."""
    wanted = await _asked(request, access, gateway, typed, version)
    found, totals = await gateway.previews.of_rule(access.signed_in, wanted.change)
    if not stops_anybody(totals):
        return None
    rule, speech = await gateway.clinics.security(access.signed_in), speech_of(request)
    before = shown(rule, access.clinic, speech, gateway.clock.now())
    schedule = wanted.change.schedule
    values: dict[str, Any] = {
        "groups": groups_of(speech, found, totals),
        "changes": security_words.differences(speech, access.clinic, before, wanted.typed),
        "begins": schedule.enforce_from if schedule else None,
        "zone": access.clinic.timezone,
        "carried": [*wanted.typed.items(), ("version", version), ("seen", _mark(wanted.typed, version))],
        "save": _PATH,
        "back": f"{_PATH}/preview",
        "hold": None,
    }
    return page(request, "security_preview.html", access=access, **values)


async def _asked(request: Request, access: Access, gateway: Gateway, typed: Typed, version: str) -> Asked:
    """What is asked for. Raises `conflict` where the rule is not the one that the form was drawn of, or where the
    change is not this administrator's to make yet."""
    rule = await gateway.clinics.security(access.signed_in)
    if rule.version not in _versions(version):
        raise _stale(rule)
    wanted = asked(typed, rule, access.clinic, speech_of(request), gateway.clock.now())
    if wanted.change.require_two_factor is not None:
        await check_own_factor(gateway.otp, access.user.id, "change the rule for everyone")
    return wanted


async def _refused(request: Request, access: Access, gateway: Gateway, error: ServiceError, typed: Typed) -> Response:
    """The form again with all that was typed; of a stale one also what stands now, and by whom."""
    if error.code not in ON_THE_FORM:
        raise error
    speech, values = speech_of(request), dict[str, Any]()
    if "version" in error.members:
        rule = await gateway.clinics.security(access.signed_in)
        now = shown(rule, access.clinic, speech, gateway.clock.now())
        meanwhile = await security_words.changed_by(speech, access, gateway)
        values["stands"] = security_words.differences(speech, access.clinic, now, typed)
        values["wrong"] = f"{meanwhile} {speech.say('Nothing that you typed is saved yet.')}"
    elif holders := error.members.get("holders"):
        names = ", ".join(str(name) for name in holders)
        values["wrong"] = f"{speech.heard(error.detail)} {speech.say('It is demanded by: %(names)s.', names=names)}"
    return await security_page(request, access, gateway, typed=typed, refusal=error, **values)


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


def _versions(version: str) -> frozenset[int]:
    """Of the form's field; what is no version is that of no rule."""
    return frozenset({int(version)}) if version.isascii() and version.isdigit() and len(version) < 19 else frozenset()


def _mark(typed: Typed, version: str) -> str:
    """Of what was looked at: not secret, so that nothing else is saved in its place by accident."""
    return hashlib.sha256(json.dumps([sorted(typed.items()), version]).encode()).hexdigest()


def _stale(rule: SecurityRule) -> ServiceError:
    detail = "Someone else has changed this in the meantime. Please look at it again."
    return ServiceError(ErrorCode.CONFLICT, detail, version=rule.version)
