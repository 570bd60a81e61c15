"""What an address may ask a page to say, by name; nothing from an address is shown as it is."""

from collections.abc import Mapping

from services.identity.pages.speech.marking import marked

DONE: Mapping[str, str] = {
    "password-saved": marked("Your password is saved. Sign in with it now."),
    "signed-out": marked("You are signed out."),
    "stepped-up": marked("Thank you. For the next five minutes you can make changes here."),
    "turned-off": marked("That is turned off."),
    "set-up": marked("It is on. From now on you type a code when you sign in."),
    "set-up-over": marked("That set-up is over. This is how things stand now."),
    "set-up-again": marked("That took too long, so the set-up is over. Please start again here."),
    "codes-kept": marked("All done. Your backup codes are there for the day your phone is not at hand."),
    "phone-proven": marked("Your mobile number is confirmed and saved."),
    "password-changed": marked("Your password is changed, and you are signed out everywhere else."),
    "browser-ended": marked("That browser will be asked for a code again."),
    "session-ended": marked("That sign-in has ended."),
    "sessions-ended": marked("You are signed out everywhere else."),
    "rule-on": marked("From now on everyone in your clinic needs two-factor authentication."),
    "rule-off": marked("Two-factor authentication is no longer required of everyone."),
    "rule-scheduled": marked("Saved. Until the date comes, everything stays as it is."),
    "shared": marked("This computer is marked as shared: it remembers nobody."),
    "not-shared": marked("This computer is no longer marked as shared."),
    "hold-set": marked("Saved. It applies to everyone from their next click."),
    "hold-ended": marked("Ended. It no longer applies."),
    "saved": marked("Saved."),
    "saved-with-theirs": marked("Saved, together with what someone else has changed in the meantime."),
    "idle": marked("You were signed out because nothing happened for a while. Please sign in again."),
    "over": marked("Your sign-in has ended. Please sign in again."),
    "account-disabled": marked(
        "This account is disabled: nobody can sign in with it, and every session of it has ended."
    ),
    "account-enabled": marked("This account is enabled again."),
    "signed-out-everywhere": marked("This person is signed out everywhere."),
    "browsers-forgotten": marked("None of this person's browsers is remembered any more."),
    "requirement-saved": marked("What is required of this person is saved. It applies from their next click."),
    "phone-lifted": marked("No mobile number is needed of this person any more."),
    "phone-needed": marked("For this person's mobile number the clinic's rule applies again."),
    "let-in": marked("This person can now sign in once without a code. Nothing else has changed."),
    "let-in-stolen": marked(
        "The stolen phone and its codes are blocked, and this person is signed out everywhere. They can now sign in"
        " once without a code."
    ),
    "let-in-taken-back": marked("Taken back: this person needs a code again to sign in."),
    "let-in-undone": marked(
        "Undone: this person is signed out everywhere, and what was set up is gone. Make a link now, so that they can"
        " choose a new password."
    ),
}
