"""What people are answered of their second factors, and how that is found."""

import re
from dataclasses import dataclass, replace

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


def told_of(name: str, overview: Overview) -> Overview:
    """The same as it is told to somebody else: its sentence speaks of the person by name."""
    reason = overview.decision.reason
    sentence = reason.sentence
    for spoken_to, spoken_of in _SPOKEN_TO:
        if found := spoken_to.search(sentence):
            instead = found.expand(spoken_of).replace("{person}", name)
            sentence = f"{sentence[: found.start()]}{instead}{sentence[found.end() :]}"
    return replace(overview, decision=replace(overview.decision, reason=replace(reason, sentence=sentence)))


# Policy speaks to the person whom it decides about. All its forms are here, which a test holds.
_SPOKEN_TO = [
    (re.compile(spoken_to), spoken_of)
    for spoken_to, spoken_of in (
        (r"^You have set up (.+), so you are asked for a code", r"{person} has set up \1 and is asked for a code"),
        (
            r"^What you set up for codes is suspended: please ask (.+) to let you in\.$",
            r"What {person} set up for codes is suspended. An administrator can let them in once.",
        ),
        (r"^(An administrator of .*) (requires|has required) you to give\b", r"\1 \2 {person} to give"),
        (r"^(An administrator of .*) lets you sign in\b", r"\1 lets {person} sign in"),
        (r", and you have (not set up|set up)\b", r", and {person} has \1"),
        (r": after your code, please set up ", r": after the code, {person} is to set up "),
        (
            r" The ways it allows cannot be set up at the moment: please ask one of its administrators\.$",
            " The ways it allows cannot be set up at the moment.",
        ),
    )
]
