"""One telephone number is on at most three accounts (A55): whoever holds one phone must not collect codes for fifty.

Counted are confirmed SMS factors and proven numbers, over all clinics; a number is free again when the factor or the
proof goes.
"""

from datetime import datetime

from services.common.audit import AuditEvent
from services.common.errors import ErrorCode, ServiceError
from services.common.logs import get_logger
from services.otp.marks import Marks
from services.otp.model import Caller, EnrolmentKind
from services.otp.store.accounts import HeldAccount
from services.otp.store.numbers import Numbers
from services.otp.vault import Vault, sms_phone_context

MOST_ACCOUNTS = 3
_BATCH = 200

_log = get_logger(__name__)


async def is_refused(held: HeldAccount, mark: bytes, caller: Caller, kind: EnrolmentKind, now: datetime) -> bool:
    """Whether the number has all the accounts it may have, without the caller's own. That is put on record, and what is
    begun of the kind is over, so the transaction must be committed before the refusal is told."""
    if await held.numbers.count_others(mark) < MOST_ACCOUNTS:
        return False
    await held.enrolments.end_open(kind, now)
    await held.record(
        AuditEvent(
            kind="number.refused",
            at=now,
            clinic_id=caller.clinic_id,
            actor_kind="user",
            actor_id=caller.user_id,
            subject_id=caller.user_id,
            address=caller.address or None,
            detail={"reason": "too_many_accounts", "purpose": kind.value, "session_id": caller.session_id},
        )
    )
    return True


def refused() -> ServiceError:
    return ServiceError(
        ErrorCode.CONFLICT,
        "This number is already used for as many accounts as allowed. Use another number, or another way.",
    )


class NumberMarks:
    """Marks the numbers of factors that an earlier version put in force."""

    def __init__(self, numbers: Numbers, vault: Vault, marks: Marks) -> None:
        self._numbers = numbers
        self._vault = vault
        self._marks = marks
        self._after = ""

    async def catch_up(self) -> int:
        """Some of them, in the order of their users and round again; answers how many. One that does not open is passed
        by, for it proves nobody either."""
        found = await self._numbers.unmarked(self._after, _BATCH)
        self._after = found[-1]["user_id"] if len(found) == _BATCH else ""
        for row in found:
            try:
                phone = self._vault.open(row["sms_phone"], sms_phone_context(row["sms_id"], row["user_id"]))
            except ServiceError:
                continue
            await self._numbers.catch_up(row["user_id"], row["sms_id"], self._marks.number(phone))
        if found:
            _log.info("numbers_marked", count=len(found))
        return len(found)
