"""Messages as Twilio's API speaks of them: a message's JSON, error codes, the checks of a request, the signature of a
callback, and the faults that the stand-in can be told to show. Knows no HTTP server."""

import base64
import hashlib
import hmac
import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import format_datetime
from typing import Any
from urllib.parse import urlsplit

API = "/2010-04-01/Accounts/{account_sid}/Messages"
_E164 = re.compile(r"\+[1-9][0-9]{6,14}")
_SENDER = re.compile(r"\+[1-9][0-9]{6,14}|[0-9]{4,8}|(?=.*[A-Za-z])[A-Za-z0-9 ]{1,11}")
_LONGEST_BODY = 1600
_LONGEST_VALIDITY_SECONDS = 36_000
ERRORS = {
    20001: "Invalid parameter",
    20003: "Authenticate",
    20404: "The requested resource was not found",
    20429: "Too Many Requests",
    20500: "An internal server error has occurred",
    21211: "Invalid 'To' Phone Number",
    21212: "Invalid 'From' Number",
    21408: "Permission to send an SMS has not been enabled for the region indicated by the 'To' number",
    21602: "Message body is required.",
    21603: "A 'From' phone number is required.",
    21604: "A 'To' phone number is required.",
    21609: "The 'StatusCallback' URL is not a valid URL.",
    21610: "Attempt to send to unsubscribed recipient",
    21614: "'To' number is not a valid mobile number",
    21617: "The concatenated message body exceeds the 1600 character limit.",
}


@dataclass(slots=True)
class Message:
    """One message that was taken."""

    account_sid: str
    to: str
    body: str
    sender: str | None
    messaging_service_sid: str | None
    status_callback: str | None
    sid: str = field(default_factory=lambda: f"SM{secrets.token_hex(16)}")
    status: str = "queued"
    ends_as: str = "delivered"
    ends_with: int | None = None
    error_code: int | None = None
    created_at: datetime = field(default_factory=lambda: datetime.now(UTC))
    sent_at: datetime | None = None
    updated_at: datetime = field(default_factory=lambda: datetime.now(UTC))

    def as_twilio_says(self) -> dict[str, Any]:
        uri = f"{API.format(account_sid=self.account_sid)}/{self.sid}"
        return {
            "account_sid": self.account_sid,
            "api_version": "2010-04-01",
            "body": self.body,
            "date_created": format_datetime(self.created_at),
            "date_sent": format_datetime(self.sent_at) if self.sent_at else None,
            "date_updated": format_datetime(self.updated_at),
            "direction": "outbound-api",
            "error_code": self.error_code,
            "error_message": ERRORS.get(self.error_code) if self.error_code else None,
            "from": self.sender,
            "messaging_service_sid": self.messaging_service_sid,
            "num_media": "0",
            "num_segments": "1" if len(self.body) <= 160 else str(-(-len(self.body) // 153)),
            "price": None,
            "price_unit": "USD",
            "sid": self.sid,
            "status": self.status,
            "subresource_uris": {"media": f"{uri}/Media.json"},
            "to": self.to,
            "uri": f"{uri}.json",
        }

    def as_inbox_says(self) -> dict[str, Any]:
        at = self.created_at.isoformat().replace("+00:00", "Z")
        return {"sid": self.sid, "to": self.to, "body": self.body, "status": self.status, "created_at": at}


@dataclass(slots=True)
class Fault:
    """What goes wrong for the next `count` messages (to one number, where `to` is given)."""

    kind: str
    count: int = 1
    to: str | None = None
    retry_after: float = 1
    seconds: float = 30
    code: int = 30003

    @classmethod
    def parse(cls, given: Any) -> "Fault":
        if not isinstance(given, dict) or set(given) - {"kind", "count", "to", "retry_after", "seconds", "code"}:
            raise ValueError("a fault is {kind, count?, to?, retry_after?, seconds?, code?}")
        fault = cls(**{**given, "kind": str(given.get("kind"))})
        known = fault.kind in {"429", "401", "500", "hang", "drop_after_accept", "garbage", "slow", "undelivered"}
        if not known and not re.fullmatch(r"[1-9][0-9]{4}", fault.kind):
            raise ValueError(f"no such kind of fault: {fault.kind}")
        return fault


def sign(auth_token: str, url: str, form: Mapping[str, str]) -> str:
    """X-Twilio-Signature: HMAC-SHA1 under the Auth Token over the URL and the sorted names and values of the form."""
    text = url + "".join(f"{name}{form[name]}" for name in sorted(form))
    return base64.b64encode(hmac.new(auth_token.encode(), text.encode(), hashlib.sha1).digest()).decode()


def what_is_wrong(form: Mapping[str, str]) -> int | None:
    """Twilio's error code for a request that it would not take."""
    callback = form.get("StatusCallback")
    validity = form.get("ValidityPeriod", "1")
    checks = {
        21604: not form.get("To"),
        21211: not _E164.fullmatch(form.get("To", "")),
        21603: not (form.get("From") or re.fullmatch(r"MG[0-9a-fA-F]{32}", form.get("MessagingServiceSid", ""))),
        21212: bool(form.get("From")) and not _SENDER.fullmatch(form["From"]),
        21602: not form.get("Body"),
        21617: len(form.get("Body", "")) > _LONGEST_BODY,
        21609: bool(callback) and urlsplit(callback).scheme not in ("http", "https"),
        20001: not (validity.isdecimal() and 1 <= int(validity) <= _LONGEST_VALIDITY_SECONDS),
    }
    return next((code for code, wrong in checks.items() if wrong), None)
