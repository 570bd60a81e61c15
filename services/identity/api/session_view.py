"""A session as JSON, the same wherever one is answered, and the model that describes it."""

from datetime import UTC, datetime, timedelta
from typing import Any, Literal

from pydantic import BaseModel

from services.identity.api.fields import rfc3339
from services.identity.model import Method, Reason, Role, RuleOutcome, SessionState
from services.identity.notices import moment_in_words
from services.identity.sessions import SessionView, Standing, acr_of, amr_of, expires_at, idle_expires_at


class ClinicName(BaseModel):
    id: str
    slug: str
    name: str


class UserName(BaseModel):
    id: str
    email: str
    name: str
    role: Role


class RuleOutcomeAnswer(BaseModel):
    rule: str
    outcome: str
    detail: str


class ReasonAnswer(BaseModel):
    sentence: str
    rules: list[RuleOutcomeAnswer]


class EnrolmentOfferAnswer(BaseModel):
    methods: list[Method]
    phone_required: bool


class UpcomingAnswer(BaseModel):
    """A rule to come that will lead this user to set up a second factor."""

    enforce_from: datetime
    sentence: str


class SessionAnswer(BaseModel):
    """Who this is, how strongly proven, and what is still missing. `token` and `device_token` come only when they are
    new; `remembered`: a browser known from before stood for the code."""

    id: str
    state: SessionState
    token: str = ""
    clinic: ClinicName
    user: UserName
    amr: list[str]
    acr: Literal["aal1", "aal2"]
    authenticated_at: datetime
    verified_at: datetime | None
    expires_at: datetime
    idle_expires_at: datetime
    methods: list[Method]
    degraded: list[Method] = []
    backup_codes_remaining: int = 0
    enrolment: EnrolmentOfferAnswer = EnrolmentOfferAnswer(methods=[], phone_required=False)
    reason: ReasonAnswer = ReasonAnswer(sentence="", rules=[])
    upcoming: UpcomingAnswer = UpcomingAnswer(enforce_from=datetime(2027, 3, 1, tzinfo=UTC), sentence="")
    remembered: bool = False
    device_token: str = ""


def session_as_json(view: SessionView) -> dict[str, Any]:
    standing, user, clinic = view.standing, view.signed_in.user, view.signed_in.clinic
    session = standing.became or view.signed_in.session
    body: dict[str, Any] = {
        "id": session.id,
        "state": standing.state.value,
        "clinic": {"id": clinic.id, "slug": clinic.slug, "name": clinic.name},
        "user": {"id": user.id, "email": user.email, "name": user.name, "role": user.role.value},
        "amr": amr_of(session),
        "acr": acr_of(session),
        "authenticated_at": rfc3339(session.authenticated_at),
        "verified_at": rfc3339(session.verified_at) if session.verified_at else None,
        "expires_at": rfc3339(expires_at(session)),
        "idle_expires_at": rfc3339(idle_expires_at(session)),
        "methods": [method.value for method in standing.methods],
    }
    if standing.degraded:
        body["degraded"] = [method.value for method in standing.degraded]
    if view.token is not None:
        body["token"] = view.token
    if view.device_token is not None:
        body["device_token"] = view.device_token
    reason = standing.reason
    if session.remembered_at is not None and session.verified_at is None and standing.state is SessionState.ACTIVE:
        body["remembered"] = True
        reason = _of_remembered(session.remembered_at, standing, clinic.timezone)
    if standing.upcoming is not None:
        moment, sentence = standing.upcoming.enforce_from, standing.upcoming.sentence
        body["upcoming"] = {"enforce_from": rfc3339(moment), "sentence": sentence}
    if standing.backup_codes_remaining is not None:
        body["backup_codes_remaining"] = standing.backup_codes_remaining
    if standing.enrolment is not None:
        body["enrolment"] = {
            "methods": [method.value for method in standing.enrolment.methods],
            "phone_required": standing.enrolment.is_phone_required,
        }
    if reason is not None:
        body["reason"] = reason.as_json()
    return body


def _of_remembered(remembered_at: datetime, standing: Standing, timezone: str) -> Reason | None:
    """Why nothing is asked now; what the decision says is what will be asked when the browser's time is over."""
    if standing.reason is None:
        return None
    until = remembered_at + timedelta(minutes=standing.remember_device_minutes)
    when = moment_in_words(until, timezone)
    said = RuleOutcome("remembered_browser", "stands_for_a_code", f"until {rfc3339(until)}")
    sentence = f"This browser is remembered until {when}, so no code is asked for in it before then."
    return Reason(sentence, (*standing.reason.rules, said))
