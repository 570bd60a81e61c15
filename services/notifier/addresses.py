"""Rules of e-mail addresses: which may get a notice, and how one is shown. Pure.

Plain ASCII of the common form only: such an address cannot carry a second header or a second recipient.
"""

import re

_LONGEST = 254  # RFC 5321's path, less its brackets
_LABEL = r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
_ADDRESS = re.compile(rf"[A-Za-z0-9.!#$%&'*+/=?^_`{{|}}~-]{{1,64}}@{_LABEL}(?:\.{_LABEL})+")


def is_mailable(address: str) -> bool:
    return len(address) <= _LONGEST and _ADDRESS.fullmatch(address) is not None


def masked(address: str) -> str:
    """As it may be shown, e.g. "m…@example.com"."""
    local, _, domain = address.rpartition("@")
    return f"{local[:1]}…@{domain}"
