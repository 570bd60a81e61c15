"""What an administrator types about a person, read with care: each field that cannot be is refused with what helps, all
of them at once."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

from services.common.errors import ErrorCode, ServiceError
from services.identity import particulars
from services.identity.model import Clinic, Role
from services.identity.pages.form import Fields
from services.identity.pages.speech.marking import marked
from services.identity.phones import normalised
from services.identity.policy_words import Requirement

_MOST_REASON = 300
_FURTHEST = timedelta(days=3650)
_NO_NAME = marked("Type a name of at most 100 characters.")
_NO_EMAIL = marked("Type a whole e-mail address, such as mina@harbour.example.")
_NO_ROLE = marked("Choose one of the roles.")
_NO_REQUIREMENT = marked("Choose what is required.")
_NO_REMOVAL = marked("A number that is on file can be replaced, and not removed.")
_NO_REASON = marked("Say why in a sentence, so that a colleague understands it later.")
_LONG_REASON = marked("Say it in at most 300 characters, without line breaks.")
_NO_MOMENT = marked("Choose a day and a time.")
_PAST = marked("Choose a time to come.")
_FAR = marked("Choose a time within ten years.")
_NO_MINUTES = marked("Type a number of minutes from 1 to 1440, which is 24 hours.")
SOMETHING = marked("Something is not right yet: please look at what is marked.")


class Reading:
    """One form being read."""

    def __init__(self, fields: Fields) -> None:
        self._fields = fields
        self._errors: list[dict[str, str]] = []

    def name(self) -> str:
        return self._checked("name", particulars.is_name, _NO_NAME)

    def email(self) -> str:
        return self._checked("email", particulars.is_email, _NO_EMAIL)

    def role(self) -> Role:
        try:
            return Role(self._fields("role"))
        except ValueError:
            self._wrong("role", _NO_ROLE)
            return Role.RECEPTIONIST

    def requirement(self) -> Requirement:
        try:
            return Requirement(self._fields("requirement"))
        except ValueError:
            self._wrong("requirement", _NO_REQUIREMENT)
            return Requirement.CLINIC_DEFAULT

    def phone(self, clinic: Clinic, on_file: str | None = None) -> str | None:
        """In E.164; None where none was typed. A number that is on file is replaced, and never taken away."""
        typed = self._fields("phone").strip()
        if not typed:
            if on_file is not None:
                self._wrong("phone", _NO_REMOVAL)
            return None
        try:
            return normalised(typed, clinic.country)
        except ServiceError as error:
            self._errors += error.members["errors"]
            return None

    def reason(self, name: str, *, needed: bool = True) -> str:
        text = self._fields(name).strip()
        if needed and not text:
            self._wrong(name, _NO_REASON)
        elif len(text) > _MOST_REASON or not text.isprintable():
            self._wrong(name, _LONG_REASON)
        return text

    def moment(self, name: str, clinic: Clinic, now: datetime) -> datetime | None:
        """Of the clinic's clock; None where none was chosen."""
        typed = self._fields(name).strip()
        if not typed:
            return None
        try:
            at = datetime.fromisoformat(typed).replace(tzinfo=ZoneInfo(clinic.timezone)).astimezone(UTC)
        except (ValueError, OverflowError):
            self._wrong(name, _NO_MOMENT)
            return None
        if at <= now or at > now + _FURTHEST:
            self._wrong(name, _PAST if at <= now else _FAR)
        return at

    def minutes(self, name: str, most: int) -> int:
        typed = self._fields(name).strip()
        if typed.isascii() and typed.isdigit() and len(typed) < 6 and 1 <= int(typed) <= most:
            return int(typed)
        self._wrong(name, _NO_MINUTES)
        return 0

    def ticked(self, name: str) -> bool:
        return self._fields(name) == "yes"

    def check(self) -> None:
        """Raises `invalid-request` where anything was not right."""
        if self._errors:
            raise ServiceError(ErrorCode.INVALID_REQUEST, SOMETHING, errors=self._errors)

    def _checked(self, name: str, is_one: Callable[[str], bool], wrong: str) -> str:
        text = self._fields(name).strip()
        if not is_one(text):
            self._wrong(name, wrong)
        return text

    def _wrong(self, name: str, message: str) -> None:
        self._errors.append({"field": name, "message": message})
