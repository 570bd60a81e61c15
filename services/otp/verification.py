"""Verifies a code: one transaction under the account's lock, in which the budget is looked at, the code compared, and
the outcome, the verdict and the audit event written. The verdict leaves only after the commit, so a crash in between
tells nobody anything and gives nobody a free guess (A09).
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from hmac import compare_digest

from services.common.clock import Clock
from services.common.errors import ErrorCode, ServiceError, unavailable
from services.otp import clock_coach, sms_codes, totp
from services.otp.backup_codes import BackupCodeHasher, slot_of
from services.otp.code_shape import canonical
from services.otp.judgement import ACCEPTED_AGAIN_FOR, contested_event, judge, refusal_by_budget, verdict_event
from services.otp.marks import Marks
from services.otp.model import Account, Attempt, Method, Result, StoredVerdict, TotpFactor, Verdict
from services.otp.store.accounts import Accounts, AttemptAlreadyTold, HeldAccount, Telling
from services.otp.store.backup_codes import BackupCodes
from services.otp.turns import Turns
from services.otp.vault import Vault, totp_secret_context

_MOST_TRIES = 3
_REMEMBERED_STEPS = int(ACCEPTED_AGAIN_FOR.total_seconds()) // totp.STEP_SECONDS + totp.WINDOW_STEPS + 1


@dataclass(frozen=True, slots=True)
class Compared:
    """What a code turned out to be, and the account with what it spends. `is_again`: spent before by this login."""

    result: Result
    account: Account
    retry_after: int = 0
    is_again: bool = False
    clock_skew_seconds: int | None = None


@dataclass(frozen=True, slots=True)
class _HashCheck:
    """A backup code compared with the hash of a row as it was read."""

    hash: str
    is_match: bool


class _RowChanged(Exception):
    """The row is not the one that was hashed against; that comparison counts for nothing."""


class Verification:
    def __init__(
        self,
        accounts: Accounts,
        backup_codes: BackupCodes,
        vault: Vault,
        marks: Marks,
        hasher: BackupCodeHasher,
        turns: Turns,
        clock: Clock,
    ) -> None:
        self._accounts = accounts
        self._backup_codes = backup_codes
        self._vault = vault
        self._marks = marks
        self._hasher = hasher
        self._turns = turns
        self._clock = clock

    async def verify_many(self, attempts: Sequence[Attempt]) -> list[tuple[Verdict, Account | None]]:
        """The answers in the same order. Users side by side, the attempts of one user as they came."""
        if len(attempts) == 1:
            return [await self.verify(attempts[0])]
        answers: dict[int, tuple[Verdict, Account | None]] = {}

        async def verify_in_order(numbers: Sequence[int]) -> None:
            for number in numbers:
                answers[number] = await self.verify(attempts[number])

        by_user: dict[str, list[int]] = {}
        for number, attempt in enumerate(attempts):
            by_user.setdefault(attempt.caller.user_id, []).append(number)
        # All are waited for before any failure is told: none goes on behind the caller's back.
        failures = await asyncio.gather(*map(verify_in_order, by_user.values()), return_exceptions=True)
        for failure in failures:
            if failure is not None:
                raise failure
        return [answers[number] for number in range(len(attempts))]

    async def verify(self, attempt: Attempt) -> tuple[Verdict, Account | None]:
        """The verdict, and with ACCEPTED the account as it is now."""
        user_id = attempt.caller.user_id
        code = canonical(attempt.method, attempt.code)
        if code is None:
            return Verdict(Result.MALFORMED, 0), None
        mark = self._marks.attempt(user_id, attempt.method, code)
        async with self._turns.turn(user_id):
            for _ in range(_MOST_TRIES):
                hash_check = await self._check_hash(attempt, code)
                try:
                    # An id that was told is looked for first: compared, its code would be a guess that nobody counts.
                    async with self._accounts.hold(user_id, attempt_id=attempt.attempt_id) as held:
                        return await self._verify_held(held, attempt, code, mark, hash_check)
                except AttemptAlreadyTold:
                    return await self._repeat(attempt, mark)
                except _RowChanged:
                    continue
        raise unavailable("account")

    async def _verify_held(
        self, held: HeldAccount, attempt: Attempt, code: str, mark: bytes, hash_check: _HashCheck | None
    ) -> tuple[Verdict, Account | None]:
        now = self._clock.now()  # after the lock: what was true while waiting is not asked
        account = held.account
        if account is None:
            verdict = Verdict(Result.NO_SUCH_FACTOR, 0)
            await held.tell(Telling(attempt, mark, verdict, verdict_event(attempt, verdict, now)))
            return verdict, None
        if refusal := refusal_by_budget(account, now):
            await held.tell(Telling(attempt, mark, refusal, verdict_event(attempt, refusal, now)))
            return refusal, None
        compared = await self._compare(held, account, attempt, code, mark, hash_check, now)
        judged, verdict = judge(
            compared.account,
            attempt.login_id,
            compared.result,
            now,
            compared.retry_after,
            compared.clock_skew_seconds,
        )
        if compared.result is Result.ALREADY_USED:
            verdict = await _contested(held, attempt, mark, verdict, now)
        facts = {"again": True} if compared.is_again else {}
        event = verdict_event(attempt, verdict, now, **facts)
        telling = Telling(attempt, mark, verdict, event, compared.is_again)
        if verdict.result is Result.ACCEPTED:
            await held.tell_accepted(telling, judged)
            if attempt.method is Method.BACKUP_CODE and not compared.is_again:
                left = judged.backup_codes_left
                await held.announce(attempt.caller.announcement("backup_code_used", now, codes_left=left))
            return verdict, judged
        if verdict.result is Result.WRONG:
            await held.tell_wrong(telling, judged)
        else:
            await held.tell(telling)
        return verdict, None

    async def _compare(
        self,
        held: HeldAccount,
        account: Account,
        attempt: Attempt,
        code: str,
        mark: bytes,
        hash_check: _HashCheck | None,
        now: datetime,
    ) -> Compared:
        if account.is_suspended:
            # Not even looked at: whoever holds the stolen phone learns nothing by it and spends nobody's guesses.
            return Compared(Result.NO_SUCH_FACTOR, account)
        if attempt.method is Method.TOTP:
            return await self._compare_totp(held, account, attempt, code, mark, now)
        if attempt.method is Method.SMS:
            return await self._compare_sms(held, account, attempt, code, mark, now)
        return await self._compare_backup_code(held, account, attempt, code, hash_check, now)

    async def _compare_totp(
        self, held: HeldAccount, account: Account, attempt: Attempt, code: str, mark: bytes, now: datetime
    ) -> Compared:
        factor = account.totp
        if factor is None:
            return Compared(Result.NO_SUCH_FACTOR, account)
        secret = self._vault.open(factor.secret, totp_secret_context(factor.id, account.user_id))
        match = totp.match(secret, code, now, factor.last_step, factor.clock.burned_steps)
        if match is not None and not match.is_spent:
            spent = replace(factor, last_step=match.step, last_used_at=now)
            return Compared(Result.ACCEPTED, replace(account, totp=spent))
        # A code that left the window may still be the one this login was accepted with.
        if match is None and factor.last_step < totp.step_at(now) - _REMEMBERED_STEPS:
            return _wrong_totp(account, factor, secret, code, now)
        logins = await held.logins_that_spent(mark, now - ACCEPTED_AGAIN_FOR)
        if attempt.login_id in logins:
            return Compared(Result.ACCEPTED, account, is_again=True)
        if match is None and not logins:
            return _wrong_totp(account, factor, secret, code, now)
        retry_after = totp.seconds_to_next_code(now, factor.last_step, factor.clock.burned_steps)
        return Compared(Result.ALREADY_USED, account, retry_after)

    async def _compare_sms(
        self, held: HeldAccount, account: Account, attempt: Attempt, code: str, mark: bytes, now: datetime
    ) -> Compared:
        if account.sms is None:
            return Compared(Result.NO_SUCH_FACTOR, account)
        challenge = await held.challenges.newest(attempt.login_id)
        result = sms_codes.compare(self._marks, challenge, code, now)
        if result is Result.ACCEPTED and challenge is not None:
            if not await held.challenges.spend(challenge.id, now):
                raise _RowChanged
            return Compared(result, replace(account, sms=replace(account.sms, last_used_at=now)))
        if result is Result.EXPIRED:
            return Compared(result, account)
        logins = await held.logins_that_spent(mark, now - ACCEPTED_AGAIN_FOR)
        if attempt.login_id in logins:
            return Compared(Result.ACCEPTED, account, is_again=True)
        if logins:
            return Compared(Result.ALREADY_USED, account)
        if result is Result.WRONG and challenge is not None:
            await held.challenges.count_wrong(challenge.id)
        return Compared(result, account)

    async def _compare_backup_code(
        self,
        held: HeldAccount,
        account: Account,
        attempt: Attempt,
        code: str,
        hash_check: _HashCheck | None,
        now: datetime,
    ) -> Compared:
        if account.backup_codes_generated_at is None:
            return Compared(Result.NO_SUCH_FACTOR, account)
        row = await held.backup_codes.at(slot_of(code))
        if row is None:
            return Compared(Result.WRONG, account)
        spent_mark = self._marks.spent_backup_code(account.user_id, row.set_id, code)
        if row.spent_mark is not None and row.spent_at is not None:
            if not compare_digest(row.spent_mark, spent_mark):
                return Compared(Result.WRONG, account)
            if row.spent_login_id == attempt.login_id and now - row.spent_at <= ACCEPTED_AGAIN_FOR:
                return Compared(Result.ACCEPTED, account, is_again=True)
            return Compared(Result.ALREADY_USED, account)
        if hash_check is None or row.hash != hash_check.hash:
            raise _RowChanged
        if not hash_check.is_match:
            return Compared(Result.WRONG, account)
        if not await held.backup_codes.spend(row.slot, spent_mark, attempt.login_id, now):
            raise _RowChanged
        return Compared(Result.ACCEPTED, replace(account, backup_codes_left=account.backup_codes_left - 1))

    async def _check_hash(self, attempt: Attempt, code: str) -> _HashCheck | None:
        """Argon2id before the transaction, on the row as read, so that no lock waits for it. Not while the budget is
        spent: then nothing is compared, and a flood costs no hashing."""
        if attempt.method is not Method.BACKUP_CODE:
            return None
        user_id = attempt.caller.user_id
        account = await self._accounts.read(user_id)
        if account is None or account.is_suspended or account.budget.standing(self._clock.now()).is_spent:
            return None
        row = await self._backup_codes.at(user_id, slot_of(code))
        if row is None or row.hash is None:
            return None
        return _HashCheck(row.hash, await self._hasher.is_match(row.hash, user_id, code))

    async def _repeat(self, attempt: Attempt, mark: bytes) -> tuple[Verdict, Account | None]:
        """What the attempt was told before. Its id with another code or login is not the same attempt."""
        stored = await self._accounts.told_verdict(attempt.caller.user_id, attempt.attempt_id)
        check_same_attempt(stored, attempt, mark)
        verdict = stored.verdict if stored else None
        if verdict is None:
            raise unavailable("account")
        account = await self._accounts.read(attempt.caller.user_id) if verdict.result is Result.ACCEPTED else None
        return verdict, account


def _wrong_totp(account: Account, factor: TotpFactor, secret: str, code: str, now: datetime) -> Compared:
    """Wrong, and with it what that says of the phone's clock."""
    advice = clock_coach.advise(factor.clock, secret, code, now)
    remembered = replace(account, totp=replace(factor, clock=advice.memory))
    return Compared(Result.WRONG, remembered, clock_skew_seconds=advice.skew_seconds)


async def _contested(held: HeldAccount, attempt: Attempt, mark: bytes, verdict: Verdict, now: datetime) -> Verdict:
    """Marks and records a code that another session was accepted with: it is in two hands, or two windows (A20)."""
    others = await held.other_sessions_that_spent(mark, now - ACCEPTED_AGAIN_FOR, attempt.caller.session_id)
    if not others:
        return verdict
    await held.record(contested_event(attempt, others, now))
    return replace(verdict, is_contested=True)


def check_same_attempt(stored: StoredVerdict | None, attempt: Attempt, mark: bytes) -> None:
    if stored and not (stored.login_id == attempt.login_id and compare_digest(stored.mark, mark)):
        raise ServiceError(ErrorCode.CONFLICT, "This attempt was made before with another code.")
