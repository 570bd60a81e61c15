"""What is wrong with a field of a request, in words for the person who sent it. Never what was sent.

Every kind of error that our requests can meet has its sentence here, which a test holds to be so; a kind that is new
gets one that is vague but true.
"""

from collections.abc import Mapping
from typing import Any

from services.identity import particulars

# By pydantic's name of the error; braces are filled from what it says of the limit.
_SENTENCES: Mapping[str, str] = {
    "extra_forbidden": "There is no such field.",
    "missing": "This field is needed.",
    "model_type": "Send a JSON object.",
    "model_attributes_type": "Send a JSON object.",
    "bool_type": "Send true or false.",
    "bool_parsing": "Send true or false.",
    "int_type": "Send a whole number.",
    "int_from_float": "Send a whole number.",
    "int_parsing": "Send a whole number.",
    "int_parsing_size": "Send a whole number of fewer digits.",
    "list_type": "Send a list.",
    "string_type": "This must be text, in quotation marks.",
    "string_unicode": "This contains a character that cannot be used.",
    "greater_than_equal": "This must be {ge} or more.",
    "less_than_equal": "This must be {le} or less.",
    "string_too_short": "This must have {min_length} or more characters.",
    "string_too_long": "This must have {max_length} or fewer characters.",
    "too_short": "Name {min_length} or more.",
    "too_long": "Name {max_length} or fewer.",
    "enum": "This must be {expected}.",
    "literal_error": "This must be {expected}.",
}
_BY_PATTERN: Mapping[str, str] = {
    particulars.NAME: "Use no line breaks and no spaces at the ends.",
    particulars.EMAIL: "Please give an e-mail address such as mina@harbour.example.",
    particulars.COUNTRY: "Please give a country code (ISO 3166-1) such as DE.",
    particulars.TIMEZONE: "Please give a time zone (IANA) such as Europe/Berlin.",
    particulars.LOCALE: "Please give a language such as en-GB.",
    particulars.MOMENT: "Please give a time such as 2027-03-01T06:00:00+01:00 (RFC 3339).",
    particulars.INTEGRATION: "Use a to z, 0 to 9, dots, hyphens and underscores, and begin with a letter or a digit.",
    particulars.OPAQUE: "This was not given out here.",
    particulars.ANY: "This is empty, or contains a character that cannot be used.",
}
_VAGUE = "This is not what belongs here."


def sentence_of(error: Mapping[str, Any]) -> str:
    """The sentence for one of pydantic's errors."""
    kind, limits = error["type"], error.get("ctx", {})
    if kind == "value_error":
        return str(limits["error"])  # a validator of ours wrote it for the person
    if kind == "string_pattern_mismatch":
        return _BY_PATTERN.get(limits["pattern"], _VAGUE)
    if kind == "missing" and len(error["loc"]) == 1:
        return _SENTENCES["model_type"]  # no field: the body itself
    if limits.get("min_length") == 1 and kind == "string_too_short":
        return "This must not be empty."
    known = {name: str(limit).replace("'", "") for name, limit in limits.items()}
    return _SENTENCES.get(kind, _VAGUE).format_map(known)
