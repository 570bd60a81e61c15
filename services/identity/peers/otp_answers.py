"""The otp contract's answers in identity's own words. What cannot be understood counts as no answer."""

from datetime import UTC, datetime

from countersign.otp.v1 import otp_pb2
from google.protobuf.timestamp_pb2 import Timestamp

from services.common.errors import unavailable
from services.identity.model import Factor, Method, UserFactors
from services.identity.otp_words import BackupCodes, SmsChallenge, TotpEnrolment, Verdict, VerdictResult

TO_WIRE = {
    Method.TOTP: otp_pb2.METHOD_TOTP,
    Method.SMS: otp_pb2.METHOD_SMS,
    Method.BACKUP_CODE: otp_pb2.METHOD_BACKUP_CODE,
}
_FROM_WIRE: dict[int, Method] = {number: method for method, number in TO_WIRE.items()}
_RESULTS: dict[int, VerdictResult] = {
    otp_pb2.Verdict.RESULT_ACCEPTED: VerdictResult.ACCEPTED,
    otp_pb2.Verdict.RESULT_WRONG: VerdictResult.WRONG,
    otp_pb2.Verdict.RESULT_ALREADY_USED: VerdictResult.ALREADY_USED,
    otp_pb2.Verdict.RESULT_EXPIRED: VerdictResult.EXPIRED,
    otp_pb2.Verdict.RESULT_TOO_MANY_ATTEMPTS: VerdictResult.TOO_MANY_ATTEMPTS,
    otp_pb2.Verdict.RESULT_NO_SUCH_FACTOR: VerdictResult.NO_SUCH_FACTOR,
    otp_pb2.Verdict.RESULT_MALFORMED: VerdictResult.MALFORMED,
}


def time_of(stamp: Timestamp) -> datetime:
    return stamp.ToDatetime(tzinfo=UTC)


def verdict_of(found: otp_pb2.Verdict) -> Verdict:
    result = _RESULTS.get(found.result)
    if result is None:
        raise unavailable("otp")
    return Verdict(
        result=result,
        attempts_left=max(0, found.attempts_left),
        retry_after_seconds=max(0, found.retry_after_seconds),
        is_locked=found.locked,
        clock_skew_seconds=found.clock_skew_seconds if found.HasField("clock_skew_seconds") else None,
        is_budget_newly_spent=found.budget_newly_spent,
        factors=factors_of(found.factors) if found.HasField("factors") else None,
    )


def factors_of(found: otp_pb2.UserFactors) -> UserFactors:
    factors = []
    for factor in found.factors:
        method = _FROM_WIRE.get(factor.method)
        if method is None:
            # A factor of a kind this version does not know is still one its owner has: whoever has one is asked.
            raise unavailable("otp")
        factors.append(
            Factor(
                method=method,
                enrolled_at=time_of(factor.enrolled_at),
                last_used_at=time_of(factor.last_used_at) if factor.HasField("last_used_at") else None,
                phone_hint=factor.phone_hint,
                is_suspended=factor.suspended,
            )
        )
    made_at = time_of(found.backup_codes_generated_at) if found.HasField("backup_codes_generated_at") else None
    return UserFactors(
        factors=tuple(factors),
        backup_codes_remaining=found.backup_codes_remaining,
        backup_codes_generated_at=made_at,
        attempts_left=found.attempts_left,
        retry_after_seconds=found.retry_after_seconds,
        is_locked=found.locked,
    )


def totp_of(found: otp_pb2.TotpEnrolment) -> TotpEnrolment:
    return TotpEnrolment(found.enrolment_id, found.secret, found.otpauth_uri, time_of(found.expires_at))


def codes_of(found: otp_pb2.BackupCodes) -> BackupCodes:
    return BackupCodes(tuple(found.codes), time_of(found.generated_at))


def challenge_of(found: otp_pb2.SmsChallenge) -> SmsChallenge:
    return SmsChallenge(
        expires_at=time_of(found.expires_at),
        resend_after=time_of(found.resend_after),
        phone_hint=found.phone_hint,
        delivery_status=found.delivery_status,
        delivery_detail=found.delivery_detail,
    )
