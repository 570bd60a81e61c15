"""The identity service's commands: `serve`, `migrate`, and the operator's. `assembly` puts together what they need."""

import contextlib
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path

import typer
import uvloop

from services.common import logs, metrics, tracing
from services.common.audit_command import add_verify_audit
from services.common.audit_sealer import Sealer
from services.common.background import Background
from services.common.clock import SystemClock
from services.common.key_command import add_key_commands
from services.common.migrate import migrate as apply_migrations
from services.common.postgres import Database
from services.common.settings import load_settings
from services.identity.assembly import numbers_of, wire
from services.identity.bypass_command import add_bypass
from services.identity.commands import add_to
from services.identity.gateway import Gateway
from services.identity.gateway_commands import add_to as add_gateway_commands
from services.identity.import_command import add_import_users
from services.identity.operator import Operator
from services.identity.peers.notifier import NotifierPeer
from services.identity.peers.policy import PolicyPeer
from services.identity.peers.policy_settings import PolicySettingsPeer
from services.identity.settings import IdentityMigrationSettings, IdentitySettings
from services.identity.staff_changes import StaffChanges
from services.identity.store.activations import ActivationStore
from services.identity.store.clinics import ClinicStore
from services.identity.store.notices import NoticeStore
from services.identity.store.roster import RosterStore
from services.identity.store.sealed import ROTATED, SEALED
from services.identity.store.staff import StaffStore
from services.identity.telling import Teller

app = typer.Typer(no_args_is_help=True, add_completion=False, help="The gateway: who signs in, and how surely.")


@app.command()
def serve() -> None:
    """Serves the HTTP API, the pages and the contract for back ends until SIGTERM."""
    settings = IdentitySettings.load()
    logs.configure("identity", settings.log_level)
    tracing.configure("identity", settings.otlp_endpoint)
    metrics.serve(settings.metrics_listen)
    uvloop.run(_serve(settings))


@app.command()
def migrate() -> None:
    """Brings the database up to date, as its owner."""
    settings = load_settings(IdentityMigrationSettings, strict=False)
    applied = apply_migrations(
        settings.owner_database_url,
        settings.owner_database_password.get_secret_value(),
        Path(__file__).with_name("migrations"),
    )
    print(f"identity: {', '.join(applied) or 'nothing to do'}")


@contextlib.asynccontextmanager
async def _operator() -> AsyncIterator[Operator]:
    """What the operator's commands need, connected for the length of one."""
    settings = IdentitySettings.load()
    logs.configure("identity", settings.log_level)
    clock = SystemClock()
    database = Database(settings.database_url, settings.database_password.get_secret_value(), 1)
    policy = PolicyPeer(settings.policy_target, settings.tls_dir)
    notifier = NotifierPeer(settings.notifier_target, settings.tls_dir, clock)
    await database.open()
    try:
        numbers, notices = await numbers_of(settings, database), NoticeStore(database)
        staff = StaffStore(database, numbers, notices)
        yield Operator(
            ClinicStore(database),
            staff,
            StaffChanges(staff, RosterStore(database), PolicySettingsPeer(policy.connection)),
            ActivationStore(database, numbers, notices),
            policy,
            notifier,
            clock,
            settings.public_url,
        )
    finally:
        await policy.close()
        await notifier.close()
        await database.close()


@contextlib.asynccontextmanager
async def _gateway() -> AsyncIterator[Gateway]:
    """The gateway's operations for the length of a command; nothing is served."""
    settings = IdentitySettings.load()
    logs.configure("identity", settings.log_level)
    gateway = wire(settings, SystemClock())
    await gateway.open()
    try:
        yield gateway
    finally:
        await gateway.close()


add_to(app, _operator)
add_gateway_commands(app, _gateway)
add_bypass(app, _gateway)
add_import_users(app, numbers_of)
add_verify_audit(app, "identity", IdentitySettings.load)
add_key_commands(app, "identity", IdentitySettings.load, SEALED, ROTATED)


async def _serve(settings: IdentitySettings) -> None:
    from services.identity import serving  # the web framework, a second's work, is for no other command

    clock = SystemClock()
    gateway = wire(settings, clock)
    sealer = Sealer(
        Database(settings.sealer_database_url, settings.sealer_database_password.get_secret_value(), 1), clock
    )
    teller = Teller(gateway.notice_store, gateway.phone_numbers, gateway.notifier, gateway.standings.sms_terms, clock)
    works = (teller.keep_telling, gateway.aftermath.keep_sweeping, partial(serving.keep_purging, gateway))
    await sealer.start()
    try:
        await serving.serve(gateway, [Background(work) for work in works])
    finally:
        await sealer.close()


if __name__ == "__main__":
    app()
