"""The policy service's settings: variables that begin with POLICY_."""

from pydantic_settings import SettingsConfigDict

from services.common.settings import MigrationSettings, SealedServiceSettings


class PolicySettings(SealedServiceSettings):
    model_config = SettingsConfigDict(env_prefix="POLICY_")

    listen: str = "127.0.0.1:50051"
    """host:port of the gRPC server."""
    identity_target: str = ""
    """identity's gRPC server, which the command `bypass` asks, and nothing else does."""


class PolicyMigrationSettings(MigrationSettings):
    model_config = SettingsConfigDict(env_prefix="POLICY_")
