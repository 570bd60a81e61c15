"""The one canonical form of a typed code. What has no canonical form is never compared and costs no guess.

Spaces, hyphens and zero-width characters are dropped; nothing else is forgiven: full-width digits look like digits but
are not (A13), and a code in another dress must not pass as another code (A17).
"""

import re
import unicodedata

from services.otp.model import Method

CROCKFORD = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
_LONGEST = 100  # a paste with stray spaces fits; megabytes do not
_SIX_DIGITS = re.compile(r"[0-9]{6}")
_BACKUP_CODE = re.compile(rf"[{CROCKFORD}]{{16}}")
_READ_ALIKE = str.maketrans({"O": "0", "I": "1", "L": "1"})
_MINUS = "\u2212"


def canonical(method: Method, typed: str) -> str | None:
    """The code as it is compared, or None where its shape is wrong for the method."""
    if len(typed) > _LONGEST:
        return None
    code = typed if typed.isascii() and typed.isalnum() else "".join(filter(_counts, typed))
    if method is Method.BACKUP_CODE:
        # ASCII only before upper(): it would turn a dotless i, say, into an I.
        code = code.upper().translate(_READ_ALIKE) if code.isascii() else ""
        return code if _BACKUP_CODE.fullmatch(code) else None
    return code if _SIX_DIGITS.fullmatch(code) else None


def _counts(character: str) -> bool:
    if character.isspace() or character == _MINUS:
        return False
    return unicodedata.category(character) not in ("Cf", "Pd")
