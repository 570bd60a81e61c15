"""All pages as one list of routes, for the app."""

from starlette.routing import BaseRoute

from services.identity.pages import (
    activate,
    audit,
    clinic_security,
    code,
    files,
    help_pages,
    holds,
    me,
    set_up,
    sign_in,
    stuck,
    users,
    users_changes,
    users_new,
    users_person,
    users_terms,
)


def routes() -> list[BaseRoute]:
    clinic = (clinic_security, holds, audit)
    people = (users, users_new, users_changes, users_terms, users_person)
    modules = (sign_in, stuck, code, set_up, me, *people, *clinic, activate, help_pages, files)
    return [route for module in modules for route in module.router.routes]
