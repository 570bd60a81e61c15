"""Every column of the service's database that holds sealed bytes; a test compares the list with the tables."""

from services.common.sealed_columns import SealedColumn

SEALED = (
    SealedColumn("app_user", "id", "phone"),
    SealedColumn("bypass_use", "bypass_id", "phone"),
    SealedColumn("notice", "id", "phone"),
)
ROTATED = "keys.rotated"
