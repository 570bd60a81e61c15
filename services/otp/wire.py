"""The otp contract's messages as values of the model, and back. What cannot be understood is refused."""

import re
from collections.abc import Iterable
from datetime import datetime

from countersign.otp.v1 import otp_pb2
from google.protobuf.timestamp_pb2 import Timestamp

from services.common.clock import Clock
from services.common.errors import invalid
from services.otp.challenges import SentCode
from services.otp.enrolment import SmsOffer, TotpOffer
from services.otp.model import (
    Account,
    Attempt,
    AttemptId,
    Caller,
    ClinicId,
    Confirm,
    Confirmed,
    EnrolmentId,
    EnrolmentKind,
    LoginId,
    Method,
    Result,
    SessionId,
    UserId,
    Verdict,
)
from services.otp.peers import SmsTerms

_METHODS = {
    otp_pb2.METHOD_TOTP: Method.TOTP,
    otp_pb2.METHOD_SMS: Method.SMS,
    otp_pb2.METHOD_BACKUP_CODE: Method.BACKUP_CODE,
}
_WIRE_METHODS = {method: number for number, method in _METHODS.items()}
_WIRE_RESULTS = {
    Result.ACCEPTED: otp_pb2.Verdict.RESULT_ACCEPTED,
    Result.WRONG: otp_pb2.Verdict.RESULT_WRONG,
    Result.ALREADY_USED: otp_pb2.Verdict.RESULT_ALREADY_USED,
    Result.EXPIRED: otp_pb2.Verdict.RESULT_EXPIRED,
    Result.TOO_MANY_ATTEMPTS: otp_pb2.Verdict.RESULT_TOO_MANY_ATTEMPTS,
    Result.NO_SUCH_FACTOR: otp_pb2.Verdict.RESULT_NO_SUCH_FACTOR,
    Result.MALFORMED: otp_pb2.Verdict.RESULT_MALFORMED,
}
# Ids stand in the context that a secret is sealed for, whose parts a "|" separates.
_ID = re.compile(r"[\x21-\x7b\x7d\x7e]{1,200}")
_E164 = re.compile(r"\+[1-9][0-9]{5,14}")


def checked_id(field: str, value: str) -> str:
    if not _ID.fullmatch(value):
        raise invalid(field, "is not an id")
    return value


def caller(message: otp_pb2.Caller) -> Caller:
    return Caller(
        ClinicId(checked_id("caller.clinic_id", message.clinic_id)),
        UserId(checked_id("caller.user_id", message.user_id)),
        SessionId(checked_id("caller.session_id", message.session_id)),
        message.address[:64].replace("\0", ""),
        message.user_agent[:200].replace("\0", ""),
    )


def cause(text: str) -> str:
    return text[:64].replace("\0", "")


def method(number: otp_pb2.Method.ValueType) -> Method:
    try:
        return _METHODS[number]
    except KeyError:
        raise invalid("method", "is not known") from None


def attempt(message: otp_pb2.Attempt | otp_pb2.ConfirmEnrolmentRequest) -> Attempt:
    return Attempt(
        AttemptId(checked_id("attempt_id", message.attempt_id)),
        LoginId(checked_id("login_id", message.login_id)),
        caller(message.caller),
        method(message.method),
        message.code,
    )


def sms_kind(purpose: otp_pb2.SmsPurpose.ValueType) -> EnrolmentKind:
    if purpose == otp_pb2.SMS_PURPOSE_ENROLMENT:
        return EnrolmentKind.SMS
    if purpose == otp_pb2.SMS_PURPOSE_PHONE_PROOF:
        return EnrolmentKind.PHONE_PROOF
    raise invalid("purpose", "is not known")


def phone(number: str) -> str:
    if not _E164.fullmatch(number):
        raise invalid("phone", "is not a number in E.164")
    return number


def sms_terms(message: otp_pb2.StartSmsEnrolmentRequest | otp_pb2.SendSmsCodeRequest) -> SmsTerms | None:
    if not message.HasField("terms"):
        return None
    return SmsTerms(message.terms.daily_cap, tuple(message.terms.countries))


def confirm(message: otp_pb2.ConfirmEnrolmentRequest) -> Confirm:
    confirmed = attempt(message)
    if confirmed.method is Method.BACKUP_CODE:
        raise invalid("method", "cannot be set up")
    kind = EnrolmentKind.TOTP if confirmed.method is Method.TOTP else sms_kind(message.purpose)
    if message.enrolment_id or kind is not EnrolmentKind.PHONE_PROOF:
        checked_id("enrolment_id", message.enrolment_id)
    # A method that is not known here cannot be one of ours to keep, so leaving it out ends nothing it should not.
    allowed = frozenset(_METHODS[number] for number in message.methods_allowed if number in _METHODS)
    if message.methods_allowed and not allowed:
        raise invalid("methods_allowed", "holds none that is known")
    if kind is EnrolmentKind.PHONE_PROOF:
        allowed = frozenset()
    enrolment_id = EnrolmentId(message.enrolment_id)
    return Confirm(confirmed, enrolment_id, kind, allowed, message.replace_all, message.only_repeat, message.only_first)


def wire_verdict(verdict: Verdict, account: Account | None, now: datetime) -> otp_pb2.Verdict:
    return otp_pb2.Verdict(
        result=_WIRE_RESULTS[verdict.result],
        attempts_left=verdict.attempts_left,
        retry_after_seconds=verdict.retry_after,
        locked=verdict.is_locked,
        budget_newly_spent=verdict.is_budget_newly_spent,
        clock_skew_seconds=verdict.clock_skew_seconds,
        factors=None if account is None else wire_factors(account, now),
    )


def wire_factors(account: Account, now: datetime) -> otp_pb2.UserFactors:
    standing = account.budget.standing(now)
    factors = []
    if totp := account.totp:
        factors.append(
            otp_pb2.Factor(
                method=otp_pb2.METHOD_TOTP,
                enrolled_at=timestamp(totp.enrolled_at),
                last_used_at=timestamp(totp.last_used_at),
                suspended=account.is_suspended,
            )
        )
    if sms := account.sms:
        factors.append(
            otp_pb2.Factor(
                method=otp_pb2.METHOD_SMS,
                enrolled_at=timestamp(sms.enrolled_at),
                last_used_at=timestamp(sms.last_used_at),
                phone_hint=sms.phone_hint,
                suspended=account.is_suspended,
            )
        )
    return otp_pb2.UserFactors(
        user_id=account.user_id,
        factors=factors,
        backup_codes_remaining=account.backup_codes_left,
        backup_codes_generated_at=timestamp(account.backup_codes_generated_at),
        attempts_left=standing.attempts_left,
        retry_after_seconds=standing.retry_after,
        locked=standing.is_locked,
    )


def wire_totp(offer: TotpOffer) -> otp_pb2.TotpEnrolment:
    return otp_pb2.TotpEnrolment(
        enrolment_id=offer.enrolment.id,
        secret=offer.secret,
        otpauth_uri=offer.otpauth_uri,
        expires_at=timestamp(offer.enrolment.expires_at),
    )


def wire_sms(offer: SmsOffer) -> otp_pb2.SmsEnrolment:
    return otp_pb2.SmsEnrolment(
        enrolment_id=offer.enrolment.id,
        phone_hint=offer.enrolment.phone_hint or "",
        expires_at=timestamp(offer.sent.challenge.expires_at),
        resend_after=timestamp(offer.sent.resend_after),
        delivery_status=offer.sent.status,
    )


def wire_challenge(sent: SentCode) -> otp_pb2.SmsChallenge:
    return otp_pb2.SmsChallenge(
        expires_at=timestamp(sent.challenge.expires_at),
        resend_after=timestamp(sent.resend_after),
        phone_hint=sent.challenge.phone_hint,
        delivery_status=sent.status,
        delivery_detail=sent.detail,
    )


def wire_confirmed(confirmed: Confirmed, clock: Clock) -> otp_pb2.ConfirmEnrolmentResponse:
    return otp_pb2.ConfirmEnrolmentResponse(
        verdict=wire_verdict(confirmed.verdict, confirmed.account, clock.now()),
        backup_codes=wire_backup_codes(confirmed.new_codes, confirmed.generated_at) if confirmed.new_codes else None,
        phone=confirmed.phone,
    )


def wire_backup_codes(codes: Iterable[str], generated_at: datetime | None) -> otp_pb2.BackupCodes:
    return otp_pb2.BackupCodes(codes=codes, generated_at=timestamp(generated_at))


def timestamp(moment: datetime | None) -> Timestamp | None:
    if moment is None:
        return None
    stamp = Timestamp()
    stamp.FromDatetime(moment)
    return stamp
