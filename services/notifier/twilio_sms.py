"""Twilio through its official client: one call a message, and what its answer makes certain.

Twilio's Messages API has no idempotency key, so a call whose answer is lost is UNKNOWN, never repeated here. The client
has no timeout of its own and would keep connections open between calls; here every call has both a timeout and a
connection of its own, because a kept connection that the other side has just closed looks like a lost answer.
"""

import email.utils
import math
import ssl
import time
from collections.abc import Iterator
from typing import Any

import requests
import urllib3
from twilio.base.exceptions import TwilioException, TwilioRestException, TwilioServiceException
from twilio.http.http_client import TwilioHttpClient
from twilio.http.response import Response
from twilio.request_validator import RequestValidator
from twilio.rest import Client

from services.notifier.model import Outcome, Text, Verdict

# What urllib3 raises only before a byte of the request has left.
_NEVER_LEFT = (
    urllib3.exceptions.NewConnectionError,  # refused, no route, no such name
    urllib3.exceptions.ConnectTimeoutError,
    urllib3.exceptions.ProxyError,
    ssl.SSLCertVerificationError,
)


class TwilioSms:
    """One Twilio account, or its stand-in at another `base_url`."""

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
    ) -> None:
        self.name = name
        self._client = Client(account_sid, auth_token, http_client=_HttpClient(timeout_seconds))
        self._client.api.base_url = base_url.rstrip("/")
        self._validator = RequestValidator(auth_token)
        # A messaging service picks the sender itself; with both, the service is what was meant.
        self._from = {"messaging_service_sid": messaging_service_sid} if messaging_service_sid else {"from_": sender}

    def send(self, text: Text) -> Outcome:
        optional = {"status_callback": text.status_callback} if text.status_callback else {}
        try:
            message = self._client.messages.create(
                to=text.to, body=text.body, validity_period=text.valid_seconds, **self._from, **optional
            )
        except _AskedToWait as asked:
            return Outcome(Verdict.BUSY, "rate_limited", code=429, retry_after=asked.seconds)
        except (TwilioRestException, TwilioServiceException) as error:
            return _refusal(int(error.status), error.code)
        except requests.RequestException as error:
            if any(isinstance(cause, _NEVER_LEFT) for cause in _causes(error)):
                return Outcome(Verdict.NOT_SENT, "not_reached")
            return Outcome(Verdict.UNKNOWN, "no_answer")
        except (TwilioException, ValueError, TypeError, AttributeError, KeyError):
            return Outcome(Verdict.UNKNOWN, "not_understood")
        sid = message.sid
        if not isinstance(sid, str) or not sid:
            return Outcome(Verdict.UNKNOWN, "not_understood")
        return Outcome(Verdict.ACCEPTED, sid=sid)

    def signed(self, url: str, form: dict[str, str], signature: str) -> bool:
        return bool(signature) and bool(self._validator.validate(url, form, signature))


class _AskedToWait(Exception):
    """429. The client's own exception would drop the Retry-After header."""

    def __init__(self, seconds: float | None) -> None:
        super().__init__("rate limited")
        self.seconds = seconds


class _HttpClient(TwilioHttpClient):  # type: ignore[misc]  # the package has no types
    """The official HTTP client, with a fresh connection for each call and an eye on 429."""

    def __init__(self, timeout_seconds: float) -> None:
        super().__init__(timeout=timeout_seconds, pool_connections=False)

    def request(self, *args: Any, headers: dict[str, str] | None = None, **kwargs: Any) -> Response:
        response = super().request(*args, headers={**(headers or {}), "Connection": "close"}, **kwargs)
        self._test_only_last_request = None  # it holds a number and a code
        if response.status_code == requests.codes.too_many_requests:
            raise _AskedToWait(_retry_after((response.headers or {}).get("Retry-After")))
        return response


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


def _causes(error: BaseException) -> Iterator[BaseException]:
    """The exceptions that this one wraps; requests and urllib3 keep them in different places."""
    waiting: list[Any] = [error]
    seen: set[int] = set()
    while waiting:
        current = waiting.pop()
        if not isinstance(current, BaseException) or id(current) in seen:
            continue
        seen.add(id(current))
        yield current
        waiting += [getattr(current, "reason", None), getattr(current, "original_error", None), *current.args]
        waiting.append(current.__cause__)
