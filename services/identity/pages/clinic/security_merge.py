"""Two administrators at the clinic's rule at once: what each has changed comes together, and only where both have
changed the same does somebody have to decide.

Fields that mean something together, such as the box and its date, count as one.
"""

import json
from dataclasses import dataclass, replace

from services.identity.pages.clinic.security_form import FIELDS, Typed, typed_in
from services.identity.pages.form import Fields

_TOGETHER = (("require_two_factor", "enforce_from", "which"), ("method_totp", "method_sms"))
_GROUPS = (*_TOGETHER, *((name,) for name in FIELDS if not any(name in group for group in _TOGETHER)))


@dataclass(frozen=True, slots=True)
class Sent:
    """The form: what was typed into which version of the rule, and what it showed before."""

    typed: Typed
    version: str
    was: Typed

    @property
    def was_in_one_field(self) -> str:
        """What the form showed, to be sent along with it."""
        return json.dumps(dict(self.was), ensure_ascii=False, separators=(",", ":"))


def sent_in(fields: Fields) -> Sent:
    return Sent(typed_in(fields), fields("version"), _from_one_field(fields("was")))


def merged(sent: Sent, now: Typed, version: str) -> tuple[Sent, frozenset[str]]:
    """The form as if it had been typed into the rule of `now`, which is another than the one that it showed; and the
    fields that both have changed, in which it keeps what was typed."""
    typed, both = dict(sent.typed), set[str]()
    for group in _GROUPS:
        before, theirs, ours = ([state.get(name) for name in group] for state in (sent.was, now, sent.typed))
        if ours == before:
            typed |= {name: now[name] for name in group}
        elif theirs not in (before, ours):
            both.update(group)
    return replace(sent, typed=typed, version=version, was=now), frozenset(both)


def _from_one_field(sent: str) -> Typed:
    """Nothing where it does not say what the form showed: then all of it counts as typed."""
    try:
        found = json.loads(sent)
    except ValueError:
        return {}
    is_known = isinstance(found, dict) and found.keys() <= set(FIELDS)
    return found if is_known and all(isinstance(value, str) for value in found.values()) else {}
