"""Hands notices to the notifier: at once after the commit that wrote one here, and every few seconds those that another
replica, or a process that died, has left. Nobody waits for it. The notifier takes a notice once, whoever hands it over.

What it does not take is tried again, ever later, for a day; then its contact data goes and the app alone shows it. One
that fails holds up no other, nor does a number that cannot be had hold up the e-mail.
"""

import asyncio
from dataclasses import replace
from datetime import timedelta

from prometheus_client import Counter

from services.common.clock import Clock
from services.common.errors import ErrorCode, ServiceError, unavailable
from services.common.logs import get_logger
from services.common.sealing import DamagedError, SealingError
from services.identity.notice_words import TOLD_WITHIN, DueNotice
from services.identity.peers.notifier import NotifierPeer
from services.identity.sms_terms import TermsOfClinics
from services.identity.store.notices import NoticeStore
from services.identity.store.numbers import PhoneNumbers

TOLD = Counter("identity_notices_told_total", "Notices by what became of them.", ["outcome"])

_SWEEP_SECONDS = 3.0
_BATCH = 20
_FIRST_AGAIN = timedelta(seconds=10)
_LONGEST_WAIT = timedelta(minutes=10)
_NEVER = frozenset({ErrorCode.INVALID_REQUEST, ErrorCode.CONFLICT})

_log = get_logger(__name__)


class Teller:
    def __init__(
        self,
        store: NoticeStore,
        numbers: PhoneNumbers,
        notifier: NotifierPeer,
        terms: TermsOfClinics,
        clock: Clock,
        sweep_seconds: float = _SWEEP_SECONDS,
    ) -> None:
        self._store = store
        self._numbers = numbers
        self._notifier = notifier
        self._terms = terms
        self._clock = clock
        self._sweep_seconds = sweep_seconds

    async def tell(self) -> int:
        """Tells what is due; answers how many that was."""
        found = await self._store.claim(self._clock.now(), _BATCH, _FIRST_AGAIN, _LONGEST_WAIT)
        await asyncio.gather(*(self._tell(notice) for notice in found))
        return len(found)

    async def keep_telling(self) -> None:
        """Until it is cancelled."""
        while True:
            try:
                while await self.tell() == _BATCH:
                    pass
            except ServiceError as error:
                _log.warning("notices_not_read", error_code=error.code.value)
            except Exception:
                _log.exception("telling_failed")
            await self._store.wait(self._sweep_seconds)

    async def _tell(self, notice: DueNotice) -> None:
        now = self._clock.now()
        if now >= notice.at + TOLD_WITHIN:
            await self._settle(notice, "too_late")
            return
        try:
            is_told = await self._hand_over_what_opens(notice)
        except ServiceError as error:
            TOLD.labels("put_off").inc()
            _log.info("notice_put_off", notice_id=notice.id, kind=notice.kind.value, error_code=error.code.value)
            return
        except Exception:
            TOLD.labels("put_off").inc()
            _log.exception("notice_not_told", notice_id=notice.id, kind=notice.kind.value)
            return
        await self._settle(notice, "told" if is_told else "refused")

    async def _hand_over_what_opens(self, notice: DueNotice) -> bool:
        """A number that is lost for good is left out; one whose key is not here may come, and the e-mail goes first."""
        try:
            phone = self._numbers.opened(notice.user_id, notice.phone)
        except DamagedError:
            _log.error("notice_number_damaged", notice_id=notice.id, user_id=notice.user_id)
            return await self._hand_over(notice, None)
        except SealingError as error:
            await self._hand_over(notice, None)
            raise unavailable("keyring") from error
        return await self._hand_over(notice, phone)

    async def _hand_over(self, notice: DueNotice, phone: str | None) -> bool:
        """False where neither number nor address can be reached."""
        if phone is None and notice.email is None:
            return False
        try:
            terms = await self._terms.of(notice.clinic_id) if phone else None
            await self._notifier.notify(notice, phone, notice.email, terms)
        except ServiceError as error:
            if error.code not in _NEVER:
                raise
            _log.warning("notice_refused", notice_id=notice.id, kind=notice.kind.value, error_code=error.code.value)
            if phone is None or notice.email is None:
                return False
        else:
            return True
        # One of the two cannot be reached; the other may.
        by_text = await self._hand_over(replace(notice, email=None), phone)
        by_mail = await self._hand_over(notice, None)
        return by_text or by_mail

    async def _settle(self, notice: DueNotice, outcome: str) -> None:
        TOLD.labels(outcome).inc()
        await self._store.settle(notice.id, self._clock.now() if outcome == "told" else None)
