"""The kinds of audit events in plain words, by the service that writes them: the table of deploy/audit-events.md as a
page tells it. Whole: a test holds the one against the other."""

from collections.abc import Mapping

from services.identity.pages.speech.languages import Speech
from services.identity.pages.speech.marking import marked

RULE_CHANGED = "clinic_rule.changed"

_KEYS_ROTATED = marked("An encryption key was retired")

KINDS: Mapping[str, Mapping[str, str]] = {
    "identity": {
        "clinic.created": marked("The clinic was set up"),
        "clinic.changed": marked("The clinic's name, time zone, country or language was changed"),
        "user.added": marked("Invited to the clinic"),
        "user.imported": marked("Imported from another system"),
        "user.activated": marked("Accepted an invitation and chose a password"),
        "user.changed": marked("Someone's details were changed"),
        "user.explained": marked("An operator looked at someone's account"),
        "phone.proven": marked("Confirmed a mobile number"),
        "password.changed": marked("Changed the password"),
        "password.reset_offered": marked("A link to choose a new password was made"),
        "password.reset": marked("Chose a new password with a link"),
        "session.refused": marked("A sign-in failed"),
        "session.opened": marked("Signed in with the right password"),
        "session.proven": marked("Gave a code at sign-in"),
        "session.stepped_up": marked("Gave a new code before a change"),
        "session.retold": marked("A lost answer was sent again"),
        "session.ended": marked("Signed out"),
        "sessions.ended": marked("Signed out everywhere by an administrator"),
        "factor.enrolled": marked("Set up two-factor authentication"),
        "factor.removed": marked("Turned off a way to get codes"),
        "factors.suspended": marked("A phone's codes were suspended, and its sign-ins ended"),
        "bypass.undone": marked("A sign-in without a code was undone, with everything it led to"),
        "device.ended": marked("A remembered browser was forgotten"),
        "devices.ended": marked("Remembered browsers were forgotten"),
        "device.reused": marked("A remembered browser may have been copied"),
        "device.shared": marked("A computer was marked as shared"),
        "device.unshared": marked("A computer is no longer marked as shared"),
        "app.created": marked("An app was given a key"),
        "app.revoked": marked("An app's key was revoked"),
        "keys.rotated": _KEYS_ROTATED,
    },
    "otp": {
        "enrolment.started": marked("Began to set up a way to get codes, or to confirm a number"),
        "factor.added": marked("A way to get codes was added"),
        "factor.replaced": marked("A way to get codes was replaced"),
        "factor.imported": marked("An authenticator app was imported from another system"),
        "factor.removed": marked("A way to get codes was removed"),
        "factors.suspended": marked("All ways to get codes were suspended"),
        "factors.removed": marked("All ways to get codes were removed"),
        "number.refused": marked("A number was refused: too many accounts use it"),
        "backup_codes.made": marked("Made new backup codes"),
        "sms_code.requested": marked("Asked for a code by text message"),
        "code.accepted": marked("A code was right"),
        "code.wrong": marked("A code was wrong"),
        "code.already_used": marked("A code was used a second time"),
        "code.expired": marked("A code was too old"),
        "code.too_many_attempts": marked("A code was not checked: too many wrong ones before"),
        "code.no_such_factor": marked("A code was given for something that is not set up"),
        "code.malformed": marked("What was typed was not a code"),
        "code.contested": marked("The same code came twice at the same time"),
        "guess_budget.reset": marked("Can try codes again"),
        "keys.rotated": _KEYS_ROTATED,
    },
    "policy": {
        "clinic_rule.created": marked("The clinic's rule was created"),
        RULE_CHANGED: marked("The clinic's rule was changed"),
        "requirement.changed": marked("What is required of one person was changed"),
        "hold.set": marked("A requirement of an integration was added"),
        "hold.changed": marked("A requirement of an integration was changed"),
        "hold.ended": marked("A requirement of an integration was ended"),
        "bypass.granted": marked("Was allowed to sign in once without a code"),
        "bypass.used": marked("Signed in once without a code"),
        "bypass.revoked": marked("Permission to sign in once without a code was withdrawn"),
        "bypass.undone": marked("A sign-in without a code was undone"),
        "bypass.ended": marked("Permission to sign in without a code expired unused"),
    },
    "notifier": {
        "delivery.queued": marked("A message is waiting to be sent"),
        "delivery.sending": marked("A message is being sent"),
        "delivery.sent": marked("A message was sent"),
        "delivery.delivered": marked("A message arrived"),
        "delivery.failed": marked("A message could not be delivered"),
        "delivery.unknown": marked("It is unclear whether a message arrived"),
        "delivery.expired": marked("A message was not sent: it was too old"),
        "delivery.hastened": marked("A message was sent right away at an operator's request"),
        "keys.rotated": _KEYS_ROTATED,
    },
}
"""Service → kind → words."""

_GROUPS = {
    "identity": marked("People and signing in"),
    "otp": marked("Codes"),
    "policy": marked("Rules"),
    "notifier": marked("Messages"),
}


def in_words(speech: Speech, service: str, kind: str) -> str:
    """What happened; a kind of a later version by its name."""
    return speech.say(KINDS.get(service, {}).get(kind, "")) or kind


def is_kind(kind: str) -> bool:
    return any(kind in kinds for kinds in KINDS.values())


def kinds_to_choose(speech: Speech) -> list[tuple[str, list[tuple[str, str]]]]:
    """Group → kinds with their words, in the words' order. A kind that two services write is there once."""
    seen: set[str] = set()
    groups = []
    for service, kinds in KINDS.items():
        chosen = {kind: speech.say(words) for kind, words in kinds.items() if kind not in seen}
        seen |= chosen.keys()
        groups.append((speech.say(_GROUPS[service]), sorted(chosen.items(), key=lambda one: one[1])))
    return groups
