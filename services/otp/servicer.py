"""The otp contract on gRPC: translates, decides nothing. Only identity may call it."""

from collections.abc import Sequence
from datetime import UTC
from typing import Any

from countersign.otp.v1 import otp_pb2, otp_pb2_grpc
from prometheus_client import Counter

from services.common.clock import Clock
from services.common.errors import invalid
from services.common.rpc_server import Allowed
from services.otp import wire
from services.otp.challenges import SignInCodes
from services.otp.confirmation import Confirmation
from services.otp.enrolment import EnrolmentDesk
from services.otp.factors import Factors
from services.otp.model import ClinicId, EnrolmentId, LoginId, Method, SessionId, UserId
from services.otp.store.numbers import Numbers
from services.otp.verification import Verification

ALLOWED: Allowed = {
    f"/countersign.otp.v1.Otp/{method}": frozenset({"identity"})
    for method in otp_pb2.DESCRIPTOR.services_by_name["Otp"].methods_by_name
}

_MOST_ATTEMPTS = 64
_MOST_USERS = 1000
_CONTESTED = Counter("otp_codes_contested", "Codes that one session was accepted with and another sent, too late.")
_VERDICTS = Counter("otp_verdicts", "Codes answered, by method and result.", ["method", "result"])


class OtpServicer(otp_pb2_grpc.OtpServicer):
    def __init__(
        self,
        verification: Verification,
        confirmation: Confirmation,
        enrolment: EnrolmentDesk,
        sign_in_codes: SignInCodes,
        factors: Factors,
        numbers: Numbers,
        clock: Clock,
    ) -> None:
        self._verification = verification
        self._confirmation = confirmation
        self._enrolment = enrolment
        self._sign_in_codes = sign_in_codes
        self._factors = factors
        self._numbers = numbers
        self._clock = clock

    async def Verify(self, request: otp_pb2.VerifyRequest, context: Any) -> otp_pb2.VerifyResponse:  # noqa: N802
        if len(request.attempts) > _MOST_ATTEMPTS:
            raise invalid("attempts", f"holds more than {_MOST_ATTEMPTS}")
        attempts = [wire.attempt(message) for message in request.attempts]
        answers = await self._verification.verify_many(attempts)
        for attempt, (verdict, _) in zip(attempts, answers, strict=True):
            _VERDICTS.labels(attempt.method.value, verdict.result.value).inc()
            if verdict.is_contested:
                _CONTESTED.inc()
        now = self._clock.now()
        return otp_pb2.VerifyResponse(
            verdicts=[wire.wire_verdict(verdict, account, now) for verdict, account in answers]
        )

    async def GetFactors(  # noqa: N802
        self, request: otp_pb2.GetFactorsRequest, context: Any
    ) -> otp_pb2.GetFactorsResponse:
        now = self._clock.now()
        accounts = await self._factors.of_users(_users(request.user_ids))
        return otp_pb2.GetFactorsResponse(users=[wire.wire_factors(account, now) for account in accounts])

    async def CountEnrolled(  # noqa: N802
        self, request: otp_pb2.CountEnrolledRequest, context: Any
    ) -> otp_pb2.CountEnrolledResponse:
        return otp_pb2.CountEnrolledResponse(count=await self._factors.count_enrolled(_users(request.user_ids)))

    async def GetFactorsEpoch(  # noqa: N802
        self, request: otp_pb2.GetFactorsEpochRequest, context: Any
    ) -> otp_pb2.GetFactorsEpochResponse:
        clinic_id = ClinicId(wire.checked_id("clinic_id", request.clinic_id))
        return otp_pb2.GetFactorsEpochResponse(epoch=await self._factors.epoch(clinic_id))

    async def StartTotpEnrolment(  # noqa: N802
        self, request: otp_pb2.StartTotpEnrolmentRequest, context: Any
    ) -> otp_pb2.TotpEnrolment:
        label = request.account_label
        if not 0 < len(label) <= 400:
            raise invalid("account_label", "is empty or too long")
        return wire.wire_totp(await self._enrolment.start_totp(wire.caller(request.caller), label))

    async def GetTotpEnrolment(  # noqa: N802
        self, request: otp_pb2.GetTotpEnrolmentRequest, context: Any
    ) -> otp_pb2.TotpEnrolment:
        user_id = UserId(wire.checked_id("user_id", request.user_id))
        enrolment_id = EnrolmentId(wire.checked_id("enrolment_id", request.enrolment_id))
        session_id = SessionId(wire.checked_id("session_id", request.session_id))
        return wire.wire_totp(await self._enrolment.get_totp(user_id, session_id, enrolment_id))

    async def StartSmsEnrolment(  # noqa: N802
        self, request: otp_pb2.StartSmsEnrolmentRequest, context: Any
    ) -> otp_pb2.SmsEnrolment:
        offer = await self._enrolment.start_sms(
            wire.caller(request.caller),
            wire.checked_id("request_id", request.request_id),
            wire.phone(request.phone),
            request.locale[:35],
            wire.sms_kind(request.purpose),
            wire.sms_terms(request),
        )
        return wire.wire_sms(offer)

    async def ConfirmEnrolment(  # noqa: N802
        self, request: otp_pb2.ConfirmEnrolmentRequest, context: Any
    ) -> otp_pb2.ConfirmEnrolmentResponse:
        confirmed = await self._confirmation.confirm(wire.confirm(request))
        _VERDICTS.labels("enrolment", confirmed.verdict.result.value).inc()
        return wire.wire_confirmed(confirmed, self._clock)

    async def SendSmsCode(self, request: otp_pb2.SendSmsCodeRequest, context: Any) -> otp_pb2.SmsChallenge:  # noqa: N802
        sent = await self._sign_in_codes.send(
            wire.caller(request.caller),
            LoginId(wire.checked_id("login_id", request.login_id)),
            wire.checked_id("request_id", request.request_id),
            request.locale[:35],
            wire.sms_terms(request),
        )
        return wire.wire_challenge(sent)

    async def GetSmsChallenge(  # noqa: N802
        self, request: otp_pb2.GetSmsChallengeRequest, context: Any
    ) -> otp_pb2.SmsChallenge:
        user_id = UserId(wire.checked_id("user_id", request.user_id))
        login_id = LoginId(wire.checked_id("login_id", request.login_id))
        return wire.wire_challenge(await self._sign_in_codes.get(user_id, login_id))

    async def RegenerateBackupCodes(  # noqa: N802
        self, request: otp_pb2.RegenerateBackupCodesRequest, context: Any
    ) -> otp_pb2.BackupCodes:
        new_set, generated_at = await self._factors.regenerate_backup_codes(wire.caller(request.caller))
        return wire.wire_backup_codes(new_set.codes, generated_at)

    async def RemoveFactor(self, request: otp_pb2.RemoveFactorRequest, context: Any) -> otp_pb2.UserFactors:  # noqa: N802
        method = wire.method(request.method)
        if method is Method.BACKUP_CODE:
            raise invalid("method", "cannot be removed alone")
        account = await self._factors.remove(wire.caller(request.caller), method)
        return wire.wire_factors(account, self._clock.now())

    async def SuspendFactors(self, request: otp_pb2.SuspendFactorsRequest, context: Any) -> otp_pb2.UserFactors:  # noqa: N802
        account = await self._factors.suspend_all(wire.caller(request.caller), wire.cause(request.cause))
        return wire.wire_factors(account, self._clock.now())

    async def RemoveAllFactors(self, request: otp_pb2.RemoveAllFactorsRequest, context: Any) -> otp_pb2.UserFactors:  # noqa: N802
        since = request.only_if_new_since.ToDatetime(UTC) if request.HasField("only_if_new_since") else None
        account = await self._factors.remove_all(wire.caller(request.caller), wire.cause(request.cause), since)
        return wire.wire_factors(account, self._clock.now())

    async def ForgetProvenNumber(  # noqa: N802
        self, request: otp_pb2.ForgetProvenNumberRequest, context: Any
    ) -> otp_pb2.ForgetProvenNumberResponse:
        await self._numbers.forget_proof(UserId(wire.checked_id("user_id", request.user_id)))
        return otp_pb2.ForgetProvenNumberResponse()

    async def ResetGuessBudget(  # noqa: N802
        self, request: otp_pb2.ResetGuessBudgetRequest, context: Any
    ) -> otp_pb2.ResetGuessBudgetResponse:
        await self._factors.reset_guess_budget(
            UserId(wire.checked_id("user_id", request.user_id)),
            ClinicId(wire.checked_id("clinic_id", request.clinic_id)),
            wire.cause(request.cause),
        )
        return otp_pb2.ResetGuessBudgetResponse()


def _users(user_ids: Sequence[str]) -> list[UserId]:
    if len(user_ids) > _MOST_USERS:
        raise invalid("user_ids", f"holds more than {_MOST_USERS}")
    return [UserId(wire.checked_id("user_ids", user_id)) for user_id in user_ids]
