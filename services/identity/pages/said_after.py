"""What an address may ask a page to say, by name; nothing from an address is shown as it is."""

from collections.abc import Mapping

from services.identity.pages.marking import marked

DONE: Mapping[str, str] = {
    "password-saved": marked("Your password is saved. Sign in with it now."),
    "signed-out": marked("You are signed out."),
    "stepped-up": marked("Thank you. For the next five minutes you can make changes here."),
    "turned-off": marked("That way to sign in is turned off."),
    "rule-on": marked("From now on everyone in your clinic needs two-factor authentication."),
    "rule-off": marked("Two-factor authentication is no longer required of everyone."),
    "saved": marked("Saved."),
    "idle": marked("You were signed out because nothing happened for a while. Please sign in again."),
    "over": marked("Your sign-in has ended. Please sign in again."),
}
