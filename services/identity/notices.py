"""What somebody is told in the app of what happened to their account: sentences, newest first, until dismissed. They
say what, when and where from; never a code, a link or a number. Names only of people of the same clinic."""

from dataclasses import dataclass
from datetime import datetime
from zoneinfo import ZoneInfo

from services.common.clock import Clock
from services.common.errors import ErrorCode, ServiceError
from services.identity.model import SignedIn
from services.identity.notice_words import KEPT_FOR, KeptNotice, NoticeKind
from services.identity.store.notices import NoticeStore

_OPERATOR = "The operator of this service"
_TELL = "If that was not you, tell your administrator."
_AT_ONCE = "If that was not you, tell your administrator at once."
_FACTORS = {
    "totp": {
        NoticeKind.FACTOR_ADDED: "An authenticator app was set up for your account",
        NoticeKind.FACTOR_CHANGED: "Your authenticator app was replaced",
        NoticeKind.FACTOR_REMOVED: "Your authenticator app was turned off",
    },
    "sms": {
        NoticeKind.FACTOR_ADDED: "Codes by text message were set up for your account",
        NoticeKind.FACTOR_CHANGED: "Codes by text message were set up anew for your account",
        NoticeKind.FACTOR_REMOVED: "Codes by text message were turned off",
    },
}
_NEW_FACTOR = {"totp": "an authenticator app", "sms": "codes by text message"}


@dataclass(frozen=True, slots=True)
class ShownNotice:
    notice: KeptNotice
    sentence: str


class Notices:
    def __init__(self, store: NoticeStore, clock: Clock) -> None:
        self._store = store
        self._clock = clock

    async def own(self, signed_in: SignedIn) -> list[ShownNotice]:
        """What the user has not dismissed, newest first."""
        found = await self._store.shown_to(signed_in.user.id)
        return [ShownNotice(notice, sentence_of(notice, signed_in.clinic.timezone)) for notice in found]

    async def dismiss(self, signed_in: SignedIn, notice_id: str) -> None:
        if not await self._store.dismiss(signed_in.user.id, notice_id, self._clock.now()):
            raise ServiceError(ErrorCode.NOT_FOUND, "There is no such notice.")

    async def purge(self) -> int:
        """Drops what is too old to be told of; how many."""
        return await self._store.purge(self._clock.now() - KEPT_FOR)


def sentence_of(notice: KeptNotice, timezone: str) -> str:
    """The notice in words; times in the clinic's zone, which is named."""
    kind, detail = notice.kind, notice.detail
    when = f"on {moment_in_words(notice.at, timezone)}"
    here = when + _origin(notice)
    whose, by = notice.whose or "Someone", notice.by or ("An app" if detail.get("by") == "app" else _OPERATOR)
    factor = _NEW_FACTOR.get(detail.get("method", ""), "a second factor")
    if kind in (NoticeKind.FACTOR_ADDED, NoticeKind.FACTOR_CHANGED, NoticeKind.FACTOR_REMOVED):
        return f"{_FACTORS[detail['method']][kind]} {here}. {_TELL}"
    if kind is NoticeKind.BYPASS_GRANTED:
        also = " What you had set up for codes is suspended." if detail.get("suspended") else ""
        return (
            f"{by} let you sign in once without a code, to set up a second factor, {when}.{also}"
            " If you did not ask for that, tell your administrator."
        )
    if kind is NoticeKind.BYPASS_USED:
        return f"Someone signed in to your account {here}, with the permission to do so once without a code. {_AT_ONCE}"
    if kind is NoticeKind.BYPASS_ENROLLED:
        return (
            f"After a sign-in without a code, {factor} took the place of all that was set up for your account, {here}."
            f" {_AT_ONCE}"
        )
    if kind is NoticeKind.GRANTED_BYPASS_USED:
        return (
            f"{whose} signed in {here}, as you had allowed once without a code. If that was not {whose}, undo it within"
            " 24 hours."
        )
    if kind is NoticeKind.GRANTED_BYPASS_ENROLLED:
        return (
            f"{whose} set up {factor} {here}, after the sign-in without a code that you had allowed. If that was not"
            f" {whose}, undo it within 24 hours of the sign-in."
        )
    if kind is NoticeKind.OPERATOR_BYPASS_GRANTED:
        return (
            f"{_OPERATOR} let {whose} sign in once without a code, to set up a second factor, {when}. If nobody at your"
            " clinic asked for that, take it back and ask the operator why."
        )
    if kind is NoticeKind.BACKUP_CODES_MADE:
        return f"New backup codes were made for your account {here}; older ones no longer work. {_TELL}"
    if kind is NoticeKind.BACKUP_CODES_LOW:
        left = detail.get("codes_left", 0)
        number = f"{left} backup code{'' if left == 1 else 's'}" if left else "no backup codes"
        return f"A backup code was used {here}; you have {number} left. Make new ones while you can."
    if kind is NoticeKind.GUESSES_SPENT:
        return (
            f"Too many wrong codes were typed for your account {here}. If that was not you, someone knows your"
            " password: change it, or ask your administrator."
        )
    if kind is NoticeKind.STAFF_GUESSES_SPENT:
        return (
            f"Too many wrong codes were typed for the account of {whose} {here}. If that was not {whose}, somebody has"
            " their password: reset it."
        )
    if kind is NoticeKind.PASSWORD_CHANGED:
        return f"Your password was changed {here}. {_TELL}"
    if kind is NoticeKind.PASSWORD_RESET:
        return f"A new password was set for your account {here}, with a link from your administrator. {_TELL}"
    if kind is NoticeKind.PHONE_CHANGED:
        if detail.get("by"):
            return (
                f"{by} changed the telephone number of your account {when}. If that is wrong, tell your administrator."
            )
        return f"The telephone number of your account was changed {here}. {_TELL}"
    return f"Your account was signed in to from a new browser {here}. {_TELL}"


def moment_in_words(at: datetime, timezone: str) -> str:
    """On the clock of the place: '5 March at 14:05 (Europe/Berlin)'."""
    local = at.astimezone(ZoneInfo(timezone))
    return f"{local.day} {local:%B} at {local:%H:%M} ({timezone})"


def _origin(notice: KeptNotice) -> str:
    """Where from, as far as it is known: ', from 192.0.2.7, Firefox on Windows'."""
    address = notice.detail.get("address")
    if not address:
        return ""
    return f", from {address}, {notice.detail.get('browser') or 'a browser we do not know'}"
