"""Every column of the service's database that holds sealed bytes; a test compares the list with the tables."""

from services.common.sealed_columns import SealedColumn

SEALED = (SealedColumn("delivery", "id", "sealed"),)
ROTATED = "keys.rotated"
