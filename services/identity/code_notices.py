"""Tells people of what otp did or refused: a budget of guesses newly spent, backup codes made anew. otp's own change is
done by then and on its record; should telling fail, that neither undoes nor fails it.
"""

from services.common.clock import Clock
from services.common.errors import ServiceError
from services.common.logs import get_logger
from services.identity.model import Client, SignedIn
from services.identity.notice_words import Notice, NoticeKind, guesses_spent, of_own
from services.identity.otp_words import Verdict
from services.identity.store.notices import NoticeStore

_log = get_logger(__name__)


class CodeNotices:
    def __init__(self, store: NoticeStore, clock: Clock) -> None:
        self._store = store
        self._clock = clock

    async def refused(self, signed_in: SignedIn, client: Client, verdict: Verdict) -> None:
        """A code was not accepted: where that has spent the budget, somebody may have the password."""
        if verdict.is_budget_newly_spent:
            await self._add(guesses_spent(signed_in, client, self._clock.now()))

    async def codes_made(self, signed_in: SignedIn, client: Client) -> None:
        """There are new backup codes in place of the old ones."""
        await self._add(of_own(NoticeKind.BACKUP_CODES_MADE, signed_in, client, self._clock.now()))

    async def _add(self, notice: Notice) -> None:
        try:
            await self._store.add([notice])
        except ServiceError as error:
            _log.warning("notice_not_written", kind=notice.kind.value, user_id=notice.user_id, error=str(error.code))
