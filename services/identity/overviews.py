"""What people are answered of their second factors, and how that is found."""

from dataclasses import dataclass

from services.identity.model import Decision, SignedIn, UserFactors
from services.identity.otp_words import BackupCodes
from services.identity.sessions import SessionView
from services.identity.standing import Standings


@dataclass(frozen=True, slots=True)
class Overview:
    """A user's second factors and what is asked of them."""

    factors: UserFactors
    decision: Decision


@dataclass(frozen=True, slots=True)
class Enrolled:
    """What confirming a factor gives."""

    overview: Overview
    backup_codes: BackupCodes | None
    view: SessionView


async def overview_of(standings: Standings, signed_in: SignedIn) -> Overview:
    """As things are now. Raises `unavailable` where it cannot be said."""
    facts = await standings.facts(signed_in.user, signed_in.clinic, fresh=True)
    if facts.factors is None or facts.decision is None:
        assert facts.away is not None
        raise facts.away
    return Overview(facts.factors, facts.decision)
