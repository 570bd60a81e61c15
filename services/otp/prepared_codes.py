"""Sets of backup codes hashed ahead, while their future owner still scans the QR code: ten hashes take a third of a
second on a calm machine, and longer than a caller waits where sixty people set up in the same minute.

A set is held in memory only, for as long as an enrolment lives, and handed out once. What is being hashed goes on where
its caller gives up, so that asking again finds it done.
"""

import asyncio
from collections import OrderedDict
from contextlib import suppress

from services.common.errors import ServiceError
from services.otp.backup_codes import BackupCodeHasher, NewSet
from services.otp.model import UserId

_LIFE_SECONDS = 600.0  # an enrolment's
_MOST = 500


class _Making:
    """One set on its way. `is_begun` tells whether it still waits for its turn behind others made ahead."""

    __slots__ = ("is_begun", "task")

    def __init__(self, task: "asyncio.Task[NewSet]", *, is_begun: bool) -> None:
        self.task = task
        self.is_begun = is_begun


class PreparedCodes:
    def __init__(self, hasher: BackupCodeHasher) -> None:
        self._hasher = hasher
        self._sets: OrderedDict[UserId, _Making] = OrderedDict()
        self._ahead = asyncio.Semaphore(1)

    def prepare(self, user_id: UserId) -> None:
        """Begins to make a set for this user, behind those of others, unless there is one. Nobody waits for it, so one
        that fails is made when it is taken."""
        if user_id in self._sets:
            return
        making = _Making(asyncio.create_task(self._make_ahead(user_id)), is_begun=False)
        self._keep(user_id, making)

    async def take(self, user_id: UserId) -> NewSet:
        """A set that nobody was given before: the one made ahead, or one made now."""
        making = self._sets.get(user_id)
        if making is None or not making.is_begun or making.task.cancelled():
            self._drop(user_id)
            making = _Making(asyncio.create_task(self._hasher.new_set(user_id)), is_begun=True)
            self._keep(user_id, making)
        try:
            new_set = await asyncio.shield(making.task)
        except ServiceError:
            self._drop(user_id)
            raise
        self._drop(user_id)
        return new_set

    def close(self) -> None:
        for user_id in list(self._sets):
            self._drop(user_id)

    async def _make_ahead(self, user_id: UserId) -> NewSet:
        async with self._ahead:
            if making := self._sets.get(user_id):
                making.is_begun = True
            return await self._hasher.new_set(user_id, one_by_one=True)

    def _keep(self, user_id: UserId, making: _Making) -> None:
        self._sets[user_id] = making
        # A failure that nobody waits for any more is nobody's to hear of.
        making.task.add_done_callback(lambda task: task.cancelled() or task.exception())
        asyncio.get_running_loop().call_later(_LIFE_SECONDS, self._expire, user_id, making)
        while len(self._sets) > _MOST:
            self._drop(next(iter(self._sets)))

    def _expire(self, user_id: UserId, making: _Making) -> None:
        if self._sets.get(user_id) is making:
            self._drop(user_id)

    def _drop(self, user_id: UserId) -> None:
        making = self._sets.pop(user_id, None)
        if making is not None:
            with suppress(RuntimeError):  # the loop may be closing
                making.task.cancel()
