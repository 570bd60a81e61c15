"""The identity service's commands: `serve`, `migrate`, and the operator's. Everything is wired here, top to bottom."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from datetime import timedelta
from pathlib import Path

import typer
import uvloop

from services.common import logs, metrics, tracing
from services.common.clock import Clock, SystemClock
from services.common.migrate import migrate as apply_migrations
from services.common.postgres import Database
from services.common.rate_limit import InProcessRateLimiter, RedisRateLimiter, connect
from services.common.sealing import Keyring, SealingError
from services.common.settings import load_settings
from services.identity import serving
from services.identity.accounts import Accounts
from services.identity.activations import Activations
from services.identity.clinic import ClinicOperations
from services.identity.commands import add_to
from services.identity.cookies import Cookies
from services.identity.gateway import Gateway
from services.identity.limits import Limits, PasswordAttempts
from services.identity.login import SignIn
from services.identity.operator import Operator
from services.identity.passwords import Passwords
from services.identity.peers.notifier import NotifierPeer
from services.identity.peers.otp import OtpPeer
from services.identity.peers.policy import PolicyPeer
from services.identity.readiness import ReadinessProbe
from services.identity.settings import IdentityMigrationSettings, IdentitySettings
from services.identity.standing import Standings
from services.identity.store.activations import ActivationStore
from services.identity.store.clinics import ClinicStore
from services.identity.store.numbers import PhoneNumbers
from services.identity.store.passwords import PasswordStore
from services.identity.store.sessions import PURGE_AFTER, SessionStore
from services.identity.store.staff import StaffStore
from services.identity.store.users import UserStore
from services.identity.two_factor import TwoFactor
from services.identity.users import Users

_PURGE_EVERY = timedelta(minutes=10)

_log = logs.get_logger(__name__)

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


def wire(
    settings: IdentitySettings,
    clock: Clock,
    *,
    limiter_now_ms: Callable[[], int] | None = None,
) -> Gateway:
    """Builds everything from the settings; nothing is connected before `open`."""
    database = Database(
        settings.database_url, settings.database_password.get_secret_value(), settings.database_pool_size
    )
    otp = OtpPeer(settings.otp_target, settings.tls_dir)
    policy = PolicyPeer(settings.policy_target, settings.tls_dir)
    notifier = NotifierPeer(settings.notifier_target, settings.tls_dir, clock)
    redis = connect(settings.redis_url, settings.redis_password.get_secret_value())
    shared = RedisRateLimiter(redis, settings.limits_pepper.get_secret_value().encode(), limiter_now_ms)
    own = InProcessRateLimiter(limiter_now_ms) if limiter_now_ms else InProcessRateLimiter()
    limits = Limits(shared, own)
    attempts = PasswordAttempts(limits)
    passwords = Passwords(
        settings.password_pepper.get_secret_value().encode(),
        memory_kib=settings.argon2_memory_kib,
        time_cost=settings.argon2_time_cost,
        parallelism=settings.argon2_parallelism,
        product_name=settings.product_name,
    )
    numbers = _numbers(settings)
    users, clinics, staff = UserStore(database, numbers), ClinicStore(database), StaffStore(database, numbers)
    sessions, activations = SessionStore(database, numbers), ActivationStore(database, numbers)
    standings = Standings(sessions, otp, policy, notifier, clock)

    async def ping_redis() -> None:
        await redis.ping()

    async def close_others() -> None:
        passwords.close()
        await redis.aclose(close_connection_pool=True)

    return Gateway(
        settings=settings,
        clock=clock,
        database=database,
        otp=otp,
        policy=policy,
        notifier=notifier,
        session_store=sessions,
        standings=standings,
        cookies=Cookies(settings.csrf_key.get_secret_value().encode(), is_https=settings.is_https),
        login=SignIn(users, sessions, standings, passwords, attempts, clock),
        accounts=Accounts(
            users, sessions, PasswordStore(database, sessions), standings, passwords, attempts, otp, clock
        ),
        two_factor=TwoFactor(sessions, standings, otp, clock),
        clinics=ClinicOperations(clinics, policy, otp, notifier, standings, clock),
        users=Users(staff, users, sessions, activations, otp, standings, limits, clock, settings.public_url),
        activations=Activations(activations, passwords, otp, standings, limits, clock),
        readiness=ReadinessProbe(
            needed={"database": database.ping, "otp": otp.ping, "policy": policy.ping},
            told={"redis": ping_redis, "notifier": notifier.ping},
        ),
        close_others=close_others,
    )


@contextlib.asynccontextmanager
async def _operator() -> AsyncIterator[Operator]:
    """What the operator's commands need, connected for the length of one."""
    settings = IdentitySettings.load()
    logs.configure("identity", settings.log_level)
    clock, numbers = SystemClock(), _numbers(settings)
    database = Database(settings.database_url, settings.database_password.get_secret_value(), 1)
    policy = PolicyPeer(settings.policy_target, settings.tls_dir)
    notifier = NotifierPeer(settings.notifier_target, settings.tls_dir, clock)
    await database.open()
    try:
        yield Operator(
            ClinicStore(database),
            StaffStore(database, numbers),
            ActivationStore(database, numbers),
            policy,
            notifier,
            clock,
            settings.public_url,
        )
    finally:
        await policy.close()
        await notifier.close()
        await database.close()


def _numbers(settings: IdentitySettings) -> PhoneNumbers:
    try:
        return PhoneNumbers(Keyring.load(settings.keyring_file))
    except SealingError as error:
        raise SystemExit(f"IDENTITY_KEYRING_FILE: {error}") from error


add_to(app, _operator)


async def _serve(settings: IdentitySettings) -> None:
    clock = SystemClock()
    gateway = wire(settings, clock)
    purging = asyncio.get_running_loop().create_task(_purge(gateway.session_store, clock))
    try:
        await serving.serve(gateway)
    finally:
        purging.cancel()
        await asyncio.wait([purging])


async def _purge(sessions: SessionStore, clock: Clock) -> None:
    """Drops sessions that ended so long ago that nobody asks why."""
    while True:
        await asyncio.sleep(_PURGE_EVERY.total_seconds())
        try:
            while await sessions.purge(clock.now() - PURGE_AFTER):
                pass
        except Exception:
            _log.exception("purge_failed")


if __name__ == "__main__":
    app()
