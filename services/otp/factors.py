"""A user's confirmed factors: looked at, removed, suspended; backup codes made anew; the guess budget set to full.

Suspended factors are still factors: nobody is left with a password alone by it.
"""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime

from services.common.audit import AuditEvent
from services.common.clock import Clock
from services.common.errors import ErrorCode, ServiceError
from services.otp.backup_codes import SLOTS, NewSet
from services.otp.model import Account, Caller, ClinicId, Method, UserId
from services.otp.prepared_codes import PreparedCodes
from services.otp.store.accounts import Accounts, HeldAccount
from services.otp.turns import Turns


class Factors:
    def __init__(self, accounts: Accounts, codes: PreparedCodes, turns: Turns, clock: Clock) -> None:
        self._accounts = accounts
        self._codes = codes
        self._turns = turns
        self._clock = clock

    async def of_users(self, user_ids: Sequence[UserId]) -> list[Account]:
        """In the same order; a user without a row has no factor and a full budget."""
        found = await self._accounts.read_many(user_ids)
        return [
            account or self._accounts.without_row(user_id, ClinicId(""))
            for user_id, account in zip(user_ids, found, strict=True)
        ]

    async def count_enrolled(self, user_ids: Sequence[UserId]) -> int:
        """How many of them have a factor, be it suspended."""
        return await self._accounts.count_enrolled(user_ids)

    async def epoch(self, clinic_id: ClinicId) -> int:
        """While it stands still, everybody in the clinic has the factors and the backup codes they had. What every code
        moves (the guess budget, when a factor was last used) it does not count."""
        return await self._accounts.factors_epoch(clinic_id)

    async def regenerate_backup_codes(self, caller: Caller) -> tuple[NewSet, datetime]:
        async with self._turns.turn(caller.user_id):
            _check_has_factor(await self._accounts.read(caller.user_id))
            new_set = await self._codes.take(caller.user_id)
            async with self._accounts.hold(caller.user_id) as held:
                now = self._clock.now()
                account = _check_has_factor(held.account)
                await held.backup_codes.replace(new_set.set_id, SLOTS, new_set.hashes)
                left = len(new_set.codes)
                await held.save(replace(account, backup_codes_left=left, backup_codes_generated_at=now))
                await held.record(_event(caller, "backup_codes.made", now, method=Method.BACKUP_CODE.value))
                await held.announce(caller.announcement("backup_codes_made", now))
            return new_set, now

    async def remove(self, caller: Caller, method: Method) -> Account:
        """The account without the factor; with the last one, the backup codes are gone too."""
        async with self._turns.turn(caller.user_id), self._accounts.hold(caller.user_id) as held:
            now = self._clock.now()
            account = held.account
            if account is None or (account.totp if method is Method.TOTP else account.sms) is None:
                raise ServiceError(ErrorCode.NOT_FOUND, "There is no such second factor.")
            if account.is_suspended:
                raise ServiceError(ErrorCode.CONFLICT, "A suspended second factor is only replaced, never removed.")
            changed = replace(account, totp=None) if method is Method.TOTP else replace(account, sms=None)
            was_last = not changed.has_factor
            if was_last:
                await held.backup_codes.remove()
                changed = replace(changed, backup_codes_left=0, backup_codes_generated_at=None)
            if method is Method.SMS:
                await held.challenges.end_all(now)
            await held.forget_accepted()
            await held.save(changed)
            await held.record(_event(caller, "factor.removed", now, method=method.value))
            about = {"method": method.value, "was_last": was_last}
            await held.announce(caller.announcement("factor_removed", now, **about))
            return changed

    async def suspend_all(self, caller: Caller, cause: str) -> Account:
        """Factors and backup codes prove nobody any more, and what was being set up is dead. Repeating it changes
        nothing but what has been begun since."""
        async with self._turns.turn(caller.user_id), self._accounts.hold(caller.user_id) as held:
            now = self._clock.now()
            account = held.account
            if account is None:
                return self._accounts.without_row(caller.user_id, caller.clinic_id)
            await _stop(held, now)
            if account.is_suspended or (account.totp is None and account.sms is None):
                return account
            suspended = replace(account, suspended_at=now)
            await held.save(suspended)
            await held.record(_on_behalf(caller, "factors.suspended", now, cause, account))
            return suspended

    async def remove_all(self, caller: Caller, cause: str, only_if_new_since: datetime | None = None) -> Account:
        """The account without any factor, suspended or not, and without backup codes. `only_if_new_since`: only where
        one was set up since; what is being set up just now ends in either case, so that none comes afterwards."""
        async with self._turns.turn(caller.user_id), self._accounts.hold(caller.user_id) as held:
            now = self._clock.now()
            account = held.account
            if account is None:
                return self._accounts.without_row(caller.user_id, caller.clinic_id)
            await _stop(held, now)
            held_now = [factor for factor in (account.totp, account.sms) if factor is not None]
            since = only_if_new_since
            if not held_now or (since is not None and all(factor.enrolled_at < since for factor in held_now)):
                return account
            await held.backup_codes.remove()
            bare = replace(
                account, totp=None, sms=None, backup_codes_left=0, backup_codes_generated_at=None, suspended_at=None
            )
            await held.save(bare)
            await held.record(_on_behalf(caller, "factors.removed", now, cause, account))
            return bare

    async def reset_guess_budget(self, user_id: UserId, clinic_id: ClinicId, cause: str) -> None:
        """Full again; the old figures stay in the audit trail."""
        async with self._turns.turn(user_id), self._accounts.hold(user_id) as held:
            now = self._clock.now()
            if held.account is None:
                return
            before = held.account.budget
            await held.save(replace(held.account, budget=before.reset()))
            await held.record(
                AuditEvent(
                    kind="guess_budget.reset",
                    at=now,
                    clinic_id=clinic_id,
                    actor_kind="system",
                    actor_id=None,
                    subject_id=user_id,
                    detail={
                        "cause": cause,
                        "wrong_guesses": len(before.guesses),
                        "locked_at": before.locked_at.isoformat() if before.locked_at else None,
                    },
                )
            )


async def _stop(held: HeldAccount, now: datetime) -> None:
    """No enrolment, code on its way or code accepted before opens anything from now on."""
    await held.enrolments.end_all_open(now)
    await held.challenges.end_all(now)
    await held.forget_accepted()


def _on_behalf(caller: Caller, kind: str, now: datetime, cause: str, account: Account) -> AuditEvent:
    """What someone else did to the user's factors: who, is on record where they did it."""
    held = ((Method.TOTP, account.totp), (Method.SMS, account.sms))
    methods = [method.value for method, factor in held if factor is not None]
    event = _event(caller, kind, now, cause=cause, methods=methods)
    return replace(event, actor_kind="system", actor_id=None)


def _check_has_factor(account: Account | None) -> Account:
    if account is None or account.is_suspended or (account.totp is None and account.sms is None):
        raise ServiceError(ErrorCode.CONFLICT, "Backup codes need a second factor first.")
    return account


def _event(caller: Caller, kind: str, now: datetime, **detail: object) -> AuditEvent:
    return AuditEvent(
        kind=kind,
        at=now,
        clinic_id=caller.clinic_id,
        actor_kind="user",
        actor_id=caller.user_id,
        subject_id=caller.user_id,
        address=caller.address or None,
        detail={"session_id": caller.session_id, **detail},
    )
