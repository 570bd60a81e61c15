"""Twilio through its official client: one call a message, and what its answer makes certain.

Twilio's Messages API has no idempotency key, so a call whose answer is lost is UNKNOWN, never repeated here; what never
left is NOT_SENT. Nothing leaves once less is left of a message's life than the provider would be told. Every call has a
connection of its own, because a kept one that the other side has just closed looks like a lost answer.
"""

import email.utils
import math
import time
from datetime import timedelta
from typing import Any

import requests
import urllib3
from twilio.base.exceptions import TwilioException, TwilioRestException, TwilioServiceException
from twilio.http import HttpClient
from twilio.http.response import Response
from twilio.request_validator import RequestValidator
from twilio.rest import Client

from services.common.clock import Clock
from services.notifier.bounded_call import BoundedCall, TooLate
from services.notifier.model import LONGEST_START, Outcome, Text, Verdict


class TwilioSms:
    """One Twilio account, or its stand-in at another `base_url`. `timeout_seconds`: for its answer, and for the
    connection too where that is less than what a call may take to begin."""

    def __init__(
        self,
        name: str,
        account_sid: str,
        auth_token: str,
        base_url: str,
        *,
        sender: str | None,
        messaging_service_sid: str | None,
        timeout_seconds: float,
        clock: Clock,
    ) -> None:
        self.name = name
        self._account = (account_sid, auth_token)
        self._base_url = base_url.rstrip("/")
        self._timeout_seconds = timeout_seconds
        self._clock = clock
        self._validator = RequestValidator(auth_token)
        # A messaging service picks the sender itself; with both, the service is what was meant.
        self._from = {"messaging_service_sid": messaging_service_sid} if messaging_service_sid else {"from_": sender}

    def send(self, text: Text) -> Outcome:
        call = BoundedCall(
            min(self._timeout_seconds, LONGEST_START.total_seconds()),
            lambda: min(self._timeout_seconds, self._seconds_left(text)),
            lambda: self._seconds_left(text) >= text.valid_seconds,
        )
        try:
            return self._send(text, call)
        except _AskedToWait as asked:
            return Outcome(Verdict.BUSY, "rate_limited", code=429, retry_after=asked.seconds)
        except (TwilioRestException, TwilioServiceException) as error:
            return _refusal(int(error.status), error.code)
        except TooLate:
            return Outcome(Verdict.NOT_SENT, "too_late")
        except (requests.RequestException, urllib3.exceptions.HTTPError, OSError):
            if not call.has_left:
                return Outcome(Verdict.NOT_SENT, "not_reached")
            return Outcome(Verdict.UNKNOWN, "no_answer")
        except (TwilioException, ValueError, TypeError, AttributeError, KeyError):
            return Outcome(Verdict.UNKNOWN, "not_understood")

    def signed(self, url: str, form: dict[str, str], signature: str) -> bool:
        return bool(signature) and bool(self._validator.validate(url, form, signature))

    def _send(self, text: Text, call: BoundedCall) -> Outcome:
        client = Client(*self._account, http_client=_HttpClient(call))
        client.api.base_url = self._base_url
        optional = {"status_callback": text.status_callback} if text.status_callback else {}
        message = client.messages.create(
            to=text.to, body=text.body, validity_period=text.valid_seconds, **self._from, **optional
        )
        sid = message.sid
        if not isinstance(sid, str) or not sid:
            return Outcome(Verdict.UNKNOWN, "not_understood")
        return Outcome(Verdict.ACCEPTED, sid=sid)

    def _seconds_left(self, text: Text) -> float:
        return (text.not_after - self._clock.now()) / timedelta(seconds=1)


class _AskedToWait(Exception):
    """429. The client's own exception would drop the Retry-After header."""

    def __init__(self, seconds: float | None) -> None:
        super().__init__("rate limited")
        self.seconds = seconds


class _HttpClient(HttpClient):  # type: ignore[misc]  # the package has no types
    """The official client's way out, for one call; it has an eye on 429."""

    def __init__(self, call: BoundedCall) -> None:
        self._call = call

    def request(
        self,
        method: str,
        url: str,
        params: dict[str, object] | None = None,
        data: dict[str, object] | None = None,
        headers: dict[str, str] | None = None,
        auth: tuple[str, str] | None = None,
        **_: Any,
    ) -> Response:
        response = self._call.request(method, url, params=params, data=data, headers=headers, auth=auth)
        if response.status_code == requests.codes.too_many_requests:
            raise _AskedToWait(_retry_after(response.headers.get("Retry-After")))
        return Response(response.status_code, response.text, response.headers)


def _refusal(status: int, code: Any) -> Outcome:
    number = code if isinstance(code, int) else None
    if status == requests.codes.unauthorized:
        return Outcome(Verdict.LOCKED_OUT, "locked_out", code=number)
    if 400 <= status < 500:
        return Outcome(Verdict.REFUSED, code=number)
    return Outcome(Verdict.UNKNOWN, "provider_failed", code=number)


def _retry_after(value: str | None) -> float | None:
    """Seconds, or a date (RFC 9110, 10.2.3)."""
    if not value:
        return None
    try:
        seconds = float(value)
    except ValueError:
        try:
            seconds = email.utils.parsedate_to_datetime(value).timestamp() - time.time()
        except ValueError:
            return None
    return max(seconds, 0.0) if math.isfinite(seconds) else None
