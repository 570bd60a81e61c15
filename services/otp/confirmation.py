"""Confirms an enrolment with a code. What is confirmed is in force at once, and ends what it replaces, in the one
transaction that also counts the guess and keeps the verdict.

Backup codes are made where the user is left without living ones: with the first factor, with one that replaces another
of its kind (a changed phone), and after a bypass. Their hashing takes time, so it is done between two tries of the
transaction; the first one is rolled back and told to nobody.
"""

from dataclasses import replace
from datetime import datetime, timedelta

from services.common.audit import AuditEvent
from services.common.clock import Clock
from services.common.errors import ErrorCode, ServiceError, unavailable
from services.otp import number_limit
from services.otp.backup_codes import SLOTS, NewSet
from services.otp.code_shape import canonical
from services.otp.enrolment import gone, not_found, totp_secret_of
from services.otp.enrolment_codes import EnrolmentCode, compare_sms, compare_totp
from services.otp.judgement import ACCEPTED_AGAIN_FOR, judge, refusal_by_budget, verdict_event
from services.otp.marks import Marks
from services.otp.model import (
    Account,
    Confirm,
    Confirmed,
    Enrolment,
    EnrolmentKind,
    Method,
    Result,
    SmsFactor,
    TotpFactor,
    Verdict,
)
from services.otp.prepared_codes import PreparedCodes
from services.otp.store.accounts import Accounts, AttemptAlreadyTold, HeldAccount, Telling
from services.otp.turns import Turns
from services.otp.vault import Vault, enrolment_context, sms_phone_context, totp_secret_context
from services.otp.verification import check_same_attempt

_MOST_TRIES = 3
_IN_FLIGHT_FOR = timedelta(seconds=5)  # twice the caller's deadline


class _NeedsNewSet(Exception):
    """The confirmation must make backup codes and has none hashed yet."""


class Confirmation:
    def __init__(
        self, accounts: Accounts, vault: Vault, marks: Marks, codes: PreparedCodes, turns: Turns, clock: Clock
    ) -> None:
        self._accounts = accounts
        self._vault = vault
        self._marks = marks
        self._codes = codes
        self._turns = turns
        self._clock = clock

    async def confirm(self, request: Confirm) -> Confirmed:
        attempt = request.attempt
        user_id = attempt.caller.user_id
        if request.methods_allowed and attempt.method not in request.methods_allowed:
            raise ServiceError(ErrorCode.CONFLICT, "Your clinic does not allow this kind of second factor.")
        code = canonical(attempt.method, attempt.code)
        if code is None:
            return Confirmed(Verdict(Result.MALFORMED, 0))
        mark = self._marks.attempt(user_id, f"enrolment:{attempt.method}", code)
        new_set: NewSet | None = None
        judged_at: datetime | None = None
        async with self._turns.turn(user_id):
            for _ in range(_MOST_TRIES):
                try:
                    async with self._accounts.hold(user_id) as held:
                        # A second try judges at the first one's time: hashing must not make a right code late.
                        judged_at = judged_at or self._clock.now()
                        hearing = _Hearing(self._vault, self._marks, held, request, code, mark, judged_at)
                        heard = await hearing.hear(new_set)
                    if heard.is_number_refused:
                        raise number_limit.refused()
                    return heard
                except _NeedsNewSet:
                    new_set = await self._codes.take(user_id)
                except AttemptAlreadyTold:
                    continue
        raise unavailable("account")


class _Hearing:
    """One try at one confirmation, within the transaction."""

    def __init__(
        self, vault: Vault, marks: Marks, held: HeldAccount, request: Confirm, code: str, mark: bytes, now: datetime
    ) -> None:
        self._vault = vault
        self._marks = marks
        self._held = held
        self._request = request
        self._attempt = request.attempt
        self._code = code
        self._mark = mark
        self._now = now

    async def hear(self, new_set: NewSet | None) -> Confirmed:
        account = self._held.account
        enrolment = await self._find()
        if account is None or enrolment is None:
            raise not_found()
        if account.is_suspended and not self._request.replaces_all:
            raise gone()
        if self._request.only_repeats and not self._is_by_this_login(enrolment):
            raise gone()
        told = await self._held.told_verdict(self._attempt.attempt_id)
        check_same_attempt(told, self._attempt, self._mark)
        if told is not None and told.verdict.result is not Result.ACCEPTED:
            return Confirmed(told.verdict)
        if enrolment.confirmed_at is not None:
            return await self._confirm_again(account, enrolment, new_set, is_told=told is not None)
        if told is not None:
            raise ServiceError(ErrorCode.CONFLICT, "This attempt was made before for another set-up.")
        if not enrolment.is_open(self._now) or (self._request.only_first and account.has_factor):
            raise gone()
        if refusal := refusal_by_budget(account, self._now):
            await self._held.tell(self._telling(refusal))
            return Confirmed(refusal)
        compared = await self._compare(enrolment)
        if compared.result is not Result.ACCEPTED:
            seen = (compared.result, self._now, compared.retry_after, compared.clock_skew_seconds)
            judged, verdict = judge(account, self._attempt.login_id, *seen)
            telling = self._telling(verdict, enrolment_id=enrolment.id)
            if compared.result is Result.WRONG:
                await self._held.tell_wrong(telling, judged)
            else:
                await self._held.tell(telling)
            return Confirmed(verdict)
        return await self._put_in_force(account, enrolment, compared.step, new_set)

    async def _find(self) -> Enrolment | None:
        """The enrolment, where it is this user's, this session's and of this kind. One of another session of theirs
        that is over is over for all."""
        caller = self._attempt.caller
        if not self._request.enrolment_id and self._request.kind is EnrolmentKind.PHONE_PROOF:
            return await self._held.enrolments.newest(EnrolmentKind.PHONE_PROOF, caller.session_id)
        enrolment = await self._held.enrolments.get(self._request.enrolment_id)
        if enrolment is None or enrolment.kind is not self._request.kind:
            return None
        if enrolment.session_id != caller.session_id:
            if not enrolment.is_open(self._now):
                raise gone()
            return None
        return enrolment

    async def _compare(self, enrolment: Enrolment) -> EnrolmentCode:
        if enrolment.kind is not EnrolmentKind.TOTP:
            return await compare_sms(self._held, self._marks, enrolment, self._code, self._now)
        compared = compare_totp(enrolment, totp_secret_of(self._open(enrolment)), self._code, self._now)
        if compared.advice is not None:
            await self._held.enrolments.remember_clock(enrolment.id, compared.advice.memory)
        return compared

    async def _put_in_force(
        self, account: Account, enrolment: Enrolment, step: int, new_set: NewSet | None
    ) -> Confirmed:
        judged, verdict = judge(account, self._attempt.login_id, Result.ACCEPTED, self._now)
        changed, phone = self._with_factor(judged, enrolment, step)
        if phone:
            number, caller = self._marks.number(phone), self._attempt.caller
            if await number_limit.is_refused(self._held, number, caller, enrolment.kind, self._now):
                return Confirmed(verdict, is_number_refused=True)
            await self._held.numbers.keep(enrolment.kind, number, enrolment.id)
        events: list[AuditEvent] = []
        makes_codes = False
        if enrolment.kind is not EnrolmentKind.PHONE_PROOF:
            changed, ended = self._without_others(changed)
            is_replaced = (account.totp if enrolment.kind is EnrolmentKind.TOTP else account.sms) is not None
            makes_codes = is_replaced or self._request.replaces_all or account.backup_codes_left == 0
            events.append(self._event("factor.replaced" if is_replaced else "factor.added", self._attempt.method))
            events += [self._event("factor.removed", method) for method in ended]
            facts = {"replaced": is_replaced, "removed": ended, "bypass": self._request.replaces_all}
            caller, method = self._attempt.caller, self._attempt.method
            await self._held.announce(caller.announcement("factor_set_up", self._now, method=method, **facts))
            if self._request.replaces_all:
                changed = replace(changed, suspended_at=None)
            if is_replaced or ended or self._request.replaces_all:
                await self._held.forget_accepted()
            # What others began to set up, they began before there was this (A31).
            await self._held.enrolments.end_others_open(self._attempt.caller.session_id, self._now)
            if Method.SMS in ended or enrolment.kind is EnrolmentKind.SMS:
                await self._held.challenges.end_all(self._now)
        if makes_codes:
            changed = await self._with_new_codes(changed, new_set)
            events.append(self._event("backup_codes.made", Method.BACKUP_CODE))
        await self._held.enrolments.confirm(
            enrolment.id,
            self._attempt.login_id,
            self._mark,
            self._now,
            has_made_backup_codes=makes_codes,
            keeps_secret=enrolment.kind is not EnrolmentKind.TOTP,
        )
        await self._held.save(changed)
        await self._held.tell_accepted(self._telling(verdict, enrolment_id=enrolment.id), changed)
        for event in events:
            await self._held.record(event)
        return self._answer(verdict, changed, new_set if makes_codes else None, phone)

    async def _confirm_again(
        self, account: Account, enrolment: Enrolment, new_set: NewSet | None, *, is_told: bool
    ) -> Confirmed:
        """The login that confirmed may hear it again for ten minutes, with fresh backup codes in place of those it
        never saw (A73). Anyone else finds the enrolment gone."""
        if enrolment.confirmed_at is None or not self._is_by_this_login(enrolment):
            raise gone()
        factor = {EnrolmentKind.TOTP: account.totp, EnrolmentKind.SMS: account.sms}.get(enrolment.kind)
        if enrolment.kind is not EnrolmentKind.PHONE_PROOF and (factor is None or factor.id != enrolment.id):
            raise gone()  # removed or replaced since
        if enrolment.kind is EnrolmentKind.PHONE_PROOF and not is_told:
            # Nothing waits to be finished under this login: accepted again, it would undo a number changed since.
            verdict = Verdict(Result.ALREADY_USED, account.budget.standing(self._now).attempts_left)
            await self._held.tell(self._telling(verdict, enrolment_id=enrolment.id))
            return Confirmed(verdict)
        if not is_told and self._now - enrolment.confirmed_at < _IN_FLIGHT_FOR:
            # Sent twice at once: the first may be showing its codes just now, and fresh ones would kill those.
            raise unavailable("account", retry_after=int(_IN_FLIGHT_FOR.total_seconds()))
        verdict = Verdict(Result.ACCEPTED, account.budget.standing(self._now).attempts_left)
        if enrolment.has_made_backup_codes:
            account = await self._with_new_codes(account, new_set)
            await self._held.save(account)
            await self._held.record(self._event("backup_codes.made", Method.BACKUP_CODE))
        if not is_told:
            telling = self._telling(verdict, enrolment_id=enrolment.id, again=True)
            await self._held.tell(replace(telling, is_again=True))
        phone = "" if enrolment.kind is EnrolmentKind.TOTP or enrolment.secret is None else self._open(enrolment)
        return self._answer(verdict, account, new_set if enrolment.has_made_backup_codes else None, phone)

    def _is_by_this_login(self, enrolment: Enrolment) -> bool:
        """Whether this login confirmed it, with this very code, and not too long ago."""
        if (enrolment.confirmed_login_id, enrolment.confirmed_mark) != (self._attempt.login_id, self._mark):
            return False
        return enrolment.confirmed_at is not None and self._now - enrolment.confirmed_at <= ACCEPTED_AGAIN_FOR

    def _with_factor(self, account: Account, enrolment: Enrolment, step: int) -> tuple[Account, str]:
        """The account with what is confirmed, its secret sealed for its new place; and the proven number."""
        opened = self._open(enrolment)
        if enrolment.kind is EnrolmentKind.TOTP:
            sealed = self._vault.seal(totp_secret_of(opened), totp_secret_context(enrolment.id, account.user_id))
            # What the coach burned stays burned: those codes are still to come.
            clock = replace(enrolment.clock, sightings=())
            return replace(account, totp=TotpFactor(enrolment.id, sealed, self._now, self._now, step, clock)), ""
        if enrolment.kind is EnrolmentKind.PHONE_PROOF:
            return account, opened
        sealed = self._vault.seal(opened, sms_phone_context(enrolment.id, account.user_id))
        factor = SmsFactor(enrolment.id, sealed, enrolment.phone_hint or "", self._now, self._now)
        return replace(account, sms=factor), opened

    def _without_others(self, account: Account) -> tuple[Account, list[Method]]:
        """Without the factors that the clinic does not allow, or, after a bypass, without any other."""
        ended: list[Method] = []
        for method, factor in ((Method.TOTP, account.totp), (Method.SMS, account.sms)):
            if factor is None or method is self._attempt.method:
                continue
            is_allowed = not self._request.methods_allowed or method in self._request.methods_allowed
            if self._request.replaces_all or not is_allowed:
                account = replace(account, totp=None) if method is Method.TOTP else replace(account, sms=None)
                ended.append(method)
        return account, ended

    async def _with_new_codes(self, account: Account, new_set: NewSet | None) -> Account:
        if new_set is None:
            raise _NeedsNewSet
        await self._held.backup_codes.replace(new_set.set_id, SLOTS, new_set.hashes)
        return replace(account, backup_codes_left=len(new_set.codes), backup_codes_generated_at=self._now)

    def _open(self, enrolment: Enrolment) -> str:
        if enrolment.secret is None:
            raise gone()
        return self._vault.open(enrolment.secret, enrolment_context(enrolment.id, enrolment.user_id))

    def _answer(self, verdict: Verdict, account: Account, new_set: NewSet | None, phone: str) -> Confirmed:
        if new_set is None:
            return Confirmed(verdict, account, phone=phone)
        return Confirmed(verdict, account, new_set.codes, self._now, phone)

    def _telling(self, verdict: Verdict, **facts: object) -> Telling:
        event = verdict_event(self._attempt, verdict, self._now, purpose=self._request.kind.value, **facts)
        return Telling(self._attempt, self._mark, verdict, event)

    def _event(self, kind: str, method: Method) -> AuditEvent:
        caller = self._attempt.caller
        return AuditEvent(
            kind=kind,
            at=self._now,
            clinic_id=caller.clinic_id,
            actor_kind="user",
            actor_id=caller.user_id,
            subject_id=caller.user_id,
            address=caller.address or None,
            detail={"method": method.value, "session_id": caller.session_id},
        )
