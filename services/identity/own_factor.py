"""The condition for acts that could weaken the clinic: whoever does them has a second factor of their own."""

from services.common.errors import ErrorCode, ServiceError
from services.identity.model import UserId
from services.identity.peers.otp import OtpPeer


async def check_own_factor(otp: OtpPeer, user_id: UserId, then: str) -> None:
    """Raises `conflict` unless the user has a confirmed factor that is not suspended. `then`: what they could do."""
    factors = await otp.factors_of(user_id)
    if not any(not factor.is_suspended for factor in factors.factors):
        raise ServiceError(
            ErrorCode.CONFLICT, f"Set up two-factor authentication for yourself first; then you can {then}."
        )
