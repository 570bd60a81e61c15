"""Puts the gateway together from the settings and a clock, top to bottom; who serves it is `__main__`'s business, and
the tests'."""

from collections.abc import Callable

from services.common.audit_trail import AuditTrail
from services.common.clock import Clock
from services.common.keyring_in_use import KeyringInUse
from services.common.postgres import Database
from services.common.rate_limit import InProcessRateLimiter, RedisRateLimiter, connect
from services.common.sealed_columns import DatabaseChecks
from services.identity.accounts import Accounts
from services.identity.activations import Activations
from services.identity.adoption import Adoption
from services.identity.aftermath import Aftermath
from services.identity.apps import Apps
from services.identity.audit_events import AuditEvents
from services.identity.bypasses import Bypasses, Granting
from services.identity.clinic import ClinicOperations
from services.identity.confirming import Confirming
from services.identity.cookies import Cookies
from services.identity.explaining import Explaining
from services.identity.gateway import Gateway
from services.identity.integrations import Integrations
from services.identity.limits import Limits, PasswordAttempts
from services.identity.login import SignIn
from services.identity.lost_replies import LostReplies
from services.identity.notices import Notices
from services.identity.operator_bypass import OperatorBypass
from services.identity.operator_lookup import OperatorLookup
from services.identity.passwords import Passwords
from services.identity.peers.audit import AuditPeer
from services.identity.peers.notifier import NotifierPeer
from services.identity.peers.otp import OtpPeer
from services.identity.peers.outbox import OutboxPeer
from services.identity.peers.policy import PolicyPeer
from services.identity.peers.policy_bypass import PolicyBypassPeer
from services.identity.peers.policy_settings import PolicySettingsPeer
from services.identity.preview import Previews
from services.identity.proofs import Proofs
from services.identity.readiness import ReadinessProbe
from services.identity.remembering import Forgetting, Remembering
from services.identity.requirements import Requirements
from services.identity.settings import IdentitySettings
from services.identity.staff_changes import StaffChanges
from services.identity.standing import Standings
from services.identity.store.activations import ActivationStore
from services.identity.store.aftermath import AftermathStore
from services.identity.store.apps import AppStore
from services.identity.store.clinics import ClinicStore
from services.identity.store.devices import DeviceStore
from services.identity.store.imports import ImportStore
from services.identity.store.notices import NoticeStore
from services.identity.store.numbers import PhoneNumbers
from services.identity.store.passwords import PasswordStore
from services.identity.store.recovery import RecoveryStore
from services.identity.store.replies import ReplyStore
from services.identity.store.roster import RosterStore
from services.identity.store.sealed import SEALED
from services.identity.store.seen_browsers import SeenBrowsers
from services.identity.store.sessions import SessionStore
from services.identity.store.staff import StaffStore
from services.identity.store.users import UserStore
from services.identity.trail_names import TrailNames
from services.identity.two_factor import TwoFactor
from services.identity.users import Users


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
    policy_settings = PolicySettingsPeer(policy.connection)
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
    keyring = keyring_of(settings, database)
    numbers = PhoneNumbers(keyring)
    notices, browsers = NoticeStore(database), SeenBrowsers(settings.csrf_key.get_secret_value().encode())
    users, staff = UserStore(database, numbers, notices), StaffStore(database, numbers, notices)
    clinics, activations = ClinicStore(database), ActivationStore(database, numbers, notices)
    sessions = SessionStore(database, numbers, notices, browsers)
    standings = Standings(sessions, otp, policy, notifier, clock)
    roster = RosterStore(database)
    devices = DeviceStore(database)
    forgetting = Forgetting(devices, policy, policy_settings, clock)
    clinic_operations = ClinicOperations(clinics, policy, otp, notifier, standings, forgetting, clock)
    integrations = Integrations(policy_settings, otp, standings, forgetting)
    changes = StaffChanges(staff, roster, policy_settings)
    policy_bypass, recovery = PolicyBypassPeer(policy.connection), RecoveryStore(database)
    remembering = Remembering(devices, standings, clock)
    password_store = PasswordStore(database, sessions, notices)
    replies = LostReplies(ReplyStore(database, numbers), clock, settings.csrf_key.get_secret_value().encode())
    proofs = Proofs(sessions, policy_bypass, replies, clock)
    outboxes = {
        service: OutboxPeer(service, target, settings.tls_dir)
        for service, target in (("otp", settings.otp_target), ("policy", settings.policy_target))
    }
    aftermath = Aftermath(outboxes, AftermathStore(database, notices), standings, clock)
    granting = Granting(recovery, otp, policy_bypass, aftermath, standings, clock)

    async def ping_redis() -> None:
        await redis.ping()

    others = {
        service: AuditPeer(service, target, settings.tls_dir)
        for service, target in (
            ("otp", settings.otp_target),
            ("policy", settings.policy_target),
            ("notifier", settings.notifier_target),
        )
    }
    trails: dict[str, AuditTrail | AuditPeer] = {"identity": AuditTrail(database), **others}

    async def close_others() -> None:
        for trail in others.values():
            await trail.close()
        for outbox in outboxes.values():
            await outbox.close()
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
        login=SignIn(users, sessions, standings, remembering, policy_bypass, otp, passwords, attempts, clock),
        aftermath=aftermath,
        accounts=Accounts(users, sessions, password_store, standings, passwords, attempts, otp, aftermath, clock),
        two_factor=TwoFactor(sessions, standings, otp, policy_settings, proofs, aftermath, replies, clock),
        confirming=Confirming(standings, otp, proofs, aftermath, replies, clock),
        lost_replies=replies,
        clinics=clinic_operations,
        users=Users(staff, users, sessions, activations, changes, otp, standings, limits, clock, settings.public_url),
        activations=Activations(activations, passwords, otp, standings, limits, clock),
        adoption=Adoption(staff, roster, otp, policy_settings, clock),
        audit_events=AuditEvents(trails),
        trail_names=TrailNames(roster, AppStore(database)),
        apps=Apps(AppStore(database), clinics, standings, clock),
        bypasses=Bypasses(granting, users, recovery, otp, policy_bypass, policy_settings, standings, clock),
        explaining=Explaining(clinics, staff, sessions, otp, policy, policy_settings, notifier, trails, clock),
        integrations=integrations,
        notices=Notices(notices, clock),
        notice_store=notices,
        phone_numbers=numbers,
        keyring=keyring,
        operator_bypass=OperatorBypass(clinics, staff, granting),
        operator_lookup=OperatorLookup(clinics, ImportStore(database, numbers)),
        previews=Previews(roster, sessions, clinic_operations, integrations, otp, policy_settings, notifier, clock),
        remembering=remembering,
        requirements=Requirements(users, staff, otp, policy_settings, standings),
        readiness=ReadinessProbe(
            needed={
                "database": database.ping,
                "keyring": keyring.ensure_ready,
                "otp": otp.ping,
                "policy": policy.ping,
            },
            told={"redis": ping_redis, "notifier": notifier.ping},
        ),
        close_others=close_others,
    )


def keyring_of(settings: IdentitySettings, database: Database) -> KeyringInUse:
    return KeyringInUse("identity", settings.keyring_file, DatabaseChecks(database, SEALED))


async def numbers_of(settings: IdentitySettings, database: Database) -> PhoneNumbers:
    keyring = keyring_of(settings, database)
    await keyring.ensure_ready()
    return PhoneNumbers(keyring)
