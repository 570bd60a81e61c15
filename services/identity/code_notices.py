"""Tells people of what otp did or refused: a budget of guesses newly spent, backup codes made anew. otp's own change is
done by then and on its record; should telling fail, that neither undoes nor fails it.
"""

from collections.abc import Sequence

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
        """A code was not accepted: where that has spent the budget, somebody may have the password, as their owner and
        the clinic's administrators are told."""
        if verdict.is_budget_newly_spent:
            await self.add(guesses_spent(signed_in, client, self._clock.now()))

    async def codes_made(self, signed_in: SignedIn, client: Client) -> None:
        """There are new backup codes in place of the old ones."""
        await self.add([of_own(NoticeKind.BACKUP_CODES_MADE, signed_in, client, self._clock.now())])

    async def add(self, notices: Sequence[Notice]) -> None:
        """Whatever else is told of what otp has done."""
        try:
            await self._store.add(notices)
        except ServiceError as error:
            kinds = [notice.kind.value for notice in notices]
            _log.warning("notices_not_written", kinds=kinds, error_code=error.code.value)
