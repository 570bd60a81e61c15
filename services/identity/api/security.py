"""The clinic's rule of two-factor authentication: read, changed, and tried out before it is changed."""

import asyncio
import json
import re
from collections.abc import AsyncIterator, Sequence
from datetime import datetime
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Header
from pydantic import AfterValidator, BaseModel, Field, StrictBool, StrictInt
from starlette.responses import JSONResponse, StreamingResponse

from services.common.errors import invalid
from services.identity.api.fields import Body, Country, Moment, moment_of, rfc3339
from services.identity.api.integrations import HoldView, Hours, IntegrationName, hold_as_json
from services.identity.api.session_view import ReasonAnswer
from services.identity.guards import Access, Admits, GatewayDep
from services.identity.model import (
    Method,
    Role,
    SessionState,
    in_order,
)
from services.identity.policy_words import (
    Hold,
    HoldTerms,
    RuleChange,
    ScheduleChange,
    SecurityRule,
)
from services.identity.preview import Previewed, Totals

router = APIRouter(tags=["clinic"])

_Administrator = Annotated[Access, Depends(Admits.active(role=Role.ADMIN))]
_FreshAdministrator = Annotated[Access, Depends(Admits.active(role=Role.ADMIN, step_up=True))]
_ENCODE = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode
_WRITTEN_AT_ONCE = 200
_ENTITY_TAG = re.compile(r'(W/)?"([^"]*)"')


def _each_once(values: list[Any]) -> list[Any]:
    return list(dict.fromkeys(values))


Countries = Annotated[list[Country], Field(min_length=1, max_length=250), AfterValidator(_each_once)]


class SecurityView(BaseModel):
    require_two_factor: bool
    enforce_from: datetime | None
    methods: list[Method]
    phone_required: bool
    remember_device_days: int
    idle_minutes: int
    sms_countries: list[str]
    sms_daily_cap: int
    holds: list[HoldView]
    version: int


class PatchSecurity(Body):
    require_two_factor: StrictBool = None  # type: ignore[assignment]  # absent, never null
    enforce_from: Moment | None = None
    """Null takes the date away; absent leaves it."""
    methods: Annotated[list[Literal["totp", "sms"]], Field(min_length=1, max_length=2)] = None  # type: ignore[assignment]
    phone_required: StrictBool = None  # type: ignore[assignment]
    remember_device_days: Annotated[StrictInt, Field(ge=0, le=90)] = None  # type: ignore[assignment]
    idle_minutes: Annotated[StrictInt, Field(ge=5, le=60)] = None  # type: ignore[assignment]
    sms_countries: Countries = None  # type: ignore[assignment]
    sms_daily_cap: Annotated[StrictInt, Field(ge=0, le=100_000)] = None  # type: ignore[assignment]


class PreviewRequest(PatchSecurity):
    """A would-be change of the rule; or, with `hold`, a would-be hold, which requires two factors if it is not said."""

    hold: IntegrationName = None  # type: ignore[assignment]
    requires_two_factor: StrictBool = None  # type: ignore[assignment]
    max_device_trust_hours: Hours = None  # type: ignore[assignment]


class PreviewedUser(BaseModel):
    id: str
    name: str
    email: str


class PreviewedView(BaseModel):
    user: PreviewedUser
    now: SessionState
    then: SessionState
    reason: ReasonAnswer
    signed_in: bool
    enrolled: bool
    exempt: bool
    has_phone: bool
    disabled: bool


class TotalsView(BaseModel):
    stopped_now: int
    stopped_at_sign_in: int
    no_factor: int
    no_phone: int
    exempt: int
    unaffected: int


class PreviewView(BaseModel):
    users: list[PreviewedView]
    totals: TotalsView


@router.get("/v1/clinic/security", response_model=SecurityView)
async def get_security(access: _Administrator, gateway: GatewayDep) -> JSONResponse:
    """The clinic's rule of two-factor authentication."""
    rule = await gateway.clinics.security(access.signed_in)
    return _security(rule, await gateway.integrations.holds(access.clinic.id, access.actor))


@router.patch("/v1/clinic/security", response_model=SecurityView)
async def patch_security(
    access: _FreshAdministrator,
    gateway: GatewayDep,
    body: PatchSecurity,
    if_match: Annotated[str | None, Header()] = None,
) -> JSONResponse:
    """Change the rule; it holds for every session from its next request on."""
    versions = versions_of(if_match)
    rule = await gateway.clinics.change_security(access.signed_in, access.client, change_of(body), versions)
    return _security(rule, await gateway.integrations.holds(access.clinic.id, access.actor))


@router.post("/v1/clinic/security/preview", response_model=PreviewView)
async def post_preview(access: _Administrator, gateway: GatewayDep, body: PreviewRequest) -> StreamingResponse:
    """What a change of the rule, or a hold, would do to everybody, before it is made."""
    of_hold = {"requires_two_factor", "max_device_trust_hours"}
    if body.hold is None:
        for name in of_hold & body.model_fields_set:
            raise invalid(name, "This belongs to a hold; name it.")
        found, totals = await gateway.previews.of_rule(access.signed_in, change_of(body))
    else:
        for name in body.model_fields_set - of_hold - {"hold"}:
            raise invalid(name, "Look at a change of the rule, or at a hold; not at both at once.")
        requires = True if body.requires_two_factor is None else body.requires_two_factor
        terms = HoldTerms(body.hold, requires, body.max_device_trust_hours)
        found, totals = await gateway.previews.of_hold(access.signed_in, terms)
    return StreamingResponse(_written(found, totals), media_type="application/json")


def versions_of(if_match: str | None) -> frozenset[int] | None:
    """The versions that If-Match names (RFC 9110, 13.1.1); None for any. A weak or foreign tag matches nothing."""
    if if_match is None or if_match.strip() == "*":
        return None
    tags = _ENTITY_TAG.findall(if_match)
    return frozenset(int(tag) for weak, tag in tags if not weak and re.fullmatch(r"[0-9]{1,18}", tag))


def change_of(body: PatchSecurity) -> RuleChange:
    """What the fields ask for, as the operations take it."""
    moment = None if body.enforce_from is None else moment_of(body.enforce_from)
    return RuleChange(
        require_two_factor=body.require_two_factor,
        schedule=ScheduleChange(moment) if "enforce_from" in body.model_fields_set else None,
        methods=None if body.methods is None else in_order(Method(method) for method in body.methods),
        phone_required=body.phone_required,
        remember_device_days=body.remember_device_days,
        idle_minutes=body.idle_minutes,
        sms_countries=None if body.sms_countries is None else tuple(body.sms_countries),
        sms_daily_cap=body.sms_daily_cap,
    )


def _security(rule: SecurityRule, holds: list[Hold]) -> JSONResponse:
    body = {
        "require_two_factor": rule.require_two_factor,
        "enforce_from": rfc3339(rule.enforce_from) if rule.enforce_from else None,
        "methods": [method.value for method in rule.methods],
        "phone_required": rule.phone_required,
        "remember_device_days": rule.remember_device_days,
        "idle_minutes": rule.idle_minutes,
        "sms_countries": list(rule.sms_countries),
        "sms_daily_cap": rule.sms_daily_cap,
        "holds": [hold_as_json(hold) for hold in holds],
        "version": rule.version,
    }
    return JSONResponse(body, headers={"ETag": f'"{rule.version}"'})


async def _written(found: Sequence[Previewed], totals: Totals) -> AsyncIterator[str]:
    """The answer about thousands in parts, between which others are served. What many share is written once."""
    reasons: dict[int, str] = {}

    def written(one: Previewed) -> str:
        if (reason := reasons.get(id(one.reason))) is None:
            reason = reasons[id(one.reason)] = _ENCODE(one.reason.as_json())
        return f'{_ENCODE(_previewed(one))[:-1]},"reason":{reason}}}'

    yield '{"users":['
    for start in range(0, len(found), _WRITTEN_AT_ONCE):
        yield ("," if start else "") + ",".join([written(one) for one in found[start : start + _WRITTEN_AT_ONCE]])
        await asyncio.sleep(0)
    yield f'],"totals":{_ENCODE(_totals(totals))}}}'


def _previewed(one: Previewed) -> dict[str, Any]:
    """All but the reason."""
    return {
        "user": {"id": one.user.id, "name": one.user.name, "email": one.user.email},
        "now": one.now.value,
        "then": one.then.value,
        "signed_in": one.has_session,
        "enrolled": one.has_factor,
        "exempt": one.is_exempt,
        "has_phone": one.user.has_phone,
        "disabled": one.user.is_disabled,
    }


def _totals(totals: Totals) -> dict[str, int]:
    return {name: getattr(totals, name) for name in Totals.__slots__}
