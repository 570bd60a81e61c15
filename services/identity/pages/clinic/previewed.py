"""What a change of the rule, or a hold, would do: the preview's people in groups, for the page "What this will do"."""

from collections.abc import Sequence
from dataclasses import dataclass

from services.identity.model import SessionState
from services.identity.pages.speech.languages import Speech
from services.identity.pages.speech.marking import marked
from services.identity.preview import Previewed, Totals
from services.identity.store.roster import Listed

_MOST_NAMED = 1000
"""In a group: beyond it the page would weigh more than a browser on a phone likes."""
_OPEN = 8
"""Up to so many names are shown without being asked for."""

_GROUPS = (
    (
        "stopped_now",
        marked("Stopped at once"),
        marked("At their next click they are asked to set it up or to type a code, and then carry on where they were."),
    ),
    (
        "stopped_at_sign_in",
        marked("Asked at their next sign-in"),
        marked("They are not signed in now. A password alone will no longer be enough."),
    ),
    ("no_factor", marked("Nothing set up"), marked("They have no authenticator app and no text messages yet.")),
    ("no_phone", marked("No mobile number"), marked("We have none for them.")),
    (
        "exempt",
        marked("Exempt"),
        marked(
            "An administrator has set this. It does not count while an integration requires two-factor authentication."
        ),
    ),
    ("unaffected", marked("Not affected"), marked("For them everything stays as it is.")),
)


@dataclass(frozen=True, slots=True)
class Group:
    """People of whom the same is true. `more`: how many are not named."""

    name: str
    words: str
    meaning: str
    count: int
    people: Sequence[Listed]
    more: int
    is_open: bool


def stops_anybody(totals: Totals) -> bool:
    return totals.stopped_now + totals.stopped_at_sign_in > 0


def groups_of(speech: Speech, found: Sequence[Previewed], totals: Totals) -> list[Group]:
    """Every group, in the order in which they matter; whoever is disabled is in none, as in the totals."""
    living = [one for one in found if not one.user.is_disabled]
    groups = []
    for name, words, meaning in _GROUPS:
        people = [one.user for one in living if _is_in(name, one)]
        groups.append(
            Group(
                name=name,
                words=speech.say(words),
                meaning=speech.say(meaning),
                count=getattr(totals, name),
                people=people[:_MOST_NAMED],
                more=max(len(people) - _MOST_NAMED, 0),
                is_open=name != "unaffected" and len(people) <= _OPEN,
            )
        )
    return groups


def _is_in(name: str, one: Previewed) -> bool:
    """The conditions of the totals, person by person."""
    stops = one.now is SessionState.ACTIVE and one.then is not SessionState.ACTIVE
    return {
        "stopped_now": stops and one.has_session,
        "stopped_at_sign_in": stops and not one.has_session,
        "no_factor": not one.has_factor,
        "no_phone": not one.user.has_phone,
        "exempt": one.is_exempt,
        "unaffected": one.now is one.then,
    }[name]
