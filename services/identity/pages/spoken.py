"""The forms of the sentences that services say to people, in English; `{names}` stand for what varies.

Kept whole by a test, which holds every sentence of the services against this list. Each is a message of the
catalogues.
"""

from services.identity.pages.marking import marked

FORMS: tuple[str, ...] = (marked("That did not match. Check the e-mail address and the password, and try again."),)
"""Every one of them."""
