"""The queue between relay and worker: Celery on Redis. It carries delivery ids, as JSON, and nothing else; it may lose
them or bring them twice, because the delivery's row is the truth. Only the relay publishes."""

import base64
import json
from collections.abc import Sequence
from typing import Any
from urllib.parse import quote, urlsplit, urlunsplit

from celery import Celery
from celery.app.amqp import AMQP
from kombu.connection import Connection
from kombu.entity import Queue
from kombu.exceptions import ChannelError, KombuError
from kombu.transport import redis as redis_transport
from redis.exceptions import RedisError

from services.common.logs import get_logger
from services.notifier.model import DeliveryId, is_delivery_id

TASK = "notifier.send"
QUEUE = "deliveries"

_TRANSPORT = {
    # A publisher on a frozen Redis would hang for over 40 s.
    "socket_timeout": 5.0,
    "socket_connect_timeout": 3.0,
    "socket_keepalive": True,
    # After a whole worker was killed its messages come back within seconds of the timeout, not minutes. It changes
    # nothing of what is sent: the relay enqueues again anyhow, and the claim lets one through. The timeout is longer
    # than a call to the provider and the recording of its answer.
    "visibility_timeout": 90,
    "unacked_restore_interval": 5,
    "unacked_restore_throttle": 1,
    "health_check_interval": 10,
}
_LONGEST_RECONNECT_WAIT_SECONDS = 3  # Celery's own waits grow to 30 s, as long as a code's tenth of life

_log = get_logger(__name__)


class QueueUnavailable(Exception):
    """The broker did not take what was given; it may have all the same."""


def make_app(broker_url: str, broker_password: str) -> Celery:
    """Celery as both sides use it."""
    app = Celery("notifier", broker=_with_password(broker_url, broker_password), amqp=_Amqp, set_as_current=False)
    app.conf.update(
        task_serializer="json",
        accept_content=["json"],
        result_backend=None,
        task_ignore_result=True,
        task_queues=[Queue(QUEUE)],
        task_default_queue=QUEUE,
        task_create_missing_queues=False,
        task_publish_retry=False,
        task_acks_late=True,
        task_reject_on_worker_lost=True,
        worker_prefetch_multiplier=1,
        worker_send_task_events=False,
        worker_enable_remote_control=False,
        worker_redirect_stdouts=False,
        worker_cancel_long_running_tasks_on_connection_loss=False,
        broker_connection_retry_on_startup=True,
        broker_connection_max_retries=None,  # by default it gives up after 100
        broker_connection_timeout=3,
        broker_transport_options=_TRANSPORT,
        enable_utc=True,
    )
    return app


class Publisher:
    """Puts ids in the queue, over a connection that is thrown away after any trouble. Its calls block, for seconds at
    most; one at a time."""

    def __init__(self, app: Celery) -> None:
        self._app = app
        self._connection: Connection | None = None

    def publish(self, delivery_ids: Sequence[DeliveryId]) -> None:
        """Raises QueueUnavailable where not all were taken."""
        try:
            with self._connected().Producer(serializer="json") as producer:
                for delivery_id in delivery_ids:
                    self._app.send_task(TASK, args=[delivery_id], producer=producer, retry=False)
        except (KombuError, RedisError, OSError) as error:
            self.close()
            raise QueueUnavailable(type(error).__name__) from error

    def backlog(self) -> int | None:
        """How many ids wait in the queue; None where the broker does not say."""
        try:
            declared: Any = self._connected().default_channel.queue_declare(QUEUE, passive=True)
        except ChannelError:
            return 0  # an empty list is no key in Redis, so an idle queue counts as not there
        except (KombuError, RedisError, OSError):
            self.close()
            return None
        return int(declared.message_count)

    def close(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.collect(socket_timeout=0.1)

    def _connected(self) -> Connection:
        if self._connection is None:
            options = {**_TRANSPORT, "max_retries": 0, "connect_retries_timeout": 3}
            self._connection = self._app.connection_for_write(transport_options=options)
        return self._connection


class _Channel(redis_transport.Channel):
    """Drops what is no message at all. Without this, one such item in the list ends the worker (A69)."""

    def _brpop_read(self, **options: Any) -> Any:
        try:
            return super()._brpop_read(**options)  # type: ignore[no-untyped-call]
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            _log.error("queue_item_dropped", error=type(error).__name__)
            return True


class _Transport(redis_transport.Transport):
    """Hands on our own messages and no other, before Celery looks at them: it would log a stranger's whole body, and
    bring one that it stumbles over again and again."""

    Channel = _Channel

    def _deliver(self, message: Any, queue: Any) -> None:
        if _is_ours(message):
            super()._deliver(message, queue)  # type: ignore[no-untyped-call]
        else:
            _log.error("queue_item_dropped", error="not a message of ours")


class _Connection(Connection):
    """Comes back soon after the broker does."""

    def _ensure_connection(self, *args: Any, **kwargs: Any) -> Any:
        if len(args) < 3:
            kwargs.setdefault("interval_start", 0.5)
            kwargs.setdefault("interval_step", 0.5)
            kwargs["interval_max"] = min(kwargs.get("interval_max", 30), _LONGEST_RECONNECT_WAIT_SECONDS)
        return super()._ensure_connection(*args, **kwargs)  # type: ignore[no-untyped-call]

    def get_transport_cls(self) -> Any:
        return _Transport


class _Amqp(AMQP):  # type: ignore[misc]
    Connection = _Connection


def _is_ours(message: Any) -> bool:
    """Whether it asks, in JSON, for our one task with one delivery id, and for nothing to follow it."""
    try:
        if message["content-type"] != "application/json" or message["headers"]["task"] != TASK:
            return False
        arguments, named, follows = json.loads(base64.b64decode(message["body"]))
        return len(arguments) == 1 and is_delivery_id(arguments[0]) and not named and not any(follows.values())
    except (KeyError, TypeError, ValueError, AttributeError):
        return False


def _with_password(url: str, password: str) -> str:
    parts = urlsplit(url)
    host = parts.netloc.rpartition("@")[2]
    user = parts.username or ""
    return urlunsplit(parts._replace(netloc=f"{quote(user, safe='')}:{quote(password, safe='')}@{host}"))
