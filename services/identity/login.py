"""Signing in with e-mail and password.

Unknown clinic, unknown user, wrong password, no password yet, disabled: one answer, after the same work (P13). A right
password opens a session that can do as much as policy and the user's factors say, and asks them anew every time:
without them there is no session, save for someone with a factor, who is asked for it whatever policy would say (P10).
"""

from services.common.audit import AuditEvent
from services.common.clock import Clock
from services.common.errors import ErrorCode, ServiceError
from services.identity.limits import PasswordAttempts
from services.identity.model import Client, SessionState, SignedIn
from services.identity.passwords import Passwords
from services.identity.sessions import SessionView, new_token, opened, standing_of, state_of
from services.identity.standing import Standings
from services.identity.store.sessions import SessionStore
from services.identity.store.users import Account, UserStore


class SignIn:
    def __init__(
        self,
        users: UserStore,
        sessions: SessionStore,
        standings: Standings,
        passwords: Passwords,
        attempts: PasswordAttempts,
        clock: Clock,
    ) -> None:
        self._users = users
        self._sessions = sessions
        self._standings = standings
        self._passwords = passwords
        self._attempts = attempts
        self._clock = clock

    async def sign_in(
        self, slug: str, email: str, password: str, client: Client, *, shared_device: bool = False
    ) -> SessionView:
        """A new session with its token. Raises `invalid-credentials`, `too-many-attempts` or `unavailable`."""
        account = await self._proven(slug, email, password, client)
        if account is None or account.password_hash is None:
            await self._sessions.note(self._refused(client))
            raise _invalid_credentials()
        user, clinic = account.user, account.clinic
        facts = await self._standings.facts(user, clinic, fresh=True)
        if facts.factors is None or (facts.decision is None and not facts.factors.factors):
            assert facts.away is not None
            raise facts.away
        now = self._clock.now()
        token = new_token()
        # A probe of what the session would be: it has proven nothing but the password.
        probe = opened(user, token, SessionState.ACTIVE, facts.decision, client, now, shared=shared_device)
        state = state_of(probe, facts.factors, facts.decision) or SessionState.SECOND_FACTOR_REQUIRED
        session = opened(user, token, state, facts.decision, client, now, shared=shared_device)
        event = AuditEvent(
            "session.opened",
            now,
            clinic.id,
            "user",
            user.id,
            user.id,
            client.address,
            {"session_id": session.id, "state": state.value},
        )
        if not await self._sessions.open(session, account.password_hash, event):
            raise _invalid_credentials()
        return SessionView(SignedIn(session, user, clinic), standing_of(state, facts.factors, facts.decision), token)

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
            await self._users.replace_hash(account.user.id, stored, dearer)
            return Account(account.user, account.clinic, dearer)

    def _refused(self, client: Client) -> AuditEvent:
        # Names nobody, whoever it was for: the row is the same, and so is the time it takes.
        return AuditEvent("session.refused", self._clock.now(), None, "anonymous", None, None, client.address, {})


def _invalid_credentials() -> ServiceError:
    return ServiceError(ErrorCode.INVALID_CREDENTIALS, "Clinic, e-mail address or password is not right.")
