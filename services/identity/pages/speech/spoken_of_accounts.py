"""What services say of accounts: what happened to them, and what cannot be done with them; part of `spoken`."""

from services.identity.pages.speech.marking import marked

OF_ACCOUNTS: tuple[str, ...] = (
    marked("An authenticator app was set up for your account on {when}."),
    marked("Your authenticator app was replaced on {when}."),
    marked("Your authenticator app was turned off on {when}."),
    marked("Codes by text message were set up for your account on {when}."),
    marked("Codes by text message were set up anew for your account on {when}."),
    marked("Codes by text message were turned off on {when}."),
    marked("{who} let you sign in once without a code, to set up a second factor, on {when}."),
    marked("What you had set up for codes is suspended."),
    marked("If you did not ask for that, tell your administrator."),
    marked("Someone signed in to your account on {when}, with the permission to do so once without a code."),
    marked(
        "After a sign-in without a code, an authenticator app took the place of all that was set up for your account,"
        " on {when}."
    ),
    marked(
        "After a sign-in without a code, codes by text message took the place of all that was set up for your account,"
        " on {when}."
    ),
    marked("{whose} signed in on {when}, as you had allowed once without a code."),
    marked("If that was not {whose}, undo it within 24 hours."),
    marked("{whose} set up an authenticator app on {when}, after the sign-in without a code that you had allowed."),
    marked("{whose} set up codes by text message on {when}, after the sign-in without a code that you had allowed."),
    marked("If that was not {whose}, undo it within 24 hours of the sign-in."),
    marked("{who} let {whose} sign in once without a code, to set up a second factor, on {when}."),
    marked("If nobody at your clinic asked for that, take it back and ask the operator why."),
    marked("New backup codes were made for your account on {when}; older ones no longer work."),
    marked("A backup code was used on {when}; you have {codes_left} left."),
    marked("Make new ones while you can."),
    marked("Too many wrong codes were typed for your account on {when}."),
    marked("Too many wrong codes were typed for the account of {whose} on {when}."),
    marked("If that was not {whose}, somebody has their password: reset it."),
    marked("Your password was changed on {when}."),
    marked("A new password was set for your account on {when}, with a link from your administrator."),
    marked("{who} changed the telephone number of your account on {when}."),
    marked("If that is wrong, tell your administrator."),
    marked("The telephone number of your account was changed on {when}."),
    marked("Your account was signed in to from a new browser on {when}."),
    marked("If that was not you, tell your administrator."),
    marked("If that was not you, tell your administrator at once."),
    marked("There is no such notice."),
    marked("There is no such session."),
    marked("There is no such browser."),
    marked("There is no such clinic."),
    marked("There is no such person in your clinic."),
    marked("Only an administrator of the clinic may do this."),
    marked("Another administrator has to do this for you."),
    marked("This account is disabled."),
    marked("Enable it first."),
    marked("You cannot disable your own account."),
    marked("Ask another administrator."),
    marked("This is the clinic's only administrator who can sign in and is not exempt."),
    marked("Make someone else one first."),
    marked("Someone in this clinic has this e-mail address already."),
)
