"""Where a browser may be led back to after a sign-in: the host of PUBLIC_URL and the origins of ALLOWED_ORIGINS, and
nowhere else that an address may name (A64)."""

from collections.abc import Set
from urllib.parse import urlsplit

_MOST = 2000
_SCHEMES = ("http", "https")


def checked(candidate: str, public_origin: str, origins: Set[str]) -> str | None:
    """The whole address, or None where nobody may be led there. A path is one on the public host."""
    # A browser reads a backslash as a slash and drops line ends and tabs: neither stands in an address of ours.
    if len(candidate) > _MOST or not all("!" <= char <= "~" and char != "\\" for char in candidate):
        return None
    if candidate.startswith("/"):
        return None if candidate.startswith("//") else public_origin + candidate
    try:
        parts = urlsplit(candidate)
    except ValueError:
        return None
    origin = f"{parts.scheme}://{parts.netloc}"
    if parts.scheme not in _SCHEMES or (origin != public_origin and origin not in origins):
        return None
    rest = candidate.removeprefix(origin)
    return candidate if rest != candidate and rest[:1] in ("", "/", "?", "#") else None


def of_forwarded(scheme: str, host: str, uri: str, public_origin: str, origins: Set[str]) -> str | None:
    """The address that a proxy says was asked for, where a browser may be led back to it."""
    if not uri.startswith("/"):
        return None
    if host == urlsplit(public_origin).netloc:
        # A second slash at the front is a path too, where the host is known: kept out of the short form.
        return checked(f"{public_origin}{uri}", public_origin, origins)
    return checked(f"{scheme}://{host}{uri}", public_origin, origins)
