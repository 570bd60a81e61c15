"""The otp service's commands: `serve`, `migrate`, and the operator's."""

from pathlib import Path

import typer
import uvloop

from services.common import logs, metrics, tracing
from services.common.audit_command import add_verify_audit
from services.common.clock import SystemClock
from services.common.key_command import add_key_commands
from services.common.keyring_in_use import KeyringInUse
from services.common.migrate import migrate as apply_migrations
from services.common.postgres import Database
from services.common.sealed_columns import DatabaseChecks
from services.common.settings import load_settings
from services.otp.app import OtpService
from services.otp.import_command import add_import
from services.otp.settings import OtpMigrationSettings, OtpSettings
from services.otp.store.sealed import ROTATED, SEALED
from services.otp.vault import Vault

app = typer.Typer(no_args_is_help=True, add_completion=False, help="Codes: TOTP, backup codes, text messages.")


async def vault_of(keyring_file: Path, database: Database) -> Vault:
    """What seals and opens for a command, once the keyring was found to be this database's."""
    keyring = KeyringInUse("otp", keyring_file, DatabaseChecks(database, SEALED))
    await keyring.ensure_ready()
    return Vault(keyring)


add_verify_audit(app, "otp", OtpSettings.load)
add_import(app, vault_of)
add_key_commands(app, "otp", OtpSettings.load, SEALED, ROTATED)


@app.command()
def serve() -> None:
    """Serves the otp contract until SIGTERM."""
    settings = OtpSettings.load()
    logs.configure("otp", settings.log_level)
    tracing.configure("otp", settings.otlp_endpoint)
    metrics.serve(settings.metrics_listen)
    uvloop.run(_serve(settings))


@app.command()
def migrate() -> None:
    """Brings the database up to date, as its owner."""
    settings = load_settings(OtpMigrationSettings, strict=False)
    applied = apply_migrations(
        settings.owner_database_url,
        settings.owner_database_password.get_secret_value(),
        Path(__file__).with_name("migrations"),
    )
    print(f"otp: {', '.join(applied) or 'nothing to do'}")


async def _serve(settings: OtpSettings) -> None:
    service = OtpService(settings, SystemClock())
    try:
        # A pool that is left open would keep a start that failed from ending, and from saying why.
        await service.start()
        await service.server.run_until_stopped()
    finally:
        await service.close()


if __name__ == "__main__":
    app()
