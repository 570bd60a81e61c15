"""The notifier's settings. The front, the relay and the worker know the same names, so that one environment serves all
three; each insists only on what it uses, so that none needs to hold another's secrets."""

import ipaddress
from pathlib import Path
from typing import Literal

from pydantic import Field, SecretStr, model_validator
from pydantic_settings import SettingsConfigDict

from services.common.settings import MigrationSettings, ServiceSettings
from services.notifier.addresses import is_mailable

_SMTP_PORTS = {"starttls": 587, "tls": 465, "none": 25}


class Settings(ServiceSettings):
    """`NOTIFIER_…`. Without Twilio's account and an answering stand-in, text messages are off; without `smtp_host`,
    e-mail is."""

    model_config = SettingsConfigDict(env_prefix="NOTIFIER_", frozen=True, extra="forbid", env_ignore_empty=True)

    tls_dir: Path = Path()
    listen: str = "127.0.0.1:50051"
    broker_url: str | None = None
    """Redis for Celery, without its password, e.g. redis://broker:6379/0 (a user may stand before an @)."""
    broker_password: SecretStr | None = None
    keyring_file: Path | None = None
    product_name: str = Field(default="Countersign", min_length=1, max_length=30, pattern=r"^[^\s].*$")
    public_url: str | None = None
    callback_url: str | None = None
    """Base of the status callbacks' address, where it is not `public_url`."""
    twilio_account_sid: str | None = None
    twilio_auth_token: SecretStr | None = None
    twilio_from: str | None = None
    twilio_messaging_service_sid: str | None = None
    twilio_base_url: str = "https://api.twilio.com"
    twilio_timeout_seconds: float = Field(default=10.0, gt=0, le=20)
    """For its answer. A call must be over well before `sending` counts as lost (60 s)."""
    standin_url: str | None = None
    standin_account_sid: str | None = None
    standin_auth_token: SecretStr | None = None
    standin_from: str = "+15005550006"
    standin_callback_url: str | None = None
    """Base of the status callbacks' address while the stand-in sends: it is nearer than `public_url`."""
    sms_daily_cap: int = Field(default=5000, ge=0, le=10_000_000)
    """Text messages that the whole deployment takes on in a day (UTC), whatever its clinics may send; one that goes out
    in two parts is two."""
    smtp_host: str | None = None
    smtp_port: int | None = Field(default=None, ge=1, le=65_535)
    """Default: 587 for starttls, 465 for tls, 25 for none."""
    smtp_security: Literal["starttls", "tls", "none"] = "starttls"
    smtp_allow_unencrypted: bool = False
    """Leave for `none` to a mail server that is not on this machine."""
    smtp_user: str | None = None
    smtp_password: SecretStr | None = None
    smtp_from: str | None = None
    smtp_timeout_seconds: float = Field(default=10.0, gt=0, le=20)
    """For each answer of the mail server."""
    sealer_database_url: str | None = None
    sealer_database_password: SecretStr | None = None
    heartbeat_file: Path | None = None
    """Touched every few seconds by the relay and the worker while they live, for a health check."""
    worker_events: bool = False
    """Whether the worker tells of itself and its tasks (ids alone) through the broker, for Flower."""

    @model_validator(mode="after")
    def _has_whole_accounts(self) -> "Settings":
        sender = self.twilio_from or self.twilio_messaging_service_sid
        given = [bool(self.twilio_account_sid), bool(self.twilio_auth_token), bool(sender)]
        if any(given) and not all(given):
            raise ValueError("Twilio needs twilio_account_sid, twilio_auth_token and one sender, or none of them")
        if self.standin_url and not (self.standin_account_sid and self.standin_auth_token):
            raise ValueError("standin_url needs standin_account_sid and standin_auth_token")
        return self

    @model_validator(mode="after")
    def _has_a_whole_mail_server(self) -> "Settings":
        if bool(self.smtp_host) != bool(self.smtp_from):
            raise ValueError("e-mail needs smtp_host and smtp_from, or neither of them")
        if bool(self.smtp_user) != bool(self.smtp_password):
            raise ValueError("smtp_user and smtp_password go together")
        if self.smtp_from and not is_mailable(self.smtp_from):
            raise ValueError("smtp_from must be a plain e-mail address, such as no-reply@example.org")
        plain = self.smtp_security == "none" and not self.smtp_allow_unencrypted
        if self.smtp_host and plain and not _is_loopback(self.smtp_host):
            raise ValueError(
                "smtp_security none sends notices over the network for anyone to read: use starttls or tls, or say"
                " smtp_allow_unencrypted"
            )
        return self

    @property
    def mail_port(self) -> int:
        return self.smtp_port or _SMTP_PORTS[self.smtp_security]

    @property
    def status_callback(self) -> str | None:
        """Where Twilio is asked to call back. Without an address it can reach, it is not asked."""
        base = self.callback_url
        if not base and self.standin_url and not self.twilio_account_sid:
            base = self.standin_callback_url
        if not base and self.public_url and self.public_url.startswith("https://"):
            base = self.public_url
        return f"{base.rstrip('/')}/v1/webhooks/twilio/status" if base else None


class FrontSettings(Settings):
    """`serve`: takes orders, seals them, checks callbacks, and seals the audit trail of all three. It never speaks to
    the broker."""

    tls_dir: Path
    keyring_file: Path
    sealer_database_url: str
    sealer_database_password: SecretStr


class RelaySettings(Settings):
    """`relay`: sees ids only, so it holds neither keyring nor account."""

    broker_url: str
    broker_password: SecretStr


class WorkerSettings(Settings):
    """`worker`: opens what is sealed and speaks to the provider. It serves no RPC, so it has no certificate."""

    broker_url: str
    broker_password: SecretStr
    keyring_file: Path


class NotifierMigrationSettings(MigrationSettings):
    model_config = SettingsConfigDict(env_prefix="NOTIFIER_", frozen=True, extra="ignore", env_ignore_empty=True)


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host.lower() == "localhost"
