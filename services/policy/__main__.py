"""The policy service's commands: `serve`, `migrate`, and the operator's. Everything is wired here, top to bottom."""

from pathlib import Path

import typer
import uvloop
from countersign.policy.v1 import policy_pb2
from countersign.policy.v1.policy_pb2_grpc import add_PolicyServicer_to_server

from services.common import logs, metrics, tracing
from services.common.audit_command import add_verify_audit
from services.common.audit_sealer import Sealer
from services.common.audit_servicer import AUDIT_ALLOWED, serve_audit
from services.common.clock import SystemClock
from services.common.migrate import migrate as apply_migrations
from services.common.outbox_servicer import OUTBOX_ALLOWED, serve_outbox
from services.common.postgres import Database
from services.common.rpc_server import RpcServer
from services.common.settings import load_settings
from services.policy.app import build
from services.policy.bypass_command import add_bypass
from services.policy.replay_command import add_replay
from services.policy.servicer import ALLOWED
from services.policy.settings import PolicyMigrationSettings, PolicySettings

app = typer.Typer(no_args_is_help=True, add_completion=False, help="Is a second factor enforced for a user, and why.")


add_verify_audit(app, "policy", PolicySettings.load)
add_bypass(app)
add_replay(app)


@app.command()
def serve() -> None:
    """Serves the policy contract until SIGTERM."""
    settings = PolicySettings.load()
    logs.configure("policy", settings.log_level)
    tracing.configure("policy", settings.otlp_endpoint)
    metrics.serve(settings.metrics_listen)
    uvloop.run(_serve(settings))


@app.command()
def migrate() -> None:
    """Brings the database up to date, as its owner."""
    settings = load_settings(PolicyMigrationSettings, strict=False)
    applied = apply_migrations(
        settings.owner_database_url,
        settings.owner_database_password.get_secret_value(),
        Path(__file__).with_name("migrations"),
    )
    print(f"policy: {', '.join(applied) or 'nothing to do'}")


async def _serve(settings: PolicySettings) -> None:
    database = Database(
        settings.database_url, settings.database_password.get_secret_value(), settings.database_pool_size
    )
    sealer = Sealer(
        Database(settings.sealer_database_url, settings.sealer_database_password.get_secret_value(), 1), SystemClock()
    )
    server = RpcServer(settings.listen, settings.tls_dir, {**ALLOWED, **AUDIT_ALLOWED, **OUTBOX_ALLOWED})
    server.register(
        add_PolicyServicer_to_server,
        build(database, SystemClock()),
        policy_pb2.DESCRIPTOR.services_by_name["Policy"],
    )
    serve_audit(server, database)
    serve_outbox(server, database)
    server.follow(database.ping)
    try:
        # A pool that is left open would keep a start that failed from ending, and from saying why.
        await database.open()
        await sealer.start()
        await server.start()
        await server.run_until_stopped()
    finally:
        await sealer.close()
        await database.close()


if __name__ == "__main__":
    app()
