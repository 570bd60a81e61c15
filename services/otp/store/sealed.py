"""Every column of the service's database that holds sealed bytes; a test compares the list with the tables."""

from services.common.sealed_columns import SealedColumn

SEALED = (
    SealedColumn("account", "user_id", "totp_secret"),
    SealedColumn("account", "user_id", "sms_phone"),
    SealedColumn("enrolment", "id", "secret"),
    SealedColumn("challenge", "id", "code_sealed"),
)
ROTATED = "keys.rotated"
