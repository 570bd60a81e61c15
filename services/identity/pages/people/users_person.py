"""One person, for the clinic's administrators: who they are, how they sign in, why they are asked, and what is set for
them alone. What changes them is in `users_changes` and `users_terms`; a refusal there draws this page again, with what
was typed in the form that it belongs to."""

from dataclasses import dataclass, field
from typing import Annotated, Any, Literal
from urllib.parse import quote
from zoneinfo import ZoneInfo

from fastapi import APIRouter, Depends
from starlette.requests import Request
from starlette.responses import Response

from services.common.errors import ErrorCode, ServiceError
from services.identity.bypasses import LIFE_MINUTES
from services.identity.gateway import Gateway
from services.identity.guards import Access, Admits, GatewayDep
from services.identity.model import Role, User, UserId
from services.identity.pages.form import Fields
from services.identity.pages.people.users_fields import SOMETHING
from services.identity.pages.people.users_words import REQUIREMENT_NAMES, rule_in_words, state_in_words
from services.identity.pages.rendering import lead_to, page, speech_of
from services.identity.pages.route import PageRoute
from services.identity.pages.speech.words import METHOD_NAMES, ROLE_NAMES, told
from services.identity.policy_words import Actor, BypassState, Requirement, UserSettings
from services.identity.requirements import UserOverview

router = APIRouter(route_class=PageRoute, include_in_schema=False)

_Administrator = Annotated[Access, Depends(Admits.active(role=Role.ADMIN))]
_SHOWN_BESIDE_THE_FORM = (
    ErrorCode.INVALID_REQUEST,
    ErrorCode.CONFLICT,
    ErrorCode.FORBIDDEN,
    ErrorCode.NOT_FOUND,
    ErrorCode.REQUIRED_BY_POLICY,
    ErrorCode.TOO_MANY_ATTEMPTS,
    ErrorCode.UNAVAILABLE,
)
_OWN_MISSING = "Set up two-factor authentication for yourself first"
"""How the refusal begins that only setting it up helps against."""
_BYPASS_FIELDS = {"reason": "bypass_reason", "expires_in_minutes": "minutes"}
_OF_SERVICES = {"phone": {"reason": "phone_reason"}, "bypass": _BYPASS_FIELDS}
Part = Literal["details", "account", "requirement", "phone", "bypass"]


@dataclass(frozen=True, slots=True)
class Refused:
    """A form of the page that was refused: which, why, and what was typed into it."""

    part: Part
    error: ServiceError
    typed: Fields = field(default_factory=lambda: Fields({}))


@router.get("/users/{user_id}")
async def get_person(
    request: Request, access: _Administrator, gateway: GatewayDep, user_id: UserId, done: str = ""
) -> Response:
    return await person_page(request, access, gateway, user_id, done=done)


@router.get("/users/{user_id}/{part}")
async def get_part(access: _Administrator, gateway: GatewayDep, user_id: UserId, part: str, done: str = "") -> Response:
    """Where a form is sent to: whoever opens that address later finds the person."""
    return lead_to(gateway, f"/users/{quote(user_id, safe='')}{'?done=stepped-up' if done == 'stepped-up' else ''}")


async def person_page(
    request: Request,
    access: Access,
    gateway: Gateway,
    user_id: UserId,
    *,
    done: str = "",
    refused: Refused | None = None,
) -> Response:
    """Refusals that no form of the page can help with are the route's."""
    if refused is not None and refused.error.code not in _SHOWN_BESIDE_THE_FORM:
        raise refused.error
    user = await gateway.users.one(access.clinic, access.actor, user_id)
    found = await gateway.requirements.of(access.signed_in, user.id)
    values = {
        **_about(request, access, gateway, user, found),
        **await _terms(access, gateway, user, found),
        "refused": refused.part if refused else "",
        "typed": _typed(access, user, found.settings, refused),
    }
    refusal = _with_fields_of(refused) if refused else None
    if refusal is not None:  # said beside the form that it is about, and not on top
        speech = speech_of(request)
        by_field = bool(refusal.members["errors"])
        values |= {"wrong": "", "why": speech.say(SOMETHING) if by_field else told(speech, refusal)}
        values["is_own_missing"] = refusal.detail.startswith(_OWN_MISSING)
    return page(request, "users_person.html", access=access, refusal=refusal, done=done, **values)


def _about(request: Request, access: Access, gateway: Gateway, user: User, found: UserOverview) -> dict[str, Any]:
    speech, clinic, factors = speech_of(request), access.clinic, found.overview.factors
    return {
        "user": user,
        "role": speech.say(ROLE_NAMES[user.role]),
        "roles": [(role.value, speech.say(words)) for role in Role for words in [ROLE_NAMES[role]]],
        "is_self": user.id == access.user.id,
        "state": state_in_words(speech, clinic, user, factors, found.settings, gateway.clock.now()),
        "held": [(speech.say(METHOD_NAMES[factor.method]), factor) for factor in factors.factors],
        "factors": factors,
        "sentence": found.overview.decision.reason.sentence,
        "rules": [rule_in_words(speech, clinic, rule) for rule in found.overview.decision.reason.rules],
        "requirements": [(name, speech.say(words)) for name, words in REQUIREMENT_NAMES.items()],
    }


async def _terms(access: Access, gateway: Gateway, user: User, found: UserOverview) -> dict[str, Any]:
    """What is set for the person alone, with the names of those who set it."""
    settings, said = found.settings, {rule.rule: rule.outcome for rule in found.overview.decision.reason.rules}
    bypass = settings.bypass
    return {
        "settings": settings,
        "set_by": await _name(access, gateway, settings.set_by) if settings.set_at else "",
        "phone_set_by": await _name(access, gateway, settings.phone_set_by),
        "is_held": said.get("hold") == "requires",
        "needs_phone": said.get("phone") != "not_needed" or settings.is_phone_lifted,
        "zone": access.clinic.timezone.replace("_", " "),
        "bypass": bypass,
        "is_used": bypass is not None and bypass.state is BypassState.USED,
        "granted_by": await _name(access, gateway, bypass.granted_by) if bypass else "",
        "is_exempt": settings.requirement is Requirement.EXEMPT,
    }


async def _name(access: Access, gateway: Gateway, actor: Actor | None) -> str:
    """Who it was; '' where it was the operator, an app, or somebody whom the clinic has no more."""
    if actor is None or actor.kind != "user" or not actor.id:
        return ""
    try:
        return (await gateway.users.one(access.clinic, access.actor, UserId(actor.id))).name
    except ServiceError:
        return ""


def _typed(access: Access, user: User, settings: UserSettings, refused: Refused | None) -> Fields:
    """What the page's forms hold: what stands, and in the refused one what was typed."""
    end = settings.expires_at.astimezone(ZoneInfo(access.clinic.timezone)) if settings.expires_at else None
    held = {
        "name": user.name,
        "email": user.email,
        "role": user.role.value,
        "phone": user.phone or "",
        "requirement": settings.requirement.value,
        "reason": settings.reason,
        "expires_at": f"{end:%Y-%m-%dT%H:%M}" if end else "",
        "phone_lifted": "yes" if settings.is_phone_lifted else "",
        "phone_reason": settings.phone_reason or "",
        "bypass_reason": "",
        "minutes": str(LIFE_MINUTES),
        "stolen": "",
    }
    if refused is None:
        return Fields(held)
    # A box that is not ticked is not sent at all.
    unticked = {"phone": {"phone_lifted": ""}, "bypass": {"stolen": ""}}.get(refused.part, {})
    return Fields({**held, **unticked, **dict(refused.typed.all())})


def _with_fields_of(refused: Refused) -> ServiceError:
    """The refusal with the names that the form's fields have."""
    error, names = refused.error, _OF_SERVICES.get(refused.part, {})
    errors = [{**one, "field": names.get(one["field"], one["field"])} for one in error.members.get("errors") or ()]
    return ServiceError(error.code, error.detail, **{**error.members, "errors": errors})
