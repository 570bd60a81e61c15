"""QR codes as parts of pages, in whatever size the style sheet gives them."""

import re

from markupsafe import Markup, escape

from services.identity import qr

_SIZE = re.compile(r'width="(\d+)" height="(\d+)"')


def qr_picture(text: str, label: str) -> Markup:
    """An SVG element, with a name for those who do not see it; without one it is hidden from them."""
    name = f'role="img" aria-label="{escape(label)}"' if label else 'aria-hidden="true"'

    def named(size: re.Match[str]) -> str:
        return f'viewBox="0 0 {size[1]} {size[2]}" {name}'

    return Markup(_SIZE.sub(named, qr.svg(text), count=1))  # noqa: S704  paths and numbers, and an escaped name
