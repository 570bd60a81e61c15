"""Calls to the otp service: factors, codes, enrolments."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from countersign.otp.v1 import otp_pb2
from countersign.otp.v1.otp_pb2_grpc import OtpStub

from services.common.errors import ServiceError, unavailable
from services.common.logs import get_logger
from services.common.rpc_client import Peer
from services.common.rpc_errors import is_unknown_method
from services.identity.model import (
    ClinicId,
    Method,
    SessionId,
    UserFactors,
    UserId,
)
from services.identity.otp_words import (
    BackupCodes,
    EnrolmentVerdict,
    SmsChallenge,
    SmsEnrolment,
    TotpEnrolment,
    Verdict,
)
from services.identity.peers.otp_answers import (
    TO_WIRE,
    challenge_of,
    codes_of,
    factors_of,
    time_of,
    totp_of,
    verdict_of,
)
from services.identity.policy_words import SmsTerms

if TYPE_CHECKING:
    from countersign.otp.v1.otp_pb2_grpc import OtpAsyncStub

_log = get_logger(__name__)

_SECONDS = 2.0
_VERIFY_SECONDS = 2.5
_CODES_SECONDS = 2.9  # ten backup codes may be hashed in it; nothing hangs longer than 3 s (F02)


@dataclass(frozen=True, slots=True)
class OtpCaller:
    """Whom a call is for and where it came from."""

    clinic_id: ClinicId
    user_id: UserId
    session_id: SessionId
    address: str
    user_agent: str = ""

    def to_wire(self) -> otp_pb2.Caller:
        return otp_pb2.Caller(
            clinic_id=self.clinic_id,
            user_id=self.user_id,
            session_id=self.session_id,
            address=self.address,
            user_agent=self.user_agent[:200],
        )


class OtpPeer:
    def __init__(self, target: str, tls_dir: Path) -> None:
        self._peer: Peer[OtpAsyncStub] = Peer(lambda channel: OtpStub(channel), target, "otp", tls_dir)

    async def close(self) -> None:
        await self._peer.close()

    async def verify(self, attempt_id: str, login_id: str, caller: OtpCaller, method: Method, code: str) -> Verdict:
        """One code, compared at most once under its attempt's id."""
        request = otp_pb2.VerifyRequest(
            attempts=[
                otp_pb2.Attempt(
                    attempt_id=attempt_id,
                    login_id=login_id,
                    caller=caller.to_wire(),
                    method=TO_WIRE[method],
                    code=code,
                )
            ]
        )
        response = await self._peer.call(self._peer.stub.Verify, request, _VERIFY_SECONDS, repeatable=True)
        if len(response.verdicts) != 1:
            raise unavailable("otp")
        return verdict_of(response.verdicts[0])

    async def factors(self, user_ids: Sequence[UserId]) -> list[UserFactors]:
        """The factors of each user, in the order asked for."""
        request = otp_pb2.GetFactorsRequest(user_ids=user_ids)
        response = await self._peer.call(self._peer.stub.GetFactors, request, _SECONDS, repeatable=True)
        if [found.user_id for found in response.users] != list(user_ids):
            raise unavailable("otp")
        return [factors_of(found) for found in response.users]

    async def factors_of(self, user_id: UserId) -> UserFactors:
        return (await self.factors([user_id]))[0]

    async def count_enrolled(self, user_ids: Sequence[UserId]) -> int:
        """How many of them have a factor, suspended ones included."""
        request = otp_pb2.CountEnrolledRequest(user_ids=user_ids)
        try:
            response = await self._peer.call(self._peer.stub.CountEnrolled, request, _SECONDS, repeatable=True)
        except ServiceError as error:
            if is_unknown_method(error):  # an otp of before this question
                return sum(bool(one.factors) for one in await self.factors(user_ids))
            raise
        return response.count

    async def factors_epoch(self, clinic_id: ClinicId) -> int | None:
        """What counts the changes of anybody's factors in the clinic; None where otp is too old to count them."""
        request = otp_pb2.GetFactorsEpochRequest(clinic_id=clinic_id)
        try:
            response = await self._peer.call(self._peer.stub.GetFactorsEpoch, request, _SECONDS, repeatable=True)
        except ServiceError as error:
            if is_unknown_method(error):
                return None
            raise
        return response.epoch

    async def start_totp(self, caller: OtpCaller, account_label: str) -> TotpEnrolment:
        request = otp_pb2.StartTotpEnrolmentRequest(caller=caller.to_wire(), account_label=account_label)
        response = await self._peer.call(self._peer.stub.StartTotpEnrolment, request, _SECONDS, repeatable=True)
        return totp_of(response)

    async def totp_enrolment(self, user_id: UserId, session_id: SessionId, enrolment_id: str) -> TotpEnrolment:
        request = otp_pb2.GetTotpEnrolmentRequest(user_id=user_id, enrolment_id=enrolment_id, session_id=session_id)
        response = await self._peer.call(self._peer.stub.GetTotpEnrolment, request, _SECONDS, repeatable=True)
        return totp_of(response)

    async def start_sms(
        self, request_id: str, caller: OtpCaller, phone: str, locale: str, terms: SmsTerms, *, only_proof: bool
    ) -> SmsEnrolment:
        """Sends a code to a number that is to become a factor, or only to be proven."""
        request = otp_pb2.StartSmsEnrolmentRequest(
            request_id=request_id,
            caller=caller.to_wire(),
            phone=phone,
            locale=locale,
            purpose=otp_pb2.SMS_PURPOSE_PHONE_PROOF if only_proof else otp_pb2.SMS_PURPOSE_ENROLMENT,
            terms=_terms(terms),
        )
        response = await self._peer.call(self._peer.stub.StartSmsEnrolment, request, _SECONDS, repeatable=True)
        return SmsEnrolment(
            id=response.enrolment_id,
            phone_hint=response.phone_hint,
            expires_at=time_of(response.expires_at),
            resend_after=time_of(response.resend_after),
            delivery_status=response.delivery_status,
        )

    async def confirm(
        self,
        attempt_id: str,
        login_id: str,
        caller: OtpCaller,
        method: Method,
        enrolment_id: str,
        code: str,
        methods_allowed: Sequence[Method],
        *,
        replace_all: bool = False,
        only_repeat: bool = False,
        only_first: bool = False,
    ) -> EnrolmentVerdict:
        """Confirms the set-up of a factor with a code. `replace_all`: in place of every older factor and code.
        `only_repeat`: nothing but what this very login has confirmed with this very code. `only_first`: nothing beside
        a factor that the user has by now."""
        return await self._confirm(
            otp_pb2.ConfirmEnrolmentRequest(
                attempt_id=attempt_id,
                login_id=login_id,
                caller=caller.to_wire(),
                method=TO_WIRE[method],
                enrolment_id=enrolment_id,
                code=code,
                purpose=otp_pb2.SMS_PURPOSE_ENROLMENT if method is Method.SMS else otp_pb2.SMS_PURPOSE_UNSPECIFIED,
                methods_allowed=[TO_WIRE[allowed] for allowed in methods_allowed],
                replace_all=replace_all,
                only_repeat=only_repeat,
                only_first=only_first,
            )
        )

    async def confirm_phone(
        self, attempt_id: str, login_id: str, caller: OtpCaller, code: str, *, only_first: bool
    ) -> EnrolmentVerdict:
        """Confirms that the newest number of this session that was to be proven is the user's. `only_first`: as for
        a factor."""
        return await self._confirm(
            otp_pb2.ConfirmEnrolmentRequest(
                attempt_id=attempt_id,
                login_id=login_id,
                caller=caller.to_wire(),
                method=otp_pb2.METHOD_SMS,
                code=code,
                purpose=otp_pb2.SMS_PURPOSE_PHONE_PROOF,
                only_first=only_first,
            )
        )

    async def _confirm(self, request: otp_pb2.ConfirmEnrolmentRequest) -> EnrolmentVerdict:
        response = await self._peer.call(self._peer.stub.ConfirmEnrolment, request, _CODES_SECONDS, repeatable=True)
        codes = codes_of(response.backup_codes) if response.HasField("backup_codes") else None
        return EnrolmentVerdict(verdict_of(response.verdict), codes, response.phone or None)

    async def send_sms_code(
        self, request_id: str, login_id: str, caller: OtpCaller, locale: str, terms: SmsTerms | None
    ) -> SmsChallenge:
        request = otp_pb2.SendSmsCodeRequest(
            request_id=request_id,
            login_id=login_id,
            caller=caller.to_wire(),
            locale=locale,
            terms=_terms(terms) if terms else None,
        )
        return challenge_of(await self._peer.call(self._peer.stub.SendSmsCode, request, _SECONDS, repeatable=True))

    async def sms_challenge(self, login_id: str, user_id: UserId) -> SmsChallenge:
        request = otp_pb2.GetSmsChallengeRequest(login_id=login_id, user_id=user_id)
        return challenge_of(await self._peer.call(self._peer.stub.GetSmsChallenge, request, _SECONDS, repeatable=True))

    async def regenerate_backup_codes(self, caller: OtpCaller) -> BackupCodes:
        request = otp_pb2.RegenerateBackupCodesRequest(caller=caller.to_wire())
        return codes_of(await self._peer.call(self._peer.stub.RegenerateBackupCodes, request, _CODES_SECONDS))

    async def remove_factor(self, caller: OtpCaller, method: Method) -> UserFactors:
        """Removes one factor and answers what is left."""
        request = otp_pb2.RemoveFactorRequest(caller=caller.to_wire(), method=TO_WIRE[method])
        return factors_of(await self._peer.call(self._peer.stub.RemoveFactor, request, _SECONDS))

    async def suspend_factors(self, caller: OtpCaller, cause: str) -> UserFactors:
        """No factor or backup code of the user answers from now on; each still counts as one."""
        request = otp_pb2.SuspendFactorsRequest(caller=caller.to_wire(), cause=cause)
        return factors_of(await self._peer.call(self._peer.stub.SuspendFactors, request, _SECONDS, repeatable=True))

    async def remove_all_factors(self, caller: OtpCaller, cause: str, new_since: datetime | None) -> UserFactors:
        """The user has neither factor nor backup code from now on; with a time only where one was set up since. What is
        being set up just now ends in either case."""
        request = otp_pb2.RemoveAllFactorsRequest(caller=caller.to_wire(), cause=cause)
        if new_since is not None:
            request.only_if_new_since.FromDatetime(new_since)
        return factors_of(await self._peer.call(self._peer.stub.RemoveAllFactors, request, _SECONDS, repeatable=True))

    async def reset_guess_budget(self, clinic_id: ClinicId, user_id: UserId, cause: str) -> None:
        request = otp_pb2.ResetGuessBudgetRequest(user_id=user_id, clinic_id=clinic_id, cause=cause)
        await self._peer.call(self._peer.stub.ResetGuessBudget, request, _SECONDS, repeatable=True)

    async def forget_proven_number(self, user_id: UserId) -> None:
        """No number counts as proven by this user any more."""
        request = otp_pb2.ForgetProvenNumberRequest(user_id=user_id)
        await self._peer.call(self._peer.stub.ForgetProvenNumber, request, _SECONDS, repeatable=True)

    async def number_changed(self, user_id: UserId) -> None:
        """Another number is on file. Where otp is away the old one goes on counting as theirs, until they prove one."""
        try:
            await self.forget_proven_number(user_id)
        except ServiceError as error:
            _log.warning("proven_number_not_forgotten", user_id=user_id, error_code=error.code.value)

    async def ping(self) -> None:
        """Raises `unavailable` unless otp says that it serves."""
        await self._peer.ping()


def _terms(terms: SmsTerms) -> otp_pb2.SmsTerms:
    return otp_pb2.SmsTerms(daily_cap=terms.daily_cap, countries=terms.countries)
