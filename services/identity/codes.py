"""The shape of codes. What is not shaped like one is refused before anything is compared and costs no guess (A13, A17).

Spaces, hyphens and zero-width characters are dropped; digits must be ASCII, for full-width ones are not what an
authenticator shows. A backup code is sixteen characters of Crockford's base32, where O reads as 0, and I and L as 1.
"""

import re
import unicodedata

from services.common.errors import ErrorCode, ServiceError
from services.identity.model import Method

_SIX_DIGITS = re.compile(r"[0-9]{6}")
_BACKUP = re.compile(r"[0-9A-HJKMNP-TV-Z]{16}")
_CROCKFORD = str.maketrans("OIL", "011")
_DROPPED = frozenset({"Zs", "Pd", "Cf"})  # spaces, hyphens and dashes, zero-width and other format characters
_ALSO_DROPPED = frozenset("\t\n\r\u2212")
_MOST = 100


def canonical(method: Method, typed: str) -> str:
    """The code as it is compared. Raises `invalid-request` where it has not the shape of one."""
    kept = "".join(
        char for char in typed[:_MOST] if unicodedata.category(char) not in _DROPPED and char not in _ALSO_DROPPED
    )
    if method is Method.BACKUP_CODE:
        kept = kept.upper().translate(_CROCKFORD)
        if len(typed) <= _MOST and kept.isascii() and _BACKUP.fullmatch(kept):
            return kept
        raise _refused("A backup code has sixteen letters and digits, such as 0ABC-DEFG-HJKM-NPQR.")
    if len(typed) <= _MOST and _SIX_DIGITS.fullmatch(kept):
        return kept
    raise _refused("A code has six digits, 0 to 9.")


def _refused(message: str) -> ServiceError:
    return ServiceError(
        ErrorCode.INVALID_REQUEST,
        "This does not look like a code.",
        errors=[{"field": "code", "message": message}],
    )
