"""All pages as one list of routes, for the app."""

from starlette.routing import BaseRoute

from services.identity.pages import activate, code, files, me, set_up, sign_in


def routes() -> list[BaseRoute]:
    return [route for module in (sign_in, code, set_up, me, activate, files) for route in module.router.routes]
