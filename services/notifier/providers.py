"""Which SMS provider there is: Twilio where an account is configured, else the stand-in while it answers, else none;
and which mail server."""

import asyncio
import http.client
import time
from collections.abc import Callable
from urllib.parse import urlsplit

from services.common.clock import Clock
from services.notifier.model import Mailer, Provider
from services.notifier.settings import Settings
from services.notifier.smtp_mail import SmtpMail
from services.notifier.twilio_sms import TwilioSms

_BELIEVED_SECONDS = 5.0
_DOUBTED_SECONDS = 1.0
_PROBE_TIMEOUT_SECONDS = 1.0


def from_settings(settings: Settings, clock: Clock) -> "Providers":
    """Twilio counts as there without being asked; the stand-in only while its /healthz answers."""
    if settings.twilio_account_sid and settings.twilio_auth_token:
        twilio = TwilioSms(
            "twilio",
            settings.twilio_account_sid,
            settings.twilio_auth_token.get_secret_value(),
            settings.twilio_base_url,
            sender=settings.twilio_from,
            messaging_service_sid=settings.twilio_messaging_service_sid,
            timeout_seconds=settings.twilio_timeout_seconds,
            clock=clock,
        )
        return Providers(twilio, None)
    if settings.standin_url and settings.standin_account_sid and settings.standin_auth_token:
        standin = TwilioSms(
            "standin",
            settings.standin_account_sid,
            settings.standin_auth_token.get_secret_value(),
            settings.standin_url,
            sender=settings.standin_from,
            messaging_service_sid=None,
            timeout_seconds=settings.twilio_timeout_seconds,
            clock=clock,
        )
        return Providers(standin, settings.standin_url)
    return Providers(None, None)


def mailer_from_settings(settings: Settings) -> Mailer | None:
    if not settings.smtp_host or not settings.smtp_from:
        return None
    return SmtpMail(
        settings.smtp_host,
        settings.mail_port,
        settings.smtp_security,
        sender=settings.smtp_from,
        sender_name=settings.product_name,
        user=settings.smtp_user,
        password=settings.smtp_password.get_secret_value() if settings.smtp_password else None,
        timeout_seconds=settings.smtp_timeout_seconds,
    )


class Providers:
    """`configured` is who would send; `current` is the same while it is there."""

    def __init__(
        self, configured: Provider | None, probe_url: str | None, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self.configured = configured
        self._probe_url = probe_url
        self._monotonic = monotonic
        self._is_there = False
        self._holds_until = 0.0

    async def current(self) -> Provider | None:
        return self.configured if await self.is_there() else None

    async def is_there(self) -> bool:
        if self.configured is None or self._probe_url is None:
            return self.configured is not None
        if self._monotonic() >= self._holds_until:
            self._is_there = await asyncio.to_thread(_answers, self._probe_url)
            seconds = _BELIEVED_SECONDS if self._is_there else _DOUBTED_SECONDS
            self._holds_until = self._monotonic() + seconds
        return self._is_there


def _answers(url: str) -> bool:
    parts = urlsplit(url)
    if not parts.hostname:
        return False
    connection = http.client.HTTPConnection(parts.hostname, parts.port, timeout=_PROBE_TIMEOUT_SECONDS)
    try:
        connection.request("GET", f"{parts.path.rstrip('/')}/healthz")
        return connection.getresponse().status == http.client.OK
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()
