"""Invitations and password resets as rows."""

from services.common.postgres import Database


class ActivationStore:
    def __init__(self, database: Database) -> None:
        self._database = database
