"""The session cookie of the pages, and the CSRF token that belongs to it.

`__Host-` binds the cookie to this host, to https and to the whole path; over plain http on loopback, where browsers
refuse that, it has a plain name and no Secure.
"""

import hashlib
import hmac
from typing import Any

from services.identity.model import SessionId

_NAME = "countersign"


class Cookies:
    def __init__(self, csrf_key: bytes, *, is_https: bool) -> None:
        self._key = hashlib.sha256(b"csrf:" + csrf_key).digest()
        self._is_https = is_https
        self.name = f"__Host-{_NAME}" if is_https else _NAME

    def session(self, token: str) -> dict[str, Any]:
        """Arguments for `Response.set_cookie`. It ends with the browser; the session's own ends are the server's."""
        return {**self._attributes(), "value": token}

    def gone(self) -> dict[str, Any]:
        """Arguments for `Response.set_cookie` that drop the cookie."""
        return {**self._attributes(), "value": "", "max_age": 0}

    def csrf_token(self, session_id: SessionId) -> str:
        """The token that every mutation with this session's cookie must carry; it outlives a rotation."""
        return hmac.new(self._key, session_id.encode(), hashlib.sha256).hexdigest()

    def is_csrf_token(self, candidate: str, session_id: SessionId) -> bool:
        return hmac.compare_digest(candidate.encode(), self.csrf_token(session_id).encode())

    def _attributes(self) -> dict[str, Any]:
        return {"key": self.name, "path": "/", "httponly": True, "secure": self._is_https, "samesite": "lax"}
