"""The clinic as its administrators see it: its particulars, and its rule of two-factor authentication."""

import re
from datetime import datetime
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Header
from pydantic import BaseModel, Field, StrictBool
from starlette.responses import JSONResponse

from services.identity.api.fields import Body, Country, Locale, Name, Timezone, rfc3339
from services.identity.clinic import ClinicChange
from services.identity.guards import Access, Admits, GatewayDep
from services.identity.model import Clinic, Method, Role, RuleChange, SecurityRule, in_order

router = APIRouter(tags=["clinic"])

_Administrator = Annotated[Access, Depends(Admits.active(role=Role.ADMIN))]
_FreshAdministrator = Annotated[Access, Depends(Admits.active(role=Role.ADMIN, step_up=True))]
_ENTITY_TAG = re.compile(r'(W/)?"([^"]*)"')


class ClinicView(BaseModel):
    id: str
    slug: str
    name: str
    timezone: str
    country: str
    locale: str
    created_at: datetime


class PatchClinic(Body):
    name: Name = None  # type: ignore[assignment]  # absent, never null
    timezone: Timezone = None  # type: ignore[assignment]
    country: Country = None  # type: ignore[assignment]
    locale: Locale = None  # type: ignore[assignment]


class SecurityView(BaseModel):
    require_two_factor: bool
    enforce_from: datetime | None
    methods: list[Method]
    phone_required: bool
    remember_device_days: int
    idle_minutes: int
    sms_countries: list[str]
    sms_daily_cap: int
    holds: list[dict[str, Any]]
    version: int


class PatchSecurity(Body):
    require_two_factor: StrictBool = None  # type: ignore[assignment]
    methods: Annotated[list[Literal["totp", "sms"]], Field(min_length=1, max_length=2)] = None  # type: ignore[assignment]
    phone_required: StrictBool = None  # type: ignore[assignment]


@router.get("/v1/clinic", response_model=ClinicView)
async def get_clinic(access: _Administrator) -> JSONResponse:
    """The clinic's particulars."""
    return JSONResponse(clinic_as_json(access.clinic))


@router.patch("/v1/clinic", response_model=ClinicView)
async def patch_clinic(access: _FreshAdministrator, gateway: GatewayDep, body: PatchClinic) -> JSONResponse:
    """Change the clinic's particulars."""
    change = ClinicChange(body.name, body.timezone, body.country, body.locale)
    return JSONResponse(clinic_as_json(await gateway.clinics.change(access.signed_in, access.client, change)))


@router.get("/v1/clinic/security", response_model=SecurityView)
async def get_security(access: _Administrator, gateway: GatewayDep) -> JSONResponse:
    """The clinic's rule of two-factor authentication."""
    return _security(await gateway.clinics.security(access.signed_in))


@router.patch("/v1/clinic/security", response_model=SecurityView)
async def patch_security(
    access: _FreshAdministrator,
    gateway: GatewayDep,
    body: PatchSecurity,
    if_match: Annotated[str | None, Header()] = None,
) -> JSONResponse:
    """Change the rule; it holds for every session from its next request on."""
    change = RuleChange(
        require_two_factor=body.require_two_factor,
        methods=None if body.methods is None else in_order(Method(method) for method in body.methods),
        phone_required=body.phone_required,
    )
    versions = versions_of(if_match)
    return _security(await gateway.clinics.change_security(access.signed_in, access.client, change, versions))


def clinic_as_json(clinic: Clinic) -> dict[str, Any]:
    return {
        "id": clinic.id,
        "slug": clinic.slug,
        "name": clinic.name,
        "timezone": clinic.timezone,
        "country": clinic.country,
        "locale": clinic.locale,
        "created_at": rfc3339(clinic.created_at),
    }


def versions_of(if_match: str | None) -> frozenset[int] | None:
    """The versions that If-Match names (RFC 9110, 13.1.1); None for any. A weak or foreign tag matches nothing."""
    if if_match is None or if_match.strip() == "*":
        return None
    tags = _ENTITY_TAG.findall(if_match)
    return frozenset(int(tag) for weak, tag in tags if not weak and re.fullmatch(r"[0-9]{1,18}", tag))


def _security(rule: SecurityRule) -> JSONResponse:
    body = {
        "require_two_factor": rule.require_two_factor,
        "enforce_from": rfc3339(rule.enforce_from) if rule.enforce_from else None,
        "methods": [method.value for method in rule.methods],
        "phone_required": rule.phone_required,
        "remember_device_days": rule.remember_device_days,
        "idle_minutes": rule.idle_minutes,
        "sms_countries": list(rule.sms_countries),
        "sms_daily_cap": rule.sms_daily_cap,
        "holds": [],  # integrations cannot set any yet
        "version": rule.version,
    }
    return JSONResponse(body, headers={"ETag": f'"{rule.version}"'})
