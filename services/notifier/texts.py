"""What text messages say, by kind and language, and how a delivery that failed is told to the person who waits.

A text names the product and the code, and nothing else: no clinic, no person, no link (A56). Each begins with the code,
so that phones offer it for filling in, and keeps to GSM's alphabet, so that it is one message; that is why some accents
are written around. Invariant: whatever the product is called, it is one.
"""

from services.notifier import sms
from services.notifier.model import Kind, State

_DEFAULT_LANGUAGE = "en"

_TEXTS = {
    "en": {
        Kind.SIGN_IN_CODE: "{code} is your {product} code to sign in. Never tell it to anyone.",
        Kind.ENROLMENT_CODE: "{code} is your {product} code to set up this phone. Never tell it to anyone.",
        Kind.PHONE_PROOF_CODE: "{code} is your {product} code to confirm this number. Never tell it to anyone.",
    },
    "de": {
        Kind.SIGN_IN_CODE: "{code} ist Ihr {product}-Code zum Anmelden. Geben Sie ihn niemandem weiter.",
        Kind.ENROLMENT_CODE: "{code} ist Ihr {product}-Code, um dieses Telefon einzurichten. "
        "Geben Sie ihn niemandem weiter.",
        Kind.PHONE_PROOF_CODE: "{code} ist Ihr {product}-Code, um diese Nummer zu bestätigen. "
        "Geben Sie ihn niemandem weiter.",
    },
    "fr": {
        Kind.SIGN_IN_CODE: "{code} est votre code {product} de connexion. Ne le donnez à personne.",
        Kind.ENROLMENT_CODE: "{code} est votre code {product} pour activer ce téléphone. Ne le donnez à personne.",
        Kind.PHONE_PROOF_CODE: "{code} est votre code {product} pour confirmer ce numéro. Ne le donnez à personne.",
    },
    "es": {
        Kind.SIGN_IN_CODE: "{code} es su clave de {product} para entrar. No la comparta con nadie.",
        Kind.ENROLMENT_CODE: "{code} es su clave de {product} para activar este teléfono. No la comparta con nadie.",
        Kind.PHONE_PROOF_CODE: "{code} es su clave de {product} para confirmar este teléfono. "
        "No la comparta con nadie.",
    },
    "nl": {
        Kind.SIGN_IN_CODE: "{code} is uw {product}-code om in te loggen. Geef hem aan niemand door.",
        Kind.ENROLMENT_CODE: "{code} is uw {product}-code om deze telefoon in te stellen. Geef hem aan niemand door.",
        Kind.PHONE_PROOF_CODE: "{code} is uw {product}-code om dit nummer te bevestigen. Geef hem aan niemand door.",
    },
}

# Twilio's error codes (of a refusal, or of a callback that says "undelivered") → why, as the row keeps it.
_REASONS = {
    21610: "opted_out",
    21211: "bad_number",
    21214: "bad_number",
    21217: "bad_number",
    21612: "bad_number",
    21614: "not_mobile",
    21408: "country_not_served",
    30003: "unreachable",
    30004: "blocked",
    30005: "bad_number",
    30006: "not_mobile",
    30007: "blocked",
    30036: "too_late",
}
_DETAILS = {
    "opted_out": "This number has opted out of our text messages. Text START to the sender, or use another method.",
    "bad_number": "This number does not seem to exist. Please check it.",
    "not_mobile": "This number cannot receive text messages. Use a mobile number, or another method.",
    "country_not_served": "Text messages cannot be sent to this country. Please use another method.",
    "unreachable": "The phone could not be reached. Check that it is on and has reception, then ask for a new code.",
    "blocked": "The phone's network has blocked the message. Please use another method.",
    "too_late": "The message could not be delivered in time. Please ask for a new code.",
}
_FAILED = "The message could not be sent. Please try another method, or ask your administrator."
_UNKNOWN = "We cannot tell whether the message was sent. If it does not arrive, ask for a new code."
_EXPIRED = "The message could not be sent in time. Please ask for a new code."
_REPLACED = "A newer code has taken the place of this one, which was not sent."
_WAITING = "This is taking longer than usual. We keep trying."


def render(kind: Kind, locale: str, code: str, product: str) -> str:
    """The text of a message, in the locale's language where we speak it, else in English. A name that would make it two
    messages goes without its accents, or, in letters of another script, with the code alone."""
    language = locale.replace("_", "-").split("-")[0].lower()
    form = _TEXTS.get(language, _TEXTS[_DEFAULT_LANGUAGE])[kind]
    names = [product, sms.in_gsm(product).strip()] if _is_kept_in_gsm(product) else [product]
    bodies = [form.format(code=code, product=name) for name in names]
    return next((body for body in bodies if sms.segments(body) == 1), f"{code} {product}")


def languages() -> list[str]:
    return list(_TEXTS)


def _is_kept_in_gsm(name: str) -> bool:
    """Whether none of its letters goes: only accents and ornaments do."""
    return any(map(str.isalnum, name)) and all(sms.in_gsm(letter) for letter in name if letter.isalnum())


def reason_for(provider_code: int | None) -> str:
    """Why a provider's error code says a message failed."""
    return _REASONS.get(provider_code or 0, "provider")


def detail(state: State, reason: str | None) -> str:
    """What to tell the person who waits; empty while all is well."""
    if state is State.FAILED:
        return _DETAILS.get(reason or "", _FAILED)
    if state is State.QUEUED and reason:
        return _WAITING
    if state is State.EXPIRED and reason == "replaced":
        return _REPLACED
    return {State.UNKNOWN: _UNKNOWN, State.EXPIRED: _EXPIRED}.get(state, "")
