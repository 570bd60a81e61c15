"""The link by which somebody chooses a password, shown once to the administrator who hands it over: never in an address
of ours, and never again."""

from starlette.requests import Request
from starlette.responses import Response

from services.identity.activations import Link
from services.identity.guards import Access
from services.identity.model import User
from services.identity.pages.pictures import qr_picture
from services.identity.pages.rendering import page, speech_of


def link_page(request: Request, access: Access, user: User, link: Link, *, is_new: bool) -> Response:
    """`is_new`: the person has just been added."""
    picture = qr_picture(link.url, speech_of(request).say("QR code of the link"))
    return page(
        request,
        "users_link.html",
        access=access,
        user=user,
        address=link.url,
        expires_at=link.expires_at,
        picture=picture,
        is_new=is_new,
    )
