"""What a notice says, by text message and by e-mail: what happened, when, where from, and what to do about it.

Invariant: a text is two messages in GSM's letters at most, and nothing in either could have been worded by a stranger:
an address is an IP address, a browser a few plain words, or neither is said.
"""

import ipaddress
import re

from services.notifier import notice_times, sms
from services.notifier.mail_words import CLOSES, SUBJECTS
from services.notifier.model import Happening, NoticeKind, State
from services.notifier.notice_words import ADVISES, SAYS

_DEFAULT_LANGUAGE = "en"
_BROWSER = re.compile(r"[A-Za-z]+(?: [A-Za-z]+){0,5}")
_LONGEST_BROWSER = 40
_MOST_SEGMENTS = 2

_DETAILS = {
    State.FAILED: "This notice could not be sent.",
    State.UNKNOWN: "We cannot tell whether this notice was sent.",
    State.EXPIRED: "This notice could not be sent in time.",
}


def text_message(kind: NoticeKind, locale: str, happening: Happening, product: str) -> str:
    """The text. Where it would be too long it says less of where from."""
    name = sms.in_gsm(product).strip()
    address, browser = _address(happening.address), _browser(happening.browser)
    body = ""
    for where in ([address, browser], [address], []):
        said = " ".join(_sentences(kind, locale, happening, where))
        body = sms.in_gsm(f"{name}: {said}" if name else said)
        if sms.segments(body) <= _MOST_SEGMENTS:
            break
    return body


def mail(kind: NoticeKind, locale: str, happening: Happening, product: str) -> tuple[str, str]:
    """Subject and body, in plain text."""
    language = _language(locale)
    where = [_address(happening.address), _browser(happening.browser)]
    closing = CLOSES[language].format(product=product)
    subjects = SUBJECTS[language]
    subject = f"{product}: {subjects.get(kind, subjects[''])}"
    return subject, "\n\n".join((*_sentences(kind, locale, happening, where), closing)) + "\n"


def languages() -> list[str]:
    return list(SAYS)


def detail(state: State) -> str:
    """What to say of a notice that did not go well; empty while all is well."""
    return _DETAILS.get(state, "")


def _sentences(kind: NoticeKind, locale: str, happening: Happening, where: list[str]) -> tuple[str, str]:
    language = _language(locale)
    says, advises = SAYS[language], ADVISES[language]
    when = notice_times.when(language, happening.at, happening.timezone)
    if known := [each for each in where if each]:
        when += f" ({', '.join(known)})"
    sentence = says.get(f"{kind}:{happening.method}") or says[kind]
    left = max(happening.backup_codes_left, 0)
    return sentence.format(when=when, When=when[0].upper() + when[1:], left=left), advises.get(kind, advises[""])


def _language(locale: str) -> str:
    language = locale.replace("_", "-").split("-")[0].lower()
    return language if language in SAYS else _DEFAULT_LANGUAGE


def _address(given: str) -> str:
    try:
        return ipaddress.ip_address(given).compressed if "%" not in given else ""
    except ValueError:
        return ""


def _browser(given: str) -> str:
    return given if len(given) <= _LONGEST_BROWSER and _BROWSER.fullmatch(given) else ""
