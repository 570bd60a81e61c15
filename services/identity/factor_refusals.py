"""Why a second factor cannot be used, or set up, just now: refusals that say what helps."""

from services.common.errors import ErrorCode, ServiceError
from services.identity.model import Decision, Method, SessionState, SignedIn
from services.identity.peers.otp import OtpPeer
from services.identity.standing import Standings, enrolment_required

NAMES = {
    Method.TOTP: "an authenticator app",
    Method.SMS: "a telephone number for text messages",
    Method.BACKUP_CODE: "backup codes",
}
_SUSPENDED = "What you set up for codes is suspended. An administrator of your clinic can let you in once."


async def no_such_factor(standings: Standings, otp: OtpPeer, signed_in: SignedIn, method: Method) -> ServiceError:
    """The refusal of a code for a factor that the user has not."""
    if signed_in.session.verified_at is None:
        standing = await standings.stand(signed_in, fresh=True)
        if standing.state is SessionState.ENROLMENT_REQUIRED:
            return enrolment_required(standing)
    factors = await otp.factors_of(signed_in.user.id)
    if method is Method.SMS and Method.SMS in factors.usable_methods():
        return ServiceError(
            ErrorCode.CODE_EXPIRED,
            "There is no code to check: none was sent, or it is no longer valid. Ask for a new one.",
        )
    if factors.factors and not factors.is_any_usable:
        return ServiceError(ErrorCode.CONFLICT, _SUSPENDED)
    return ServiceError(ErrorCode.CONFLICT, f"You have not set up {NAMES[method]}.")


def no_number() -> ServiceError:
    return ServiceError(
        ErrorCode.INVALID_REQUEST,
        "There is no telephone number on file.",
        errors=[{"field": "phone", "message": "Give the number that codes are to be sent to."}],
    )


def check_allowed(decision: Decision, method: Method) -> None:
    """Raises `conflict` unless the clinic offers this factor."""
    if method not in decision.methods_allowed:
        raise not_allowed(method)


def not_allowed(method: Method) -> ServiceError:
    return ServiceError(ErrorCode.CONFLICT, f"Your clinic does not offer {NAMES[method]} as a second factor.")
