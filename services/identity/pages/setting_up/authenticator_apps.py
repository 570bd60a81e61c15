"""Authenticator apps that work, as a person finds the right one among look-alikes: by its publisher, in the phone's own
store. Facts of the stores; each of these apps is free there."""

from dataclasses import dataclass
from functools import cache

from markupsafe import Markup

from services.identity.pages.pictures import qr_picture

_APP_STORE = "https://apps.apple.com/app/"
_GOOGLE_PLAY = "https://play.google.com/store/apps/details?id="


@dataclass(frozen=True, slots=True)
class AuthenticatorApp:
    name: str
    publisher: str
    app_store: str
    """Its page for the iPhone."""
    google_play: str
    """Its page for Android."""


APPS = (
    AuthenticatorApp(
        "Google Authenticator",
        "Google LLC",
        f"{_APP_STORE}google-authenticator/id388497605",
        f"{_GOOGLE_PLAY}com.google.android.apps.authenticator2",
    ),
    AuthenticatorApp(
        "Microsoft Authenticator",
        "Microsoft Corporation",
        f"{_APP_STORE}microsoft-authenticator/id983156458",
        f"{_GOOGLE_PLAY}com.azure.authenticator",
    ),
    AuthenticatorApp(
        "Twilio Authy",
        "Twilio Inc. (Authy)",
        f"{_APP_STORE}twilio-authy/id494168017",
        f"{_GOOGLE_PLAY}com.authy.authy",
    ),
)


@cache
def store_picture(address: str) -> Markup:
    """The address as a QR code for the phone's camera. The link beside it says the same, so it has no name."""
    return qr_picture(address, "")
