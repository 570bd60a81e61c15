"""The notifier's commands: `serve` (the gRPC front), `relay`, `worker`, `migrate`, and the operator's. Everything
is wired here.

The three processes share one distribution but not their imports: what a command alone needs, it imports itself, which
spares the relay and the worker the memory of a gRPC server, and the front that of Celery.
"""

import asyncio
import signal
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import typer

from services.common import logs, metrics, tracing
from services.common.audit_command import add_verify_audit
from services.common.background import Background
from services.common.clock import SystemClock
from services.common.key_command import add_key_commands
from services.common.keyring_in_use import KeyringInUse
from services.common.migrate import migrate as apply_migrations
from services.common.postgres import Database
from services.common.sealed_columns import DatabaseChecks
from services.common.settings import load_settings
from services.notifier.deliveries_command import add_delivery_commands
from services.notifier.model import DeliveryId
from services.notifier.sealed import ROTATED, SEALED
from services.notifier.settings import (
    FrontSettings,
    NotifierMigrationSettings,
    RelaySettings,
    Settings,
    WorkerSettings,
)
from services.notifier.store import DeliveryStore

app = typer.Typer(no_args_is_help=True, add_completion=False, help="Deliveries: text messages, sent at most once.")


add_verify_audit(app, "notifier", Settings.load)
add_key_commands(app, "notifier", FrontSettings.load, SEALED, ROTATED)
add_delivery_commands(app, Settings.load)


@app.command()
def serve() -> None:
    """Serves the notifier contract until SIGTERM."""
    import uvloop

    settings = FrontSettings.load()
    _begin(settings, "notifier")
    uvloop.run(_serve(settings))


@app.command()
def relay() -> None:
    """Carries due deliveries to the queue, and ends those that are too late, until SIGTERM."""
    import uvloop

    settings = RelaySettings.load()
    _begin(settings, "notifier-relay")
    uvloop.run(_relay(settings))


@app.command()
def worker() -> None:
    """Sends what the queue brings, until SIGTERM; then finishes what is in hand."""
    from services.notifier import providers, queue
    from services.notifier import worker as worker_process
    from services.notifier.dispatch import Dispatch

    settings = WorkerSettings.load()
    _begin(settings, "notifier-worker")
    loop = worker_process.EventLoopThread()
    loop.start()
    database = _database(settings)
    loop.run(database.open())
    keyring = _keyring(settings.keyring_file, database)
    threads = ThreadPoolExecutor(worker_process.THREADS, thread_name_prefix="provider")
    clock = SystemClock()
    dispatch = Dispatch(
        DeliveryStore(database),
        keyring,
        providers.from_settings(settings, clock).current,
        threads,
        clock,
        settings.product_name,
        settings.status_callback,
        providers.mailer_from_settings(settings),
    )
    celery = queue.make_app(settings.broker_url, settings.broker_password.get_secret_value())

    async def send(delivery_id: DeliveryId) -> None:
        await keyring.ensure_ready()  # else nothing is claimed that could not be opened
        await dispatch.send(delivery_id)

    worker_process.add_task(celery, send, loop)
    try:
        # Nothing is taken, and no heartbeat shows, before the keyring fits.
        loop.run(worker_process.until_ready(keyring.ensure_ready))
        code = worker_process.run(celery, settings.heartbeat_file, with_events=settings.worker_events)
    finally:
        threads.shutdown(wait=False, cancel_futures=True)
        loop.run(database.close())
        loop.stop()
    sys.exit(code)


@app.command()
def migrate() -> None:
    """Brings the database up to date, as its owner."""
    settings = load_settings(NotifierMigrationSettings, strict=False)
    applied = apply_migrations(
        settings.owner_database_url,
        settings.owner_database_password.get_secret_value(),
        Path(__file__).with_name("migrations"),
    )
    print(f"notifier: {', '.join(applied) or 'nothing to do'}")


async def _serve(settings: FrontSettings) -> None:
    from countersign.notifier.v1 import notifier_pb2
    from countersign.notifier.v1.notifier_pb2_grpc import add_NotifierServicer_to_server

    from services.common.audit_sealer import Sealer
    from services.common.audit_servicer import AUDIT_ALLOWED, serve_audit
    from services.common.rpc_server import RpcServer
    from services.notifier import providers
    from services.notifier.callbacks import Callbacks
    from services.notifier.delivery import Deliveries
    from services.notifier.measures import TEXTS_DAILY_CAP
    from services.notifier.notices import Notices
    from services.notifier.provider_health import ProviderHealth
    from services.notifier.servicer import ALLOWED, NotifierServicer
    from services.notifier.spending import Spending

    database = _database(settings)
    store, clock = DeliveryStore(database), SystemClock()
    found = providers.from_settings(settings, clock)
    keyring = _keyring(settings.keyring_file, database)
    spending, health = Spending(settings.sms_daily_cap, settings.product_name), ProviderHealth(store.texts_since, clock)
    TEXTS_DAILY_CAP.set(settings.sms_daily_cap)
    deliveries = Deliveries(store, keyring, found.is_there, spending, health, clock)
    notices = Notices(store, keyring, found.is_there, spending, can_mail=bool(settings.smtp_host), clock=clock)
    callbacks = Callbacks(store, found.configured, settings.status_callback, clock)
    sealer = Sealer(
        Database(settings.sealer_database_url, settings.sealer_database_password.get_secret_value(), 1), clock
    )
    server = RpcServer(settings.listen, settings.tls_dir, {**ALLOWED, **AUDIT_ALLOWED})
    server.register(
        add_NotifierServicer_to_server,
        NotifierServicer(deliveries, notices, callbacks),
        notifier_pb2.DESCRIPTOR.services_by_name["Notifier"],
    )
    serve_audit(server, database)
    server.follow(store.ping)
    server.follow(keyring.ensure_ready)
    try:
        # A pool that is left open would keep a start that failed from ending, and from saying why.
        await database.open()
        await sealer.start()
        await server.start()
        await server.run_until_stopped()
    finally:
        await sealer.close()
        await database.close()


async def _relay(settings: RelaySettings) -> None:
    from services.notifier import queue
    from services.notifier.operator_store import OperatorStore
    from services.notifier.queue_watch import QueueWatch
    from services.notifier.relay import Relay
    from services.notifier.relay_store import QueuedSignal, RelayStore

    database = _database(settings)
    publisher = queue.Publisher(queue.make_app(settings.broker_url, settings.broker_password.get_secret_value()))
    relay_ = Relay(
        RelayStore(database),
        QueuedSignal(settings.database_url, settings.database_password.get_secret_value()),
        publisher.publish,
        publisher.backlog,
        SystemClock(),
        settings.heartbeat_file,
    )
    watching = Background(QueueWatch(OperatorStore(database), SystemClock()).run)
    stopped = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopped.set)
    try:
        await database.open()
        watching.start()
        await relay_.run(stopped)
    finally:
        await watching.close()
        publisher.close()
        await database.close()


def _begin(settings: Settings, name: str) -> None:
    logs.configure(name, settings.log_level)
    tracing.configure(name, settings.otlp_endpoint)
    metrics.serve(settings.metrics_listen)


def _database(settings: Settings) -> Database:
    return Database(settings.database_url, settings.database_password.get_secret_value(), settings.database_pool_size)


def _keyring(path: Path, database: Database) -> KeyringInUse:
    return KeyringInUse("notifier", path, DatabaseChecks(database, SEALED))


if __name__ == "__main__":
    app()
