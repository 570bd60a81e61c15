"""Signing in with e-mail and password.

Unknown clinic, unknown user, wrong password, no password yet, disabled: one answer, after the same work (P13). A right
password opens a session that can do as much as policy and the user's factors say, and asks them anew every time:
without them there is no session, save for someone with a factor, who is asked for it whatever policy would say (P10).

A good device token stands for the code; an unused bypass opens a session that can set up a factor and nothing else.
"""

from services.common.audit import AuditEvent
from services.common.clock import Clock
from services.common.errors import ErrorCode, ServiceError
from services.common.logs import get_logger
from services.identity.limits import PasswordAttempts
from services.identity.model import Client, Clinic, Decision, Leave, Session, SessionState, SignedIn, User, UserId
from services.identity.notice_words import bypass_used
from services.identity.passwords import Passwords
from services.identity.peers.otp import OtpPeer
from services.identity.peers.policy_bypass import PolicyBypassPeer
from services.identity.policy_words import Bypass
from services.identity.remembering import Remembering
from services.identity.sessions import SessionView, new_token, opened, standing_of, state_of
from services.identity.standing import Standings
from services.identity.store.sessions import SessionStore
from services.identity.store.users import Account, UserStore

_log = get_logger(__name__)


class SignIn:
    def __init__(
        self,
        users: UserStore,
        sessions: SessionStore,
        standings: Standings,
        remembering: Remembering,
        bypasses: PolicyBypassPeer,
        otp: OtpPeer,
        passwords: Passwords,
        attempts: PasswordAttempts,
        clock: Clock,
    ) -> None:
        self._users = users
        self._sessions = sessions
        self._standings = standings
        self._remembering = remembering
        self._bypasses = bypasses
        self._otp = otp
        self._passwords = passwords
        self._attempts = attempts
        self._clock = clock

    async def sign_in(
        self,
        slug: str,
        email: str,
        password: str,
        client: Client,
        *,
        shared_device: bool = False,
        device_token: str | None = None,
        bypass_first: bool = False,
    ) -> SessionView:
        """A new session with its token. `bypass_first`: an unused bypass rather than a good device token; for a browser
        that sends its token by itself, whose owner would never get to set up a new phone. Raises `invalid-credentials`,
        `too-many-attempts` or `unavailable`."""
        account = await self._proven(slug, email, password, client)
        if account is None or account.password_hash is None:
            await self._sessions.note(self._refused(client))
            raise _invalid_credentials()
        user, clinic = account.user, account.clinic
        facts = await self._standings.facts(user, clinic, fresh=True)
        if facts.factors is None or (facts.decision is None and not facts.factors.factors):
            assert facts.away is not None
            raise facts.away
        recognised = None
        has_leave = facts.decision is not None and facts.decision.bypass is not None
        if device_token is not None and not shared_device and not (bypass_first and has_leave):
            recognised = await self._remembering.recognise(user, facts, device_token, client)
        now = self._clock.now()
        token = new_token()
        leave = await self._leave(user, clinic, facts.decision) if recognised is None else None
        session: Session | None = None
        spent: Bypass | None = None
        state = SessionState.ENROLMENT_REQUIRED
        if leave is not None:
            session = opened(user, token, state, facts.decision, client, now, shared=shared_device, bypass=leave)
            spent = await self._spend(leave, session, client)
        if session is None or spent is None:
            device = recognised.device if recognised else None
            # A probe of what the session would be: it has proven nothing but the password.
            kind = SessionState.ACTIVE
            probe = opened(user, token, kind, facts.decision, client, now, shared=shared_device, device=device)
            state = state_of(probe, facts.factors, facts.decision, now) or SessionState.SECOND_FACTOR_REQUIRED
            session = opened(user, token, state, facts.decision, client, now, shared=shared_device, device=device)
        event = _opened_event(session, state)
        if spent is not None:
            granter = UserId(spent.granted_by.id) if spent.granted_by.kind == "user" and spent.granted_by.id else None
            notices = bypass_used(user, client, now, spent.id)
            is_open = await self._sessions.open_by_bypass(session, account.password_hash, event, granter, notices)
        else:
            seen_in = client if state is SessionState.ACTIVE else None
            is_open = await self._sessions.open(session, account.password_hash, event, seen_in=seen_in)
        if not is_open:
            raise _invalid_credentials()
        standing = await self._standings.marked(standing_of(state, facts.factors, facts.decision, session))
        return SessionView(
            SignedIn(session, user, clinic), standing, token, device_token=recognised.token if recognised else None
        )

    async def _leave(self, user: User, clinic: Clinic, decision: Decision | None) -> Leave | None:
        """The user's leave to sign in once without a code. Whoever has proven a factor since it was given needs none,
        and then it is over."""
        leave = decision.bypass if decision else None
        if leave is None:
            return None
        if await self._sessions.has_proven_since(user.id, leave.granted_at):
            await self._bypasses.end(clinic.id, user.id, "got_in")
            return None
        return leave

    async def _spend(self, leave: Leave, session: Session, client: Client) -> Bypass | None:
        """The bypass, where this session is the one that it opens (P5). It may try codes anew."""
        spent = await self._bypasses.use(session.clinic_id, session.user_id, leave.id, session.id, client.address)
        if spent is None:
            return None
        self._standings.forget_user(session.user_id)
        try:
            await self._otp.reset_guess_budget(session.clinic_id, session.user_id, "bypass")
        except ServiceError as error:
            # It is spent now; should the budget be spent too, another one is needed.
            _log.warning("guess_budget_not_reset", user_id=session.user_id, error_code=error.code.value)
        return spent

    async def _proven(self, slug: str, email: str, password: str, client: Client) -> Account | None:
        """The account, where the password is right and the user may sign in. Only wrong passwords stay counted."""
        async with (
            self._passwords.turn(),
            self._attempts.attempt(slug, email, client.address) as attempt,
        ):
            account = await self._users.for_sign_in(slug, email)
            stored = account.password_hash if account else None
            right = await self._passwords.is_right(password, stored)
            if not right or account is None or stored is None or account.user.is_disabled:
                return None
            attempt.was_right = True
            if not self._passwords.needs_rehash(stored):
                return account
            dearer = await self._passwords.rehash(password)
            if await self._users.replace_hash(account.user.id, stored, dearer):
                return Account(account.user, account.clinic, dearer)
            # Another sign-in was first, or the password was changed meanwhile: what stands now tells.
            account = await self._users.for_sign_in(slug, email)
            stands = account is not None and await self._passwords.is_right(password, account.password_hash)
            return account if stands and account is not None and not account.user.is_disabled else None

    def _refused(self, client: Client) -> AuditEvent:
        # Names nobody, whoever it was for: the row is the same, and so is the time it takes.
        return AuditEvent("session.refused", self._clock.now(), None, "anonymous", None, None, client.address, {})


def _opened_event(session: Session, state: SessionState) -> AuditEvent:
    detail: dict[str, str] = {"session_id": session.id, "state": state.value}
    if session.bypass_id is not None:
        detail["bypass_id"] = session.bypass_id
    if session.device_id is not None:
        detail["device_id"] = session.device_id
    user_id, at = session.user_id, session.authenticated_at
    return AuditEvent("session.opened", at, session.clinic_id, "user", user_id, user_id, session.address, detail)


def _invalid_credentials() -> ServiceError:
    return ServiceError(ErrorCode.INVALID_CREDENTIALS, "Clinic, e-mail address or password is not right.")
