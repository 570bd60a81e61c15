"""The otp service put together: every collaborator made once, top to bottom. `__main__` runs it with the machine's
clock, a test with one of its own."""

import asyncio
from collections.abc import Callable
from datetime import timedelta

from countersign.notifier.v1.notifier_pb2_grpc import NotifierStub
from countersign.otp.v1 import otp_pb2
from countersign.otp.v1.otp_pb2_grpc import add_OtpServicer_to_server

from services.common import rate_limit
from services.common.audit_sealer import Sealer
from services.common.audit_servicer import AUDIT_ALLOWED, serve_audit
from services.common.background import Background
from services.common.clock import Clock
from services.common.errors import ServiceError
from services.common.keyring_in_use import KeyringInUse
from services.common.logs import get_logger
from services.common.outbox_servicer import OUTBOX_ALLOWED, serve_outbox
from services.common.postgres import Database
from services.common.rate_limit import InProcessRateLimiter, RedisRateLimiter
from services.common.rpc_client import Peer
from services.common.rpc_server import RpcServer
from services.common.sealed_columns import DatabaseChecks
from services.otp.backup_codes import BackupCodeHasher
from services.otp.challenges import CodeSender, SignInCodes
from services.otp.confirmation import Confirmation
from services.otp.conversions import Conversions
from services.otp.enrolment import EnrolmentDesk
from services.otp.factors import Factors
from services.otp.guess_budget import GuessLimits
from services.otp.marks import Marks
from services.otp.number_limit import NumberMarks
from services.otp.peers import NotifierPeer
from services.otp.prepared_codes import PreparedCodes
from services.otp.sending_limits import SendingLimits
from services.otp.servicer import ALLOWED, OtpServicer
from services.otp.settings import OtpSettings
from services.otp.store.accounts import Accounts
from services.otp.store.backup_codes import BackupCodes
from services.otp.store.challenges import Challenges
from services.otp.store.enrolments import Enrolments
from services.otp.store.numbers import Numbers
from services.otp.store.sealed import SEALED
from services.otp.store.upkeep import Upkeep
from services.otp.turns import Turns
from services.otp.vault import Vault
from services.otp.verification import Verification

_UPKEEP_EVERY_SECONDS = 30.0

_log = get_logger(__name__)


def guess_limits(settings: OtpSettings) -> GuessLimits:
    return GuessLimits(
        most_in_window=settings.guesses_window,
        window=timedelta(minutes=settings.guesses_window_minutes),
        most_in_day=settings.guesses_day,
        locked_at_count=settings.guesses_lock,
        lock_window=timedelta(days=settings.guesses_lock_days),
    )


class OtpService:
    """`start` and `close` bracket its life. Not ready while its database or keyring is not; then it says so, and
    answers `unavailable`."""

    def __init__(self, settings: OtpSettings, clock: Clock, limits_now_ms: Callable[[], int] | None = None) -> None:
        self._clock = clock
        self._database = Database(
            settings.database_url, settings.database_password.get_secret_value(), settings.database_pool_size
        )
        self._redis = rate_limit.connect(settings.redis_url, settings.redis_password.get_secret_value())
        self._notifier = Peer(
            lambda channel: NotifierStub(channel), settings.notifier_target, "notifier", settings.tls_dir
        )
        accounts, challenges = Accounts(self._database, guess_limits(settings)), Challenges(self._database)
        marks = Marks(settings.code_pepper.get_secret_value())
        keyring = KeyringInUse("otp", settings.keyring_file, DatabaseChecks(self._database, SEALED))
        vault = Vault(keyring)
        limiter = RedisRateLimiter(self._redis, settings.limits_pepper.get_secret_value().encode(), limits_now_ms)
        limits = SendingLimits(limiter, InProcessRateLimiter())
        sender = CodeSender(challenges, vault, marks, NotifierPeer(self._notifier), limits, clock)
        turns, sending_turns = Turns(), Turns()
        self._hasher = BackupCodeHasher(marks)
        self._codes = PreparedCodes(self._hasher)
        self._upkeep = Upkeep(self._database)
        numbers = Numbers(self._database)
        self._number_marks = NumberMarks(numbers, vault, marks)
        self._conversions = Conversions(challenges, clock)
        self._keeping_up = Background(self._keep_up)
        servicer = OtpServicer(
            Verification(accounts, BackupCodes(self._database), vault, marks, self._hasher, turns, clock),
            Confirmation(accounts, vault, marks, self._codes, turns, clock),
            EnrolmentDesk(
                accounts,
                Enrolments(self._database),
                challenges,
                sender,
                vault,
                marks,
                limits,
                self._codes,
                sending_turns,
                clock,
                settings.product_name,
            ),
            # Apart from the line for verifying: handing a code over may take as long as the notifier does.
            SignInCodes(accounts, challenges, sender, vault, sending_turns, clock),
            Factors(accounts, self._codes, turns, clock),
            numbers,
            clock,
        )
        self._sealer = Sealer(
            Database(settings.sealer_database_url, settings.sealer_database_password.get_secret_value(), 1), clock
        )
        self.server = RpcServer(settings.listen, settings.tls_dir, {**ALLOWED, **AUDIT_ALLOWED, **OUTBOX_ALLOWED})
        self.server.register(add_OtpServicer_to_server, servicer, otp_pb2.DESCRIPTOR.services_by_name["Otp"])
        serve_audit(self.server, self._database)
        serve_outbox(self.server, self._database)
        self.server.follow(accounts.ping)
        self.server.follow(keyring.ensure_ready)

    async def start(self) -> int:
        """Opens what it needs and listens; answers the port."""
        await self._database.open()
        self._keeping_up.start()
        await self._sealer.start()
        return await self.server.start()

    async def close(self) -> None:
        """After the server has stopped."""
        await self._keeping_up.close()
        await self._sealer.close()
        await self._notifier.close()
        await self._redis.aclose(close_connection_pool=True)
        await self._database.close()
        self._codes.close()
        self._hasher.close()

    async def _keep_up(self) -> None:
        while True:
            await asyncio.sleep(_UPKEEP_EVERY_SECONDS)
            try:
                await self._upkeep.run(self._clock.now())
                await self._conversions.measure()
                await self._number_marks.catch_up()
            except ServiceError as error:
                _log.warning("upkeep_put_off", away=error.members.get("away"))
            except Exception:
                _log.exception("upkeep_failed")
