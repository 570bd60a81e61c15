"""The otp service's settings: variables that begin with OTP_."""

from pathlib import Path

from pydantic import Field, SecretStr, field_validator
from pydantic_settings import SettingsConfigDict

from services.common.settings import MigrationSettings, SealedServiceSettings


class OtpSettings(SealedServiceSettings):
    model_config = SettingsConfigDict(env_prefix="OTP_")

    listen: str = "127.0.0.1:50051"
    """host:port of the gRPC server."""
    redis_url: str
    """The limits' store, without its password."""
    redis_password: SecretStr
    limits_pepper: SecretStr = Field(min_length=16)
    """Keys the hashes under which limits are counted; the same in every service that counts."""
    keyring_file: Path
    """JSON keyring that wraps what is sealed in the database."""
    code_pepper: SecretStr = Field(min_length=16)
    """Keys the hashes of codes; a copy of the database alone tells no code."""
    notifier_target: str
    """host:port of the notifier service."""
    identity_target: str = ""
    """identity's gRPC server, which the command `import` asks, and nothing else does."""
    product_name: str = Field(default="Countersign", min_length=1, max_length=64)
    """The issuer that authenticator apps show."""
    # Bounds: NIST SP 800-63B-4 allows 100 failures in a row; of six digits and three steps, 100 are 3 in 10,000.
    guesses_window: int = Field(default=5, ge=3, le=10)
    """Wrong codes of an account, over all its factors, in `guesses_window_minutes`."""
    guesses_window_minutes: int = Field(default=15, ge=15, le=60)
    guesses_day: int = Field(default=20, ge=3, le=50)
    """The same in any 24 hours."""
    guesses_lock: int = Field(default=50, ge=10, le=100)
    """The same in `guesses_lock_days` locks the account, not counting those of a login that then succeeded."""
    guesses_lock_days: int = Field(default=30, ge=30, le=365)

    @field_validator("product_name")
    @classmethod
    def _without_colon(cls, name: str) -> str:
        # The otpauth label separates issuer and account by a colon.
        if ":" in name or not name.isprintable():
            raise ValueError("must be printable and hold no colon")
        return name


class OtpMigrationSettings(MigrationSettings):
    model_config = SettingsConfigDict(env_prefix="OTP_")
