"""The gateway as an ASGI app: its routes, each with a declaration of whom it admits, and its refusals as problems."""

from fastapi import FastAPI

from services.identity import problems
from services.identity.api import (
    activations,
    apps,
    audit,
    bypasses,
    clinic,
    devices,
    forward_auth,
    integrations,
    machines,
    me,
    notices,
    requirements,
    security,
    sessions,
    two_factor,
    users,
)
from services.identity.gateway import Gateway
from services.identity.guards import check_declared
from services.identity.middleware import Edge
from services.identity.pages import errors as error_pages
from services.identity.pages import router as pages
from services.identity.pages.rendering import Pages


def create_app(gateway: Gateway) -> FastAPI:
    """Raises LookupError where a route does not say what it admits."""
    app = FastAPI(
        title=gateway.settings.product_name,
        openapi_url=None,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        # Its own spans hold whole paths and queries; links carry tokens. `middleware` makes ours.
        telemetry={"tracing": False, "metrics": False, "logs": False, "operation_spans": False},
    )
    app.state.gateway = gateway
    app.state.pages = Pages()
    for module in (
        *(sessions, me, two_factor, clinic, security, integrations, users, requirements, activations, apps, machines),
        *(audit, bypasses, devices, forward_auth, notices),
    ):
        # Taken as they are rather than included: one flat table, which `check_declared` sees whole.
        app.router.routes.extend(module.router.routes)
    app.router.routes.extend(pages.routes())
    check_declared(app.router.routes)
    problems.register(app)
    error_pages.register(app)
    app.add_middleware(Edge, settings=gateway.settings, draw=error_pages.as_page)
    return app
