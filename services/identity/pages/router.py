"""All pages as one list of routes, for the app."""

from starlette.routing import BaseRoute

from services.identity.pages import files, help_pages
from services.identity.pages.clinic import audit, clinic_security, holds
from services.identity.pages.my_info import me, my_details, my_factors, my_password, my_phone
from services.identity.pages.people import users, users_changes, users_new, users_person, users_terms
from services.identity.pages.setting_up import backup_codes, set_up, set_up_app, set_up_text
from services.identity.pages.signing_in import activate, code, sign_in, stuck


def routes() -> list[BaseRoute]:
    signing_in = (sign_in, stuck, code, set_up, set_up_app, set_up_text, backup_codes, activate)
    own = (me, my_details, my_phone, my_password, my_factors)
    clinic = (clinic_security, holds, audit)
    people = (users, users_new, users_changes, users_terms, users_person)
    modules = (*signing_in, *own, *people, *clinic, help_pages, files)
    return [route for module in modules for route in module.router.routes]
