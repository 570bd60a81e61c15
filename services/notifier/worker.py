"""The worker process: Celery's threads pool takes ids off the queue and hands each to `Dispatch.send`, which runs on
one event loop beside them. A message is worth no more than the id in it; one that is not an id is dropped."""

import asyncio
import threading
from collections.abc import Awaitable, Callable, Coroutine
from pathlib import Path
from typing import Any

from celery import Celery, bootsteps, signals

from services.common.errors import ServiceError
from services.common.logs import get_logger
from services.notifier.measures import beat
from services.notifier.model import DeliveryId, is_delivery_id
from services.notifier.queue import QUEUE, TASK

THREADS = 8
_HEARTBEAT_SECONDS = 5.0
_READY_WAIT_SECONDS = 1.0

_log = get_logger(__name__)


class EventLoopThread:
    """An event loop of its own thread, for the asynchronous store under Celery's synchronous tasks."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="event-loop", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def run(self, coroutine: Coroutine[Any, Any, None]) -> None:
        """Waits until the coroutine is done. Everything it waits for has a time limit of its own."""
        asyncio.run_coroutine_threadsafe(coroutine, self._loop).result()

    def stop(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


def add_task(app: Celery, send: Callable[[DeliveryId], Awaitable[None]], loop: EventLoopThread) -> None:
    """Registers the one task there is. It never fails: what could not be done, the relay brings again."""

    async def attempt(delivery_id: DeliveryId) -> None:
        try:
            await send(delivery_id)
        except ServiceError as error:
            _log.warning("delivery_postponed", delivery_id=delivery_id, away=error.members.get("away"))
        except Exception:
            _log.exception("delivery_attempt_failed", delivery_id=delivery_id)

    def take(*arguments: Any, **named: Any) -> None:
        if named or len(arguments) != 1 or not is_delivery_id(arguments[0]):
            _log.error("queue_message_dropped", why="not a delivery id")
            return
        loop.run(attempt(DeliveryId(arguments[0])))

    app.task(name=TASK, ignore_result=True)(take)
    app.finalize()
    for name in [name for name in app.tasks if name != TASK]:
        app.tasks.unregister(name)  # Celery's own (chords, chains …), which a forged message could call


async def until_ready(check: Callable[[], Awaitable[None]]) -> None:
    """Waits for what nothing can be sent without; the check itself logs why it is not there."""
    while True:
        try:
            await check()
        except ServiceError as error:
            _log.warning("worker_not_ready", away=error.members.get("away"))
            await asyncio.sleep(_READY_WAIT_SECONDS)
        else:
            return


def run(app: Celery, heartbeat_file: Path | None, *, with_events: bool = False) -> int:
    """Takes messages until SIGTERM, then finishes those in hand; answers the exit code. `with_events`: tells of itself
    and its tasks through the broker; they hold ids, and nobody has to listen."""
    # Celery leaves logging alone where somebody says that they have set it up.
    signals.setup_logging.connect(_logging_is_set_up, weak=False)
    app.steps["worker"].add(_Heartbeat)
    worker = app.Worker(
        pool_cls="threads",
        concurrency=THREADS,
        queues=[QUEUE],
        quiet=True,
        without_gossip=True,
        without_mingle=True,
        without_heartbeat=not with_events,
        task_events=with_events,
        heartbeat_file=heartbeat_file,
    )
    _log.info("worker_starting", threads=THREADS)
    worker.start()
    return int(worker.exitcode or 0)


def _logging_is_set_up(**_: Any) -> None:
    pass


class _Heartbeat(bootsteps.StartStopStep):  # type: ignore[misc]  # the package has no types
    """Beats while the worker's event loop turns: a metric, and a file that is touched. With the broker away it does
    not. Much cheaper for a health check than `celery inspect ping`, which costs 2.5 CPU seconds."""

    requires = {"celery.worker.components:Timer"}  # noqa: RUF012

    def __init__(self, parent: Any, heartbeat_file: Path | None, **options: Any) -> None:
        super().__init__(parent, **options)
        self._file = heartbeat_file
        self._timer: Any = None

    def start(self, parent: Any) -> None:
        self._beat()
        self._timer = parent.timer.call_repeatedly(_HEARTBEAT_SECONDS, self._beat)

    def stop(self, parent: Any) -> None:
        if self._timer:
            self._timer.cancel()
        if self._file:
            self._file.unlink(missing_ok=True)

    def _beat(self) -> None:
        beat("worker")
        if self._file:
            self._file.touch()
