"""Signing in and out, and proving the second factor."""

from datetime import datetime
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Header
from pydantic import BaseModel, Field, StrictBool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from services.common.errors import invalid
from services.identity.api.fields import Body, rfc3339
from services.identity.api.session_view import SessionAnswer, session_as_json
from services.identity.guards import KEY_HEADER, PUBLIC, Access, Admits, ClientDep, GatewayDep
from services.identity.lost_replies import KEY
from services.identity.model import Method
from services.identity.otp_words import (
    SmsChallenge,
)
from services.identity.particulars import ANY
from services.identity.sessions import SessionView

router = APIRouter(tags=["sessions"])

Code = Annotated[str, Field(max_length=100, examples=["492039"])]
Key = Annotated[
    str,
    Header(
        alias=KEY_HEADER,
        pattern=KEY,
        description="Random. The same again, with the same token and body, gives a reply that was lost once more: until"
        " the new token is first used, and for 60 seconds at most.",
        examples=["tW7nq2mT0bYcV9uK4rXsLg"],
    ),
]
"""Declared for who reads the document; the guard looks at it."""

_Live = Annotated[Access, Depends(Admits.waiting())]
_Proving = Annotated[Access, Depends(Admits.waiting(repeats=True))]
_Looking = Annotated[Access, Depends(Admits.waiting(renews=False))]


class SignInRequest(Body):
    clinic: Annotated[str, Field(max_length=100, pattern=ANY, examples=["harbour"])]
    email: Annotated[str, Field(max_length=320, pattern=ANY, examples=["mina@harbour.example"])]
    password: Annotated[str, Field(min_length=1, max_length=1024, examples=["tidal harbour gravel moon"])]
    device_token: Annotated[str | None, Field(max_length=200)] = None
    shared_device: StrictBool = False


class SecondFactorRequest(Body):
    method: Literal["totp", "sms", "backup_code"]
    code: Code
    remember_device: StrictBool = False


class NoFields(Body):
    """The body of a call that takes nothing: nothing, or an object with nothing in it (A42)."""


class DeliveryAnswer(BaseModel):
    status: Literal["queued", "sending", "sent", "delivered", "failed", "unknown", "expired"]
    detail: str = ""


class SmsChallengeAnswer(BaseModel):
    expires_at: datetime
    resend_after: Annotated[int, Field(ge=0)]
    phone_hint: str
    delivery: DeliveryAnswer


@router.post("/v1/sessions", status_code=201, response_model=SessionAnswer, dependencies=[PUBLIC])
async def post_session(request: Request, body: SignInRequest, gateway: GatewayDep, client: ClientDep) -> JSONResponse:
    """Sign in with e-mail and password. A good `device_token` stands for the code; a bad one is ignored."""
    view = await gateway.login.sign_in(
        body.clinic,
        body.email,
        body.password,
        client,
        shared_device=body.shared_device or gateway.cookies.is_shared(request.cookies),
        device_token=body.device_token,
    )
    return JSONResponse(session_as_json(view), status_code=201)


@router.get("/v1/session", response_model=SessionAnswer)
async def get_session(access: _Looking, gateway: GatewayDep) -> JSONResponse:
    """The session, as far as it can be said; asking does not renew its idle time."""
    standing = await gateway.standings.view(access.signed_in)
    return JSONResponse(session_as_json(SessionView(access.signed_in, standing)))


@router.delete("/v1/session", status_code=204, response_class=Response)
async def delete_session(access: _Looking, gateway: GatewayDep) -> Response:
    """Sign out."""
    await gateway.accounts.sign_out(access.signed_in, access.client)
    return Response(status_code=204)


@router.post("/v1/session/second-factor", response_model=SessionAnswer)
async def post_second_factor(
    request: Request,
    access: _Proving,
    gateway: GatewayDep,
    body: SecondFactorRequest,
    _: Key = None,  # type: ignore[assignment]  # absent
) -> JSONResponse:
    """Prove the second factor; also the step-up of an active session. The old token is dead after this."""
    if body.remember_device and (access.session.shared_device or gateway.cookies.is_shared(request.cookies)):
        raise invalid("remember_device", "A shared computer is never remembered.")
    view = await gateway.two_factor.verify(
        access.signed_in,
        access.client,
        Method(body.method),
        body.code,
        remember=body.remember_device,
        key=access.key,
    )
    return JSONResponse(session_as_json(view))


@router.post("/v1/session/second-factor/sms", status_code=202, response_model=SmsChallengeAnswer)
async def post_second_factor_sms(access: _Live, gateway: GatewayDep, _: NoFields | None = None) -> JSONResponse:
    """Send a code to the user's number."""
    challenge = await gateway.two_factor.send_sms(access.signed_in, access.client)
    return JSONResponse(_challenge_as_json(challenge, gateway.clock.now()), status_code=202)


@router.get("/v1/session/second-factor/sms", response_model=SmsChallengeAnswer)
async def get_second_factor_sms(access: _Live, gateway: GatewayDep) -> JSONResponse:
    """How the delivery of the newest code goes."""
    challenge = await gateway.two_factor.sms(access.signed_in)
    return JSONResponse(_challenge_as_json(challenge, gateway.clock.now()))


def seconds_until(moment: datetime, now: datetime) -> int:
    """Whole seconds, rounded up, never less than none."""
    return max(0, -int((now - moment).total_seconds() // 1))


def _challenge_as_json(challenge: SmsChallenge, now: datetime) -> dict[str, Any]:
    delivery = {"status": challenge.delivery_status}
    if challenge.delivery_detail:
        delivery["detail"] = challenge.delivery_detail
    return {
        "expires_at": rfc3339(challenge.expires_at),
        "resend_after": seconds_until(challenge.resend_after, now),
        "phone_hint": challenge.phone_hint,
        "delivery": delivery,
    }
