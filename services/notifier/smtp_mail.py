"""E-mail by SMTP (RFC 5321): one connection a message, and what the server's answers make certain.

Until the message itself is handed over (after DATA) whatever goes wrong sent nothing. From then on only an answer
tells, and where none comes it is UNKNOWN, never repeated here. Without the encryption that was asked for, nothing goes.
"""

import contextlib
import re
import smtplib
import socket
import ssl
import threading
from collections.abc import Iterator
from email.headerregistry import Address
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import format_datetime

from services.notifier.addresses import is_mailable
from services.notifier.model import Mail, Outcome, Verdict

_WHOLE_CALL_SECONDS = 30.0
"""However slowly the server answers; well before `sending` counts as lost (60 s), connecting included."""
_AUTHENTICATION_REQUIRED = 530


class SmtpMail:
    """One mail server and the address that we send from."""

    name = "smtp"

    def __init__(
        self,
        host: str,
        port: int,
        security: str,
        *,
        sender: str,
        sender_name: str,
        user: str | None,
        password: str | None,
        timeout_seconds: float,
    ) -> None:
        self._host = host
        self._port = port
        self._security = security
        self._sender = sender
        self._sender_name = sender_name
        self._domain = sender.rpartition("@")[2]
        self._account = (user, password) if user and password else None
        self._timeout_seconds = timeout_seconds
        self._tls = None if security == "none" else ssl.create_default_context()

    def send(self, mail: Mail) -> Outcome:
        if not is_mailable(mail.to):
            return Outcome(Verdict.REFUSED, "bad_address")
        talk = _Talk()
        try:
            message = self._message(mail)
            with self._connected() as server:
                return self._hand_over(server, mail.to, message, talk)
        except smtplib.SMTPResponseException as error:
            return talk.outcome(error.smtp_code)
        except ssl.SSLError:
            return talk.outcome_without_answer("no_encryption" if talk.step == "greeting" else "not_reached")
        except smtplib.SMTPNotSupportedError:  # it offers no STARTTLS, or no way to sign in that we know
            return talk.outcome_without_answer("no_encryption" if talk.step == "greeting" else "no_sign_in")
        except (smtplib.SMTPException, OSError, ValueError):
            return talk.outcome_without_answer("not_reached")

    def _hand_over(self, server: smtplib.SMTP, to: str, message: bytes, talk: "_Talk") -> Outcome:
        if self._security == "starttls":
            server.starttls(context=self._tls)
        server.ehlo_or_helo_if_needed()
        if self._account:
            talk.step = "sign_in"
            server.login(*self._account)
        for talk.step, command, good in (
            ("sender", f"MAIL FROM:<{self._sender}>", 2),
            ("recipient", f"RCPT TO:<{to}>", 2),
            ("data", "DATA", 3),
        ):
            code, _ = server.docmd(command)
            if code // 100 != good:
                return talk.outcome(code)
        talk.step = "handed_over"
        server.send(re.sub(rb"(?m)^\.", b"..", message) + b".\r\n")
        code, _ = server.getreply()
        with contextlib.suppress(smtplib.SMTPException, OSError):
            server.putcmd("QUIT")  # its answer changes nothing
        return talk.outcome(code)

    @contextlib.contextmanager
    def _connected(self) -> Iterator[smtplib.SMTP]:
        """A connection that is cut off when the whole call has taken too long."""
        timeout = self._timeout_seconds
        if self._security == "tls":
            server: smtplib.SMTP = smtplib.SMTP_SSL(
                self._host, self._port, self._domain, timeout=timeout, context=self._tls
            )
        else:
            server = smtplib.SMTP(self._host, self._port, self._domain, timeout=timeout)
        end = threading.Timer(_WHOLE_CALL_SECONDS, _cut_off, [server])
        end.daemon = True
        end.start()
        try:
            yield server
        finally:
            end.cancel()
            server.close()

    def _message(self, mail: Mail) -> bytes:
        message = EmailMessage(policy=SMTP)
        message["From"] = Address(self._sender_name, addr_spec=self._sender)
        message["To"] = mail.to
        message["Subject"] = mail.subject
        message["Date"] = format_datetime(mail.at)
        message["Message-ID"] = f"<{mail.id}@{self._domain}>"
        message["Auto-Submitted"] = "auto-generated"  # RFC 3834: nobody's out-of-office answers it
        message.set_content(mail.body, cte="quoted-printable")
        return message.as_bytes()


class _Talk:
    """How far the talk with the server has come, and what an answer at that point means."""

    def __init__(self) -> None:
        self.step = "greeting"

    def outcome(self, code: int) -> Outcome:
        if 200 <= code < 300 and self.step == "handed_over":
            return Outcome(Verdict.ACCEPTED)
        if 400 <= code < 500:
            return Outcome(Verdict.BUSY, "mail_server_busy", code=code)
        if not 500 <= code < 600:
            return self.outcome_without_answer("not_understood")
        if self.step == "sign_in" or code == _AUTHENTICATION_REQUIRED:
            return Outcome(Verdict.LOCKED_OUT, "locked_out", code=code)
        return Outcome(Verdict.REFUSED, "bad_address" if self.step == "recipient" else "mail_server_refused", code=code)

    def outcome_without_answer(self, reason: str) -> Outcome:
        if self.step == "handed_over":
            return Outcome(Verdict.UNKNOWN, "no_answer")
        return Outcome(Verdict.NOT_SENT, reason)


def _cut_off(server: smtplib.SMTP) -> None:
    if server.sock is not None:
        with contextlib.suppress(OSError):
            # The plain socket's own: that of TLS forgets the encryption first, and a byte might follow in the clear.
            socket.socket.shutdown(server.sock, socket.SHUT_RDWR)
