"""What pages load: the style sheet, the script and the icon, named here; nothing else of the folder can be asked for.

Their addresses carry a mark of their content, so that a browser may keep them and still sees a new one at once.
"""

import hashlib
from functools import cache
from pathlib import Path

FILES = {
    "countersign.css": "text/css; charset=utf-8",
    "countersign.js": "text/javascript; charset=utf-8",
    "mark.svg": "image/svg+xml",
}
"""Name and media type."""


@cache
def content(name: str) -> bytes:
    return Path(__file__).with_name("static").joinpath(name).read_bytes()


@cache
def address(name: str) -> str:
    """The path of the file as it is now."""
    return f"/static/{name}?v={hashlib.sha256(content(name)).hexdigest()[:10]}"
