"""My info: who I am here, which second factors I have, and, for an administrator, whether everyone needs one."""

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends
from starlette.requests import Request
from starlette.responses import Response

from services.common.errors import ErrorCode, ServiceError
from services.identity.gateway import Gateway
from services.identity.guards import Access, Admits, GatewayDep
from services.identity.model import Method, Role
from services.identity.pages.form import fields_of
from services.identity.pages.rendering import csrf_of, lead_to, page
from services.identity.pages.route import PageRoute
from services.identity.pages.set_up import codes_page
from services.identity.pages.words import METHOD_NAMES, ROLE_NAMES
from services.identity.policy_words import (
    RuleChange,
)

router = APIRouter(route_class=PageRoute, include_in_schema=False)

_Active = Annotated[Access, Depends(Admits.active())]
_Fresh = Annotated[Access, Depends(Admits.active(step_up=True))]
_FreshAdministrator = Annotated[Access, Depends(Admits.active(step_up=True, role=Role.ADMIN))]
_SHOWN_HERE = (ErrorCode.CONFLICT, ErrorCode.REQUIRED_BY_POLICY, ErrorCode.NOT_FOUND)


@router.get("/me")
async def get_me(request: Request, access: _Active, gateway: GatewayDep, done: str = "") -> Response:
    return await _me(request, access, gateway, done=done)


@router.post("/me/notices/{notice_id}/dismiss")
async def post_dismiss(request: Request, access: _Active, gateway: GatewayDep, notice_id: str) -> Response:
    try:
        await gateway.notices.dismiss(access.signed_in, notice_id)
    except ServiceError as error:
        if error.code is not ErrorCode.NOT_FOUND:  # dismissed in another tab: as it was meant
            raise
    return lead_to(gateway, "/me")


@router.post("/me/two-factor/{method}/remove")
async def post_remove(
    request: Request, access: _Fresh, gateway: GatewayDep, method: Literal["totp", "sms"]
) -> Response:
    try:
        await gateway.two_factor.remove(access.signed_in, access.client, Method(method))
    except ServiceError as error:
        return await _me_with(request, access, gateway, error)
    return lead_to(gateway, "/me?done=turned-off")


@router.post("/me/backup-codes")
async def post_backup_codes(request: Request, access: _Fresh, gateway: GatewayDep) -> Response:
    try:
        codes = await gateway.two_factor.make_backup_codes(access.signed_in, access.client)
    except ServiceError as error:
        return await _me_with(request, access, gateway, error)
    return codes_page(request, access, gateway, codes, "Your new backup codes")


@router.post("/clinic/two-factor")
async def post_rule(request: Request, access: _FreshAdministrator, gateway: GatewayDep) -> Response:
    """Requires two-factor authentication of everyone, or no longer."""
    fields = await fields_of(request)
    require, version = fields("require") == "yes", fields("version")
    versions = (
        frozenset({int(version)}) if version.isascii() and version.isdigit() and len(version) < 19 else frozenset()
    )
    change = RuleChange(require_two_factor=require)
    try:
        await gateway.clinics.change_security(access.signed_in, access.client, change, versions)
    except ServiceError as error:
        return await _me_with(request, access, gateway, error)
    return lead_to(gateway, f"/me?done={'rule-on' if require else 'rule-off'}")


async def _me_with(request: Request, access: Access, gateway: Gateway, error: ServiceError) -> Response:
    if error.code not in _SHOWN_HERE:
        raise error
    return await _me(request, access, gateway, refusal=error)


async def _me(
    request: Request, access: Access, gateway: Gateway, done: str = "", refusal: ServiceError | None = None
) -> Response:
    overview = await gateway.two_factor.overview(access.signed_in)
    held = {factor.method: factor for factor in overview.factors.factors}
    shown = [
        method for method in (Method.TOTP, Method.SMS) if method in held or method in overview.decision.methods_allowed
    ]
    user = access.user
    values: dict[str, Any] = {
        "csrf": csrf_of(gateway, access.session),
        "name": user.name,
        "email": user.email,
        "clinic_name": access.clinic.name,
        "role": ROLE_NAMES[user.role],
        "enabled": bool(held),
        "reason": overview.decision.reason.sentence,
        "factors": [
            {
                "method": method.value,
                "words": METHOD_NAMES[method],
                "on": method in held,
                "phone_hint": held[method].phone_hint if method in held else "",
            }
            for method in shown
        ],
        "notices": await gateway.notices.own(access.signed_in),
        "codes_left": overview.factors.backup_codes_remaining,
        "rule": await gateway.clinics.security(access.signed_in) if user.role is Role.ADMIN else None,
    }
    return page(request, "me.html", access=access, refusal=refusal, done=done, **values)
