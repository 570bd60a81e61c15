"""Whether whoever asks is a person before a browser, who is to be answered with a page."""

_HTML = ("text/html", "application/xhtml+xml")
_NO_PAGES = ("/v1/", "/static/", "/healthz", "/readyz", "/openapi.json")


def is_page_wanted(path: str, accept: str) -> bool:
    return not path.startswith(_NO_PAGES) and prefers_html(accept)


def prefers_html(accept: str) -> bool:
    """Whether it is a page that is wanted: HTML is named, and JSON not rather."""
    wanted = _qualities(accept)
    html = max((wanted.get(kind, 0.0) for kind in _HTML), default=0.0)
    json = max((quality for kind, quality in wanted.items() if kind.endswith("json")), default=0.0)
    return html > 0 and html >= json


def _qualities(accept: str) -> dict[str, float]:
    found = {}
    for item in accept.split(","):
        kind, *parameters = (part.strip().lower() for part in item.split(";"))
        quality = 1.0
        for parameter in parameters:
            if parameter.startswith("q="):
                try:
                    quality = float(parameter[2:])
                except ValueError:
                    quality = 0.0
        found[kind] = quality
    return found
