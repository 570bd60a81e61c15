"""The session cookie of the pages, and the CSRF token that belongs to it; the marker of a shared computer, the
tokens of remembered browsers, and what any browser is known again by.

`__Host-` binds the cookie to this host, to https and to the whole path; over plain http on loopback, where browsers
refuse that, it has a plain name and no Secure.
"""

import hashlib
import hmac
import re
import secrets
from collections.abc import Iterable, Mapping
from typing import Any

from services.identity.model import ClinicId, SessionId, email_key, slug_key

_NAME = "countersign"
_LONGEST = 400 * 24 * 3600  # browsers keep no cookie for longer
_KNOWN_BY = re.compile(r"[A-Za-z0-9_-]{20,64}")
_DEVICE_FOR = 90 * 24 * 3600  # no clinic may remember a browser for longer


class Cookies:
    def __init__(self, csrf_key: bytes, *, is_https: bool) -> None:
        self._key = hashlib.sha256(b"csrf:" + csrf_key).digest()
        self._shared_key = hashlib.sha256(b"shared device:" + csrf_key).digest()
        self._is_https = is_https
        self.name = f"__Host-{_NAME}" if is_https else _NAME
        self.shared_name = f"{self.name}-shared"
        self._browser_name = f"{self.name}-browser"
        self._browser_prefix = f"{self._browser_name}="

    def session(self, token: str) -> dict[str, Any]:
        """Arguments for `Response.set_cookie`. It ends with the browser; the session's own ends are the server's."""
        return {**self._attributes(), "value": token}

    def gone(self) -> dict[str, Any]:
        """Arguments for `Response.set_cookie` that drop the cookie."""
        return {**self._attributes(), "value": "", "max_age": 0}

    def shared_marker(self, clinic_id: ClinicId) -> dict[str, Any]:
        """Arguments for `Response.set_cookie` that mark a browser as a shared computer, wherever it signs in."""
        body = f"{clinic_id}.{secrets.token_urlsafe(16)}"
        value = f"{body}.{self._signature(body)}"
        return {**self._attributes(self.shared_name), "value": value, "max_age": _LONGEST}

    def shared_marker_gone(self) -> dict[str, Any]:
        return {**self._attributes(self.shared_name), "value": "", "max_age": 0}

    def is_shared(self, cookies: Mapping[str, str]) -> bool:
        """Whether an administrator has marked the browser that sends these. It only ever takes something away."""
        body, _, signature = cookies.get(self.shared_name, "").rpartition(".")
        return bool(body) and hmac.compare_digest(signature.encode(), self._signature(body).encode())

    def device_name(self, slug: str, email: str) -> str:
        """The name under which a browser keeps one person's device token: several people may use one browser."""
        return f"{self.name}-device-{hashlib.sha256(f'{slug_key(slug)}|{email_key(email)}'.encode()).hexdigest()[:16]}"

    def device(self, slug: str, email: str, token: str) -> dict[str, Any]:
        """Arguments for `Response.set_cookie`; how long it is good for is the server's to say."""
        return {**self._attributes(self.device_name(slug, email)), "value": token, "max_age": _DEVICE_FOR}

    def browser(self, known_by: str) -> dict[str, Any]:
        """Arguments for `Response.set_cookie` by which a browser is known again: a new one is told to its owner."""
        return {**self._attributes(self._browser_name), "value": known_by, "max_age": _LONGEST}

    def browser_in(self, headers: Iterable[tuple[bytes, bytes]]) -> str:
        """What the browser that sends these is known by; '' where it is not."""
        for name, value in headers:
            if name == b"cookie":
                for part in value.decode("latin-1").split(";"):
                    found = part.strip()
                    if found.startswith(self._browser_prefix):
                        known_by = found.removeprefix(self._browser_prefix)
                        return known_by if _KNOWN_BY.fullmatch(known_by) else ""
        return ""

    def csrf_token(self, session_id: SessionId) -> str:
        """The token that every mutation with this session's cookie must carry; it outlives a rotation."""
        return hmac.new(self._key, session_id.encode(), hashlib.sha256).hexdigest()

    def is_csrf_token(self, candidate: str, session_id: SessionId) -> bool:
        return hmac.compare_digest(candidate.encode(), self.csrf_token(session_id).encode())

    def _signature(self, body: str) -> str:
        return hmac.new(self._shared_key, body.encode(), hashlib.sha256).hexdigest()

    def _attributes(self, name: str = "") -> dict[str, Any]:
        return {"key": name or self.name, "path": "/", "httponly": True, "secure": self._is_https, "samesite": "lax"}
