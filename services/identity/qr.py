"""QR codes of otpauth addresses, as pictures that any phone reads: never a Micro QR, always on white, at least two
pixels a module."""

import io

import segno

_SCALE = 6


def svg(text: str) -> str:
    """An SVG element that can stand in a page, and alone in a file."""
    drawn = io.BytesIO()
    _code(text).save(drawn, kind="svg", scale=_SCALE, light="white", xmldecl=False, svgns=True, nl=False)
    return drawn.getvalue().decode()


def png(text: str) -> bytes:
    drawn = io.BytesIO()
    _code(text).save(drawn, kind="png", scale=_SCALE, light="white")
    return drawn.getvalue()


def _code(text: str) -> segno.QRCode:
    return segno.make(text, micro=False, error="m")
