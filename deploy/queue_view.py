"""Flower over the queue between relay and worker, to look at and no more (profile `ops`): what could change anything
is not served at all, it asks the workers nothing and only listens, and its Redis user could neither take nor put a
message.

Settings: BROKER_URL (without a password), CA_FILE, SECRETS_DIR (broker_password, web_password), LISTEN_PORT.
"""

import os
import ssl
import sys
from pathlib import Path
from typing import Any
from urllib.parse import quote

import flower.app
from celery import Celery
from celery.app.control import Control
from flower.inspector import Inspector
from flower.urls import settings
from kombu.entity import Queue
from tornado.options import options

QUEUE = "deliveries"
USER = "operator"
_SERVED = ("/workers", "/worker/", "/tasks", "/task/", "/broker", "/static/", "/healthcheck", "/logout")


class _Silent(Control):  # type: ignore[misc]  # the package has no types
    """Says nothing to workers; Flower would greet them at every start."""

    def broadcast(self, *_: Any, **__: Any) -> None:
        return None


def is_served(pattern: str) -> bool:
    """Pages and what they load; no API, no metrics without a password, no sign-in but by password."""
    return pattern == "/" or pattern.startswith(_SERVED)


def celery_app(broker_url: str, password: str, ca_file: str) -> Celery:
    scheme, _, rest = broker_url.partition("://")
    user, _, address = rest.rpartition("@")
    broker = f"{scheme}://{user}:{quote(password, safe='')}@{address}"
    app = Celery("notifier", broker=broker, control=_Silent, set_as_current=False)
    app.conf.update(
        accept_content=["json"],
        task_queues=[Queue(QUEUE)],
        task_default_queue=QUEUE,
        task_create_missing_queues=False,
        broker_use_ssl={"ssl_cert_reqs": ssl.CERT_REQUIRED, "ssl_ca_certs": ca_file} if scheme == "rediss" else None,
        broker_transport_options={"socket_timeout": 5.0, "socket_connect_timeout": 3.0, "health_check_interval": 10},
    )
    return app


def main() -> None:
    secrets = Path(os.environ["SECRETS_DIR"])
    broker_password, web_password = (
        (secrets / name).read_text().strip() for name in ("broker_password", "web_password")
    )
    if not web_password:
        sys.exit("web_password is empty")
    options.basic_auth = [f"{USER}:{web_password}"]
    options.read_only = True
    options.enable_events = False  # it would tell the workers to; they do so by their own setting
    options.max_tasks = 5000
    options.max_workers = 50
    options.logging = "warning"
    Inspector.inspect_methods = ()  # the workers answer no questions
    flower.app.default_handlers = [
        each for each in flower.app.default_handlers if is_served(_pattern(each)) or _pattern(each) == ".*"
    ]
    app = flower.app.Flower(
        capp=celery_app(os.environ["BROKER_URL"], broker_password, os.environ.get("CA_FILE", "")),
        options=options,
        **settings,
    )
    options.port = int(os.environ.get("LISTEN_PORT", "5555"))
    app.start_http_server()
    app.start()


def _pattern(handler: object) -> str:
    if isinstance(handler, tuple):
        return str(handler[0])
    return str(handler.regex.pattern).removesuffix("$")  # type: ignore[attr-defined]


if __name__ == "__main__":
    main()
