"""What the local stack consists of: ports, and each process's command and environment.

Invariant: everything listens on loopback, and a process gets the variables it needs, not the caller's environment.
"""

import os
import random
import socket
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from deploy.credentials import Layout
from deploy.databases import SERVICES
from deploy.embedded import EmbeddedPostgres

ROOT = Path(__file__).resolve().parent.parent
_PASSED_ON = ("PATH", "HOME", "USER", "LANG", "LC_ALL", "TMPDIR", "LD_LIBRARY_PATH", "GRPC_VERBOSITY")
_FOR_THE_WAY_OUT = ("HTTPS_PROXY", "https_proxy", "SSL_CERT_FILE", "REQUESTS_CA_BUNDLE")
# A secret may be given as a file that holds it, too.
_TWILIO = (
    *("TWILIO_ACCOUNT_SID", "TWILIO_AUTH_TOKEN", "TWILIO_AUTH_TOKEN_FILE", "TWILIO_FROM"),
    "TWILIO_MESSAGING_SERVICE_SID",
)
_MAIL = ("SMTP_HOST", "SMTP_PORT", "SMTP_SECURITY", "SMTP_ALLOW_UNENCRYPTED", "SMTP_FROM")
_MAIL_ACCOUNT = ("SMTP_USER", "SMTP_PASSWORD", "SMTP_PASSWORD_FILE")
_OF_ALL = ("LOG_LEVEL", "OTLP_ENDPOINT")  # settings that every process of ours takes
_PORTS = (
    *("otp", "policy", "notifier", "identity-grpc", "twilio", "sample-app", "redis", "broker"),
    *(f"{name}-metrics" for name in (*SERVICES, "worker", "relay")),
)
# glibc gives each thread an arena of its own; two are enough for processes that mostly wait.
_SMALL = {"MALLOC_ARENA_MAX": "2"}


class PortInUse(Exception):
    """A port that is not of our choosing belongs to another program."""

    def __init__(self, port: int, name: str = "PORT") -> None:
        super().__init__(f"Port {port} is in use by another program. Choose another one: {name}=9080 make up")


@dataclass(frozen=True, slots=True)
class Topology:
    """Where everything is. `settings`: the caller's environment, of which the product's own variables count."""

    state: Path
    layout: Layout
    port: int
    postgres: EmbeddedPostgres
    settings: Mapping[str, str]
    ports: Mapping[str, int]

    @classmethod
    def on_free_ports(
        cls, state: Path, layout: Layout, port: int, postgres: EmbeddedPostgres, settings: Mapping[str, str]
    ) -> "Topology":
        """Takes a free port for everything but the gateway, and the stand-in where STANDIN_PORT says it."""
        ports = free_ports(_PORTS)
        if chosen := settings.get("STANDIN_PORT"):
            ports["twilio"] = int(chosen)
        return cls(state, layout, port, postgres, settings, ports)

    @property
    def gateway(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def public_url(self) -> str:
        return self.settings.get("PUBLIC_URL") or self.gateway

    @property
    def twilio(self) -> str:
        return f"http://127.0.0.1:{self.ports['twilio']}"

    @property
    def sample_app(self) -> str:
        return f"http://127.0.0.1:{self.ports['sample-app']}"

    @property
    def heartbeat(self) -> Path:
        return self.state / "run" / "worker.heartbeat"

    def back_ends(self) -> dict[str, str]:
        """What a back end needs to ask who sent a request: where, and its certificate."""
        return {"target": self._at("identity-grpc"), "tls_dir": str(self.layout.tls("backend"))}

    def metrics(self) -> dict[str, str]:
        names = (*SERVICES, "worker", "relay")
        return {name: f"http://127.0.0.1:{self.ports[f'{name}-metrics']}/metrics" for name in names}

    def commands(self) -> dict[str, list[str]]:
        """The processes' command lines, by name."""
        run = [sys.executable, "-m"]
        return {
            "twilio": [*run, "deploy.twilio_standin", "--listen", self._at("twilio")],
            **{name: [*run, f"services.{name}", "serve"] for name in SERVICES},
            "sample-app": [*run, "deploy.sample_app"],
            "relay": [*run, "services.notifier", "relay"],
            "worker": [*run, "services.notifier", "worker"],
        }

    def environments(self) -> dict[str, dict[str, str]]:
        """The processes' environments, by name."""
        own = {
            "identity": self._identity(),
            "otp": self._otp(),
            "policy": {
                "POLICY_LISTEN": self._at("policy"),
                "POLICY_IDENTITY_TARGET": self._at("identity-grpc"),  # for its command `bypass`
            },
            "notifier": self._notifier(),
            # The relay carries ids only: it knows neither the provider nor the keyring.
            "relay": {"NOTIFIER_BROKER_URL": self._broker()},
            "worker": {
                **self._notifier(),
                **{f"NOTIFIER_{name}": self.settings.get(name, "") for name in _MAIL_ACCOUNT},
                "NOTIFIER_HEARTBEAT_FILE": str(self.heartbeat),
            },
        }
        found = {name: self._service(name, variables) for name, variables in own.items()}
        found["worker"] |= {name: self.settings[name] for name in _FOR_THE_WAY_OUT if name in self.settings}
        account = self.layout.secrets("standin")
        found["twilio"] = {
            **self._base(),
            "STANDIN_ACCOUNT_SID_FILE": str(account / "account_sid"),
            "STANDIN_AUTH_TOKEN_FILE": str(account / "auth_token"),
        }
        # No proxy stands before it here, so it asks the gateway itself.
        found["sample-app"] = {
            **self._base(),
            "LISTEN": self._at("sample-app"),
            "SIGN_IN": self.public_url,
            "GATEWAY": self.gateway,
        }
        return found

    def owner_environment(self, service: str) -> dict[str, str]:
        """What `migrate` needs on top."""
        prefix = service.upper()
        return {
            f"{prefix}_OWNER_DATABASE_URL": self.postgres.url(service, f"{service}_owner"),
            f"{prefix}_OWNER_DATABASE_PASSWORD_FILE": str(
                self.layout.owner_secrets(service) / "owner_database_password"
            ),
        }

    def _service(self, process: str, variables: dict[str, str]) -> dict[str, str]:
        service = "notifier" if process in ("relay", "worker") else process
        prefix = service.upper()
        common = {
            f"{prefix}_TLS_DIR": str(self.layout.tls(service)),
            f"{prefix}_SECRETS_DIR": str(self.layout.secrets(process)),
            f"{prefix}_METRICS_LISTEN": self._at(f"{process}-metrics"),
            f"{prefix}_DATABASE_URL": self.postgres.url(service, service),
            **{f"{prefix}_{name}": self.settings[name] for name in _OF_ALL if self.settings.get(name)},
        }
        if process == service:
            common[f"{prefix}_SEALER_DATABASE_URL"] = self.postgres.url(service, f"{service}_sealer")
        given = {name: value for name, value in self.settings.items() if name.startswith(f"{prefix}_") and value}
        return {**self._base(), **common, **{k: v for k, v in variables.items() if v}, **given}

    def _identity(self) -> dict[str, str]:
        return {
            "IDENTITY_LISTEN": f"127.0.0.1:{self.port}",
            "IDENTITY_GRPC_LISTEN": self._at("identity-grpc"),
            "IDENTITY_OTP_TARGET": self._at("otp"),
            "IDENTITY_POLICY_TARGET": self._at("policy"),
            "IDENTITY_NOTIFIER_TARGET": self._at("notifier"),
            "IDENTITY_REDIS_URL": f"redis://identity@{self._at('redis')}/0",
            "IDENTITY_KEYRING_FILE": str(self.layout.keyring("identity")),
            "IDENTITY_PUBLIC_URL": self.public_url,
            "IDENTITY_ALLOWED_ORIGINS": self._allowed_origins(),
            "IDENTITY_TRUSTED_PROXIES": self.settings.get("TRUSTED_PROXIES", ""),
            "IDENTITY_BACKENDS": self.settings.get("BACKENDS", ""),
            "IDENTITY_PRODUCT_NAME": self.settings.get("PRODUCT_NAME", ""),
            "IDENTITY_SUPPORT_CONTACT": self.settings.get("SUPPORT_CONTACT", ""),
            "IDENTITY_ARGON2_MEMORY_KIB": self.settings.get("ARGON2_MEMORY_KIB", ""),
            # A password hash takes 46 MiB anew each time: in huge pages a quarter less CPU, as most of it was faults.
            "GLIBC_TUNABLES": "glibc.malloc.hugetlb=1",
        }

    def _allowed_origins(self) -> str:
        """With the sample app, so that the sign-in leads back to it; not where people come from elsewhere."""
        given = [origin for origin in [self.settings.get("ALLOWED_ORIGINS", "")] if origin]
        return ",".join([*given, self.sample_app] if self.public_url.startswith(self.gateway) else given)

    def _otp(self) -> dict[str, str]:
        return {
            "OTP_LISTEN": self._at("otp"),
            "OTP_REDIS_URL": f"redis://otp@{self._at('redis')}/0",
            "OTP_KEYRING_FILE": str(self.layout.keyring("otp")),
            "OTP_NOTIFIER_TARGET": self._at("notifier"),
            "OTP_IDENTITY_TARGET": self._at("identity-grpc"),  # for its command `import`
            "OTP_PRODUCT_NAME": self.settings.get("PRODUCT_NAME", ""),
        }

    def _notifier(self) -> dict[str, str]:
        account = {f"NOTIFIER_{name}": self.settings.get(name, "") for name in _TWILIO}
        mail = {f"NOTIFIER_{name}": self.settings.get(name, "") for name in _MAIL}
        real = bool(account["NOTIFIER_TWILIO_ACCOUNT_SID"])
        return {
            "NOTIFIER_LISTEN": self._at("notifier"),
            "NOTIFIER_BROKER_URL": self._broker(),
            "NOTIFIER_KEYRING_FILE": str(self.layout.keyring("notifier")),
            "NOTIFIER_PRODUCT_NAME": self.settings.get("PRODUCT_NAME", ""),
            "NOTIFIER_SMS_DAILY_CAP": self.settings.get("SMS_DAILY_CAP", ""),
            "NOTIFIER_PUBLIC_URL": self.public_url,
            # Twilio itself cannot call a machine that is not public; the stand-in, on this one, can.
            "NOTIFIER_CALLBACK_URL": "" if real else self.gateway,
            "NOTIFIER_STANDIN_URL": self.twilio,
            **account,
            **mail,
        }

    def _broker(self) -> str:
        return f"redis://notifier@{self._at('broker')}/0"

    def _base(self) -> dict[str, str]:
        passed = {name: os.environ[name] for name in _PASSED_ON if name in os.environ}
        return {**passed, **_SMALL, "PYTHONPATH": str(ROOT / "proto" / "gen"), "PYTHONUNBUFFERED": "1"}

    def _at(self, name: str) -> str:
        return f"127.0.0.1:{self.ports[name]}"


def free_ports(names: tuple[str, ...]) -> dict[str, int]:
    """A free port for each name, below the range from which the kernel takes ports for outgoing connections: one that
    is free now stays free until its process listens."""
    candidates = iter(random.sample(range(20000, 32000), 2000))
    found: dict[str, int] = {}
    for name in names:
        found[name] = next(port for port in candidates if is_free(port))
    return found


def refuse_used_port(port: int, name: str = "PORT") -> None:
    """Raises `PortInUse`. `name`: the variable that chooses it."""
    if not is_free(port):
        raise PortInUse(port, name)


def is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True
