"""Sets factors up: begun, shown, and in force only once confirmed with a code.

Until then the earlier factor works and nothing of it changes; an enrolment not confirmed in ten minutes is dead. The
code that confirms is spent by it (A18) and a wrong one costs a guess like any other (A10).
"""

import secrets
from dataclasses import dataclass
from datetime import timedelta

from services.common.audit import AuditEvent
from services.common.clock import Clock
from services.common.errors import ErrorCode, ServiceError, unavailable
from services.common.logs import mask_phone
from services.otp import number_limit, totp
from services.otp.challenges import Addressee, CodeSender, SentCode, refuse_while_spent, resend_after
from services.otp.marks import Marks
from services.otp.model import (
    Account,
    Caller,
    Challenge,
    Enrolment,
    EnrolmentId,
    EnrolmentKind,
    LoginId,
    SessionId,
    UserId,
)
from services.otp.peers import MessageKind, SmsTerms
from services.otp.prepared_codes import PreparedCodes
from services.otp.sending_limits import ENROLMENTS_PER_USER, SendingLimits, sms_spends
from services.otp.store.accounts import Accounts
from services.otp.store.challenges import Challenges as ChallengeStore
from services.otp.store.enrolments import Enrolments
from services.otp.turns import Turns
from services.otp.vault import Vault, enrolment_context

LIFE = timedelta(minutes=10)

_MESSAGE_KINDS = {
    EnrolmentKind.SMS: MessageKind.ENROLMENT_CODE,
    EnrolmentKind.PHONE_PROOF: MessageKind.PHONE_PROOF_CODE,
}
_SEPARATOR = "\n"  # between secret and label in what is sealed; neither holds one


@dataclass(frozen=True, slots=True)
class TotpOffer:
    """What an authenticator app needs to be set up with."""

    enrolment: Enrolment
    secret: str
    otpauth_uri: str


@dataclass(frozen=True, slots=True)
class SmsOffer:
    enrolment: Enrolment
    sent: SentCode


class EnrolmentDesk:
    """Begins enrolments; `confirmation` ends them."""

    def __init__(
        self,
        accounts: Accounts,
        enrolments: Enrolments,
        challenges: ChallengeStore,
        sender: CodeSender,
        vault: Vault,
        marks: Marks,
        limits: SendingLimits,
        codes: PreparedCodes,
        turns: Turns,
        clock: Clock,
        issuer: str,
    ) -> None:
        self._accounts = accounts
        self._enrolments = enrolments
        self._challenges = challenges
        self._sender = sender
        self._vault = vault
        self._marks = marks
        self._limits = limits
        self._codes = codes
        self._turns = turns
        self._clock = clock
        self._issuer = issuer

    async def start_totp(self, caller: Caller, account_label: str) -> TotpOffer:
        """The session's own open enrolment again, or a new one, which ends that of another session."""
        async with self._turns.turn(caller.user_id):
            newest = await self._enrolments.newest(caller.user_id, EnrolmentKind.TOTP, caller.session_id)
            if newest is not None and newest.is_open(self._clock.now()):
                return self._offer(newest)
            await self._limits.take_enrolment(caller.user_id)
            secret = totp.new_secret()
            label = " ".join(account_label.split())
            async with self._accounts.hold(caller.user_id, create_in=caller.clinic_id) as held:
                enrolment = self._new(caller, EnrolmentKind.TOTP, f"{secret}{_SEPARATOR}{label}", None, None)
                await held.enrolments.begin(enrolment)
                await held.record(_started(caller, enrolment))
            self._prepare_codes(held.account, enrolment)
            return self._offer(enrolment)

    async def get_totp(self, user_id: UserId, session_id: SessionId, enrolment_id: EnrolmentId) -> TotpOffer:
        """The secret again, for the session that began the enrolment and no other."""
        enrolment = await self._enrolments.get(user_id, enrolment_id)
        if enrolment is None or enrolment.kind is not EnrolmentKind.TOTP:
            raise not_found()
        if not enrolment.is_open(self._clock.now()):
            raise gone()
        if enrolment.session_id != session_id:
            raise not_found()
        return self._offer(enrolment)

    async def start_sms(
        self,
        caller: Caller,
        request_id: str,
        phone: str,
        locale: str,
        kind: EnrolmentKind,
        terms: SmsTerms | None,
    ) -> SmsOffer:
        """Sends a code to the number. The user's earlier enrolment of the kind is dead; but within the pause between
        two texts, the session that began it with the same number gets it again, and no second text."""
        to = Addressee(caller, phone, mask_phone(phone), _MESSAGE_KINDS[kind], locale, terms)
        async with self._turns.turn(caller.user_id):
            known = await self._enrolments.of_request(caller.user_id, request_id)
            if known is not None:
                return await self._repeat_sms(known, to)
            refuse_while_spent(await self._accounts.read(caller.user_id), self._clock.now())
            on_its_way = await self._on_its_way(kind, to)
            if on_its_way is not None:
                return on_its_way
            spends = sms_spends(caller.session_id, caller.user_id, phone, caller.address)
            await self._sender.take([*spends, (ENROLMENTS_PER_USER, caller.user_id)])
            mark, now = self._marks.number(phone), self._clock.now()
            hold = self._accounts.hold(caller.user_id, create_in=caller.clinic_id)
            async with self._sender.unless_drawn(spends), hold as held:
                is_refused = await number_limit.is_refused(held, mark, caller, kind, now)
                if not is_refused:
                    enrolment = self._new(caller, kind, phone, to.phone_hint, request_id)
                    await held.enrolments.begin(enrolment)
                    challenge = await self._sender.draw(held, LoginId(enrolment.id), request_id, to)
                    await held.record(_started(caller, enrolment))
            if is_refused:
                # The number's texts above all, which are others'; the enrolment stays counted, so that asking on ends.
                await self._sender.give_back(spends)
                raise number_limit.refused()
            self._prepare_codes(held.account, enrolment)
            return SmsOffer(enrolment, await self._sender.hand_over(challenge, to, spends))

    def _prepare_codes(self, account: Account | None, enrolment: Enrolment) -> None:
        """Backup codes that the confirmation is likely to need."""
        if enrolment.kind is EnrolmentKind.PHONE_PROOF:
            return
        held = account and (account.totp if enrolment.kind is EnrolmentKind.TOTP else account.sms)
        if account is None or account.backup_codes_left == 0 or held is not None:
            self._codes.prepare(enrolment.user_id)

    async def _on_its_way(self, kind: EnrolmentKind, to: Addressee) -> SmsOffer | None:
        """What the session has begun with this number a moment ago. By what is on record, also where the limits' store
        has forgotten (P7)."""
        caller, now = to.caller, self._clock.now()
        newest = await self._enrolments.newest(caller.user_id, kind, caller.session_id)
        if newest is None or newest.secret is None or not newest.is_open(now):
            return None
        if self._vault.open(newest.secret, enrolment_context(newest.id, newest.user_id)) != to.phone:
            return None
        challenge = await self._challenges.newest(newest.user_id, LoginId(newest.id))
        if challenge is None or challenge.ended_at is not None or now >= resend_after(challenge):
            return None
        return await self._told_again(newest, challenge, to)

    async def _repeat_sms(self, enrolment: Enrolment, to: Addressee) -> SmsOffer:
        challenge = await self._challenges.newest(enrolment.user_id, LoginId(enrolment.id))
        if challenge is None or not enrolment.is_open(self._clock.now()):
            raise gone()
        return await self._told_again(enrolment, challenge, to)

    async def _told_again(self, enrolment: Enrolment, challenge: Challenge, to: Addressee) -> SmsOffer:
        if challenge.delivery_id is None and challenge.ended_at is not None:
            raise unavailable("notifier")  # it was refused; the answer was lost
        caller = to.caller
        again = sms_spends(caller.session_id, caller.user_id, to.phone, caller.address)
        if self._sender.is_pending(challenge):
            return SmsOffer(enrolment, await self._sender.hand_over(challenge, to, [], again))
        return SmsOffer(enrolment, await self._sender.as_sent(challenge, again))

    def _new(
        self, caller: Caller, kind: EnrolmentKind, secret: str, phone_hint: str | None, request_id: str | None
    ) -> Enrolment:
        now = self._clock.now()
        enrolment_id = EnrolmentId(f"enr_{secrets.token_hex(16)}")
        return Enrolment(
            id=enrolment_id,
            user_id=caller.user_id,
            session_id=caller.session_id,
            request_id=request_id,
            kind=kind,
            secret=self._vault.seal(secret, enrolment_context(enrolment_id, caller.user_id)),
            phone_hint=phone_hint,
            created_at=now,
            expires_at=now + LIFE,
        )

    def _offer(self, enrolment: Enrolment) -> TotpOffer:
        if enrolment.secret is None:
            raise gone()
        opened = self._vault.open(enrolment.secret, enrolment_context(enrolment.id, enrolment.user_id))
        secret, _, label = opened.partition(_SEPARATOR)
        return TotpOffer(enrolment, secret, totp.otpauth_uri(self._issuer, label, secret))


def totp_secret_of(opened: str) -> str:
    """The secret alone, of what a TOTP enrolment seals."""
    return opened.partition(_SEPARATOR)[0]


def not_found() -> ServiceError:
    return ServiceError(ErrorCode.NOT_FOUND, "There is no such set-up.")


def gone() -> ServiceError:
    return ServiceError(ErrorCode.GONE, "This set-up is over. Please start again.")


def _started(caller: Caller, enrolment: Enrolment) -> AuditEvent:
    return AuditEvent(
        kind="enrolment.started",
        at=enrolment.created_at,
        clinic_id=caller.clinic_id,
        actor_kind="user",
        actor_id=caller.user_id,
        subject_id=caller.user_id,
        address=caller.address or None,
        detail={"enrolment_id": enrolment.id, "kind": enrolment.kind.value, "session_id": caller.session_id},
    )
