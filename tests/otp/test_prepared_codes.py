"""Backup codes made ahead: found ready at the confirmation, given to one set-up only, never waited for by anybody."""

import asyncio

from services.otp.backup_codes import BackupCodeHasher, NewSet
from services.otp.marks import Marks
from services.otp.model import UserId
from services.otp.prepared_codes import PreparedCodes
from tests.otp.conftest import Otp

ANNA, BEN = UserId("usr_anna"), UserId("usr_ben")


class SlowHasher(BackupCodeHasher):
    """Hashes when it is told to; counts what it was asked for."""

    def __init__(self) -> None:
        super().__init__(Marks("a pepper for codes in tests"))
        self.asked: list[tuple[UserId, bool]] = []
        self.may_finish = asyncio.Event()

    async def new_set(self, user_id: UserId, *, one_by_one: bool = False) -> NewSet:
        self.asked.append((user_id, one_by_one))
        await self.may_finish.wait()
        return NewSet(f"set {len(self.asked)} of {user_id}", (), ())


async def _turn() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def test_a_set_made_ahead_is_handed_out_once() -> None:
    hasher = SlowHasher()
    hasher.may_finish.set()
    codes = PreparedCodes(hasher)
    codes.prepare(ANNA)
    codes.prepare(ANNA)
    await _turn()
    assert hasher.asked == [(ANNA, True)]
    first, second = await codes.take(ANNA), await codes.take(ANNA)
    assert (first.set_id, second.set_id) == ("set 1 of usr_anna", "set 2 of usr_anna")
    codes.close()


async def test_who_confirms_waits_for_no_set_made_ahead_for_others() -> None:
    hasher = SlowHasher()
    codes = PreparedCodes(hasher)
    codes.prepare(ANNA)
    codes.prepare(BEN)
    await _turn()
    taking = asyncio.create_task(codes.take(BEN))
    await _turn()
    assert hasher.asked == [(ANNA, True), (BEN, False)]
    hasher.may_finish.set()
    assert (await taking).set_id.endswith("usr_ben")
    codes.close()


async def test_what_a_caller_gave_up_on_is_ready_when_they_ask_again() -> None:
    hasher = SlowHasher()
    codes = PreparedCodes(hasher)
    impatient = asyncio.create_task(codes.take(ANNA))
    await _turn()
    impatient.cancel()
    await _turn()
    hasher.may_finish.set()
    assert (await codes.take(ANNA)).set_id == "set 1 of usr_anna"
    assert len(hasher.asked) == 1
    codes.close()


async def test_a_set_up_begun_makes_its_backup_codes_ready(otp: Otp) -> None:
    user = otp.user()
    await user.start_totp()
    making = otp.service._codes._sets[UserId(user.user_id)]
    await asyncio.wait_for(asyncio.shield(making.task), 20)
    before = making.task.result().codes
    answer = await user.enrol_totp()
    assert tuple(answer.backup_codes) == before
