"""Mail servers to send to: a real one (aiosmtpd) with an inbox, and one that breaks off where it is told to."""

import datetime
import email
import email.message
import email.policy
import ipaddress
import socket
import ssl
import threading
import time
from pathlib import Path
from typing import Any

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, AuthResult, LoginPassword
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from deploy.embedded import free_port
from services.notifier.smtp_mail import SmtpMail

USER, PASSWORD = "mailer", "mail-password-of-the-tests"


class MailServer:
    """aiosmtpd, in a thread of its own. `answers` puts an answer in place of its own: "RCPT", "DATA" (after the
    message), as often as there are."""

    def __init__(self, certificate: Path | None = None, *, implicit_tls: bool = False, account: bool = False) -> None:
        self.port = free_port()
        self.inbox: list[email.message.EmailMessage] = []
        self.envelopes: list[Any] = []
        self.encrypted: list[bool] = []
        self.signed_in_as: list[str] = []
        self.answers: dict[str, list[str]] = {}
        context = None
        if certificate:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificate)
        self._controller = Controller(
            self,
            hostname="127.0.0.1",
            port=self.port,
            ssl_context=context if implicit_tls else None,
            tls_context=None if implicit_tls else context,
            require_starttls=bool(certificate) and not implicit_tls,
            authenticator=self._authenticate if account else None,
            auth_required=account,
            auth_require_tls=not implicit_tls,
        )

    def start(self) -> "MailServer":
        # The controller looks whether its server is there with a client that none of our certificates suits.
        self._controller._trigger_server = lambda: socket.create_connection(("127.0.0.1", self.port)).close()  # type: ignore[method-assign]
        self._controller.start()
        return self

    def stop(self) -> None:
        self._controller.stop()

    def _instead(self, command: str, otherwise: str) -> str:
        waiting = self.answers.get(command)
        return waiting.pop(0) if waiting else otherwise

    async def handle_MAIL(  # noqa: N802
        self, server: SMTP, session: Any, envelope: Any, address: str, options: list[str]
    ) -> str:
        envelope.mail_from = address
        return self._instead("MAIL", "250 OK")

    async def handle_RCPT(  # noqa: N802
        self, server: SMTP, session: Any, envelope: Any, address: str, options: list[str]
    ) -> str:
        answer = self._instead("RCPT", "250 OK")
        if answer.startswith("2"):
            envelope.rcpt_tos.append(address)
        return answer

    async def handle_DATA(self, server: SMTP, session: Any, envelope: Any) -> str:  # noqa: N802
        answer = self._instead("DATA", "250 OK")
        if answer.startswith("2"):
            self.inbox.append(email.message_from_bytes(envelope.content, policy=email.policy.default))  # type: ignore[arg-type]
            self.envelopes.append(envelope)
            self.encrypted.append(bool(session.ssl) or self._controller.ssl_context is not None)
        return answer

    def _authenticate(self, server: SMTP, session: Any, envelope: Any, mechanism: str, data: Any) -> AuthResult:
        assert isinstance(data, LoginPassword)
        good = (data.login.decode(), data.password.decode()) == (USER, PASSWORD)
        if good:
            self.signed_in_as.append(data.login.decode())
        return AuthResult(success=good, handled=False)


class BrokenServer:
    """Says what it is told to at each step: an answer, "drop" or "hang". Counts what it was given of a message."""

    STEPS = ("greeting", "EHLO", "MAIL", "RCPT", "DATA", "message")
    GOOD = ("220 here", "250 here", "250 OK", "250 OK", "354 go on", "250 OK")

    def __init__(self, **instead: str) -> None:
        self.says = dict(zip(self.STEPS, self.GOOD, strict=True)) | instead
        self.taken = b""
        self.calls = 0
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self._stopped.set()
        socket.create_connection(("127.0.0.1", self.port)).close()
        self._thread.join(5)
        self._listener.close()

    def _serve(self) -> None:
        while True:
            connection, _ = self._listener.accept()
            with connection:
                if self._stopped.is_set():
                    return
                self.calls += 1
                self._talk(connection)

    def _talk(self, connection: socket.socket) -> None:
        given = connection.makefile("rb")
        for step in self.STEPS:
            if step == "message":
                while (line := given.readline()) not in (b".\r\n", b""):
                    self.taken += line
            elif step != "greeting" and not given.readline().upper().startswith(step.encode()):
                return
            if self.says[step] == "drop":
                return
            if self.says[step] == "hang":
                self._stopped.wait(10)
                return
            if self.says[step] == "drip":  # slower than anyone may be, but never silent for long
                with_end = time.monotonic() + 10
                while time.monotonic() < with_end and not self._stopped.wait(0.1):
                    try:
                        connection.sendall(b"250-still here\r\n")
                    except OSError:
                        return
                return
            connection.sendall(self.says[step].encode() + b"\r\n")


def make_certificate(path: Path, name: str = "localhost") -> Path:
    """A certificate that vouches for itself, with its key, in one file."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    now = datetime.datetime.now(datetime.UTC)
    names = [x509.DNSName(name), x509.IPAddress(ipaddress.ip_address("192.0.2.1"))]
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    path.write_bytes(
        certificate.public_bytes(pem)
        + key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return path


def mailer(port: int, security: str = "none", host: str = "localhost", **changed: Any) -> SmtpMail:
    given: dict[str, Any] = {
        "sender": "no-reply@sign-in.example",
        "sender_name": "Countersign",
        "user": None,
        "password": None,
        "timeout_seconds": 5.0,
    }
    return SmtpMail(host, port, security, **{**given, **changed})
