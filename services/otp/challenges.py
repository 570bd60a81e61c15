"""Sends codes by text message, and says how they fare.

The order is the guarantee: limits, then the challenge on record with its code sealed, then the notifier, and only once
the notifier has taken the code can it be right. The challenge's id is the notifier's request key, so that a repeated
handing over sends nothing twice.
"""

import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta

from services.common.audit import AuditEvent
from services.common.clock import Clock
from services.common.errors import ErrorCode, ServiceError, unavailable
from services.common.logs import get_logger
from services.common.rate_limit import Spend
from services.otp import sms_codes
from services.otp.marks import Marks
from services.otp.model import Account, Caller, Challenge, ChallengeId, LoginId, UserId
from services.otp.peers import Message, MessageKind, NotifierPeer, SmsTerms
from services.otp.sending_limits import PAUSE, SendingLimits, budget_spent, login_spends, sms_spends, too_soon
from services.otp.store.accounts import Accounts, HeldAccount
from services.otp.store.challenges import Challenges as ChallengeStore
from services.otp.turns import Turns
from services.otp.vault import Vault, challenge_context, sms_phone_context

_WORTH_SENDING = timedelta(minutes=1)  # a code not yet handed over, with less than this to live, is drawn anew
# A day's cap is reached, or the country is not the clinic's.
_NOT_TO_BE_PAID = frozenset({ErrorCode.TOO_MANY_ATTEMPTS, ErrorCode.CONFLICT})
_OVER = frozenset({"delivered", "failed", "expired"})

_log = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class SentCode:
    """A challenge as its owner sees it."""

    challenge: Challenge
    resend_after: datetime
    status: str
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Addressee:
    """Where a code goes, and what for."""

    caller: Caller
    phone: str
    phone_hint: str
    kind: MessageKind
    locale: str
    terms: SmsTerms | None
    """What the clinic spends; None where the caller does not know."""


class CodeSender:
    """What sign-in and enrolment share: drawing a code, and handing it over."""

    def __init__(
        self,
        challenges: ChallengeStore,
        vault: Vault,
        marks: Marks,
        notifier: NotifierPeer,
        limits: SendingLimits,
        clock: Clock,
    ) -> None:
        self._challenges = challenges
        self._vault = vault
        self._marks = marks
        self._notifier = notifier
        self._limits = limits
        self._clock = clock

    async def draw(self, held: HeldAccount, login_id: LoginId, request_id: str, to: Addressee) -> Challenge:
        """A new challenge on record, within the transaction; the login's earlier code is dead."""
        now = self._clock.now()
        challenge_id = ChallengeId(f"chl_{secrets.token_hex(16)}")
        code = sms_codes.new_code()
        challenge = Challenge(
            id=challenge_id,
            user_id=held.user_id,
            login_id=login_id,
            request_id=request_id,
            code_mark=self._marks.challenge(challenge_id, code),
            code_sealed=self._vault.seal(code, challenge_context(challenge_id, held.user_id)),
            phone_hint=to.phone_hint,
            wrong_guesses=0,
            created_at=now,
            expires_at=now + sms_codes.LIFE,
            delivery_id=None,
            delivery_status="queued",
        )
        await held.challenges.begin(challenge)
        await held.record(
            AuditEvent(
                kind="sms_code.requested",
                at=now,
                clinic_id=to.caller.clinic_id,
                actor_kind="user",
                actor_id=to.caller.user_id,
                subject_id=to.caller.user_id,
                address=to.caller.address or None,
                detail={"challenge_id": challenge_id, "purpose": to.kind.value, "session_id": to.caller.session_id},
            )
        )
        return challenge

    async def hand_over(
        self, challenge: Challenge, to: Addressee, spent: list[Spend], again: list[Spend] | None = None
    ) -> SentCode:
        """Gives the code to the notifier. Where that fails nobody has a code that works, and the answer is
        `unavailable`; the same handing over may be tried again. `again`: what the next code will spend, if not the
        same."""
        if challenge.code_sealed is None:
            raise unavailable("notifier")
        code = self._vault.open(challenge.code_sealed, challenge_context(challenge.id, challenge.user_id))
        message = Message(
            challenge.id,
            to.kind,
            to.phone,
            code,
            challenge.expires_at,
            to.caller.clinic_id,
            to.caller.user_id,
            to.locale,
            to.terms,
            tuple(await self._challenges.dead(challenge.user_id, self._clock.now())),
        )
        try:
            delivery = await self._notifier.submit(message)
        except ServiceError as error:
            if error.code is not ErrorCode.UNAVAILABLE:  # a refusal: certainly not sent, and not to be tried again
                await self._challenges.void(challenge.id, self._clock.now())
                # Whoever goes on asking at sign-in keeps the pause; enrolments have a limit of their own.
                keeps_pause = error.code in _NOT_TO_BE_PAID and to.kind is MessageKind.SIGN_IN_CODE
                await self.give_back([one for one in spent if not (keeps_pause and one[0] is PAUSE)])
            _log.warning("sms_code_not_handed_over", challenge_id=challenge.id, error_code=error.code.value)
            if error.code in _NOT_TO_BE_PAID:
                raise  # its sentence says what helps
            raise unavailable("notifier") from error
        if not await self._challenges.hand_over(challenge.id, delivery.id, delivery.status):
            raise unavailable("account")  # a newer request of the same login has ended it
        next_at = await self._next_at(challenge, spent if again is None else again)
        return SentCode(challenge, next_at, delivery.status, delivery.detail)

    async def take(self, spends: list[Spend]) -> None:
        await self._limits.take_sms(spends)

    async def give_back(self, spends: list[Spend]) -> None:
        """Where nothing was sent."""
        if spends:
            await self._limits.give_back(spends)

    @asynccontextmanager
    async def unless_drawn(self, spends: list[Spend]) -> AsyncIterator[None]:
        """Gives back where what is within fails: no code is on record then, so none is handed over."""
        try:
            yield
        except ServiceError:
            await self.give_back(spends)
            raise

    async def _next_at(self, challenge: Challenge, spends: list[Spend]) -> datetime:
        """When another code may be asked for: after the pause, and when no limit that is known of refuses it."""
        pause = resend_after(challenge)
        wait = await self._limits.wait_for_sms(spends) if spends else 0
        at = self._clock.now() + timedelta(seconds=wait)
        # To the second, the pause is what the challenge itself says.
        return at if at > pause + timedelta(seconds=2) else pause

    async def as_sent(self, challenge: Challenge, again: list[Spend]) -> SentCode:
        """How a challenge fares: the notifier's word, or the last known one while it is away."""
        status, detail = challenge.delivery_status, ""
        if challenge.delivery_id is not None and status not in _OVER:
            try:
                delivery = await self._notifier.delivery(challenge.delivery_id)
                status, detail = delivery.status, delivery.detail
            except ServiceError as error:
                _log.warning("delivery_not_known", challenge_id=challenge.id, error_code=error.code.value)
        return SentCode(challenge, await self._next_at(challenge, again), status, detail)

    def is_pending(self, challenge: Challenge) -> bool:
        """Drawn but never handed over, and still worth it."""
        return (
            challenge.delivery_id is None
            and challenge.ended_at is None
            and challenge.code_sealed is not None
            and challenge.expires_at - self._clock.now() > _WORTH_SENDING
        )


class SignInCodes:
    """Codes for sign-in and step-up, to the number of the user's SMS factor."""

    def __init__(
        self,
        accounts: Accounts,
        challenges: ChallengeStore,
        sender: CodeSender,
        vault: Vault,
        turns: Turns,
        clock: Clock,
    ) -> None:
        self._accounts = accounts
        self._challenges = challenges
        self._sender = sender
        self._vault = vault
        self._turns = turns
        self._clock = clock

    async def send(
        self, caller: Caller, login_id: LoginId, request_id: str, locale: str, terms: SmsTerms | None
    ) -> SentCode:
        async with self._turns.turn(caller.user_id):
            return await self._send(caller, login_id, request_id, locale, terms)

    async def get(self, user_id: UserId, login_id: LoginId) -> SentCode:
        challenge = await self._challenges.newest(user_id, login_id)
        if challenge is None:
            raise ServiceError(ErrorCode.NOT_FOUND, "No code was sent.")
        return await self._sender.as_sent(challenge, login_spends(login_id, user_id))

    async def _send(
        self, caller: Caller, login_id: LoginId, request_id: str, locale: str, terms: SmsTerms | None
    ) -> SentCode:
        account = await self._accounts.read(caller.user_id)
        addressee = self._addressee(account, caller, locale, terms)
        now = self._clock.now()
        spends = sms_spends(login_id, caller.user_id, addressee.phone, caller.address)
        newest = await self._challenges.newest(caller.user_id, login_id)
        if newest is not None:
            if self._sender.is_pending(newest):
                return await self._sender.hand_over(newest, addressee, [], spends)
            if newest.request_id == request_id and newest.delivery_id is not None:
                return await self._sender.as_sent(newest, spends)
            # What the database knows holds also where the limits' store has forgotten (P7).
            if newest.delivery_id is not None and now < resend_after(newest):
                raise too_soon(max(1, -int((now - resend_after(newest)).total_seconds() // 1)))
        await self._sender.take(spends)
        async with self._sender.unless_drawn(spends), self._accounts.hold(caller.user_id) as held:
            held_sms = held.account.sms if held.account and not held.account.is_suspended else None
            if account is None or account.sms is None or held_sms is None or held_sms.id != account.sms.id:
                raise unavailable("account")
            challenge = await self._sender.draw(held, login_id, request_id, addressee)
        return await self._sender.hand_over(challenge, addressee, spends)

    def _addressee(self, account: Account | None, caller: Caller, locale: str, terms: SmsTerms | None) -> Addressee:
        if account is None or account.sms is None or account.is_suspended:
            raise ServiceError(ErrorCode.NOT_FOUND, "There is no phone number to send a code to.")
        refuse_while_spent(account, self._clock.now())
        phone = self._vault.open(account.sms.phone, sms_phone_context(account.sms.id, account.user_id))
        return Addressee(caller, phone, account.sms.phone_hint, MessageKind.SIGN_IN_CODE, locale, terms)


def refuse_while_spent(account: Account | None, now: datetime) -> None:
    """No message is paid for whose code would not be looked at."""
    if account is not None and (standing := account.budget.standing(now)).is_spent:
        raise budget_spent(standing.retry_after, is_locked=standing.is_locked)


def resend_after(challenge: Challenge) -> datetime:
    return challenge.created_at + sms_codes.RESEND_AFTER
