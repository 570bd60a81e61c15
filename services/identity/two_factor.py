"""Proving, beginning to set up and removing second factors, from the session's side. otp compares; this turns its
verdict into a session that has proven something, under a new token, exactly once."""

import asyncio
import uuid
from dataclasses import replace

from services.common.clock import Clock
from services.common.errors import ErrorCode, ServiceError
from services.common.logs import get_logger
from services.identity.aftermath import Aftermath
from services.identity.codes import canonical
from services.identity.factor_refusals import NAMES, check_allowed, no_number, no_such_factor, not_allowed
from services.identity.lost_replies import LostReplies, RequestKey
from services.identity.model import Client, Method, SessionState, SignedIn, UserFactors
from services.identity.notice_words import LOW_CODES
from services.identity.otp_words import BackupCodes, SmsChallenge, SmsEnrolment, TotpEnrolment, VerdictResult
from services.identity.overviews import Overview, overview_of
from services.identity.peers.otp import OtpPeer
from services.identity.peers.policy_settings import PolicySettingsPeer
from services.identity.proofs import Proofs, attempt_id_of, caller_of, locale_of
from services.identity.remembering import new_device
from services.identity.sessions import ENROLMENT_WAIT, SessionView, Standing, digest_of, new_token, standing_of
from services.identity.standing import Standings, enrolment_required
from services.identity.store.rotation import Rotation
from services.identity.store.sessions import SessionStore
from services.identity.verdicts import refusal_for

_log = get_logger(__name__)


class TwoFactor:
    def __init__(
        self,
        sessions: SessionStore,
        standings: Standings,
        otp: OtpPeer,
        settings: PolicySettingsPeer,
        proofs: Proofs,
        aftermath: Aftermath,
        replies: LostReplies,
        clock: Clock,
    ) -> None:
        self._sessions = sessions
        self._standings = standings
        self._otp = otp
        self._settings = settings
        self._proofs = proofs
        self._aftermath = aftermath
        self._replies = replies
        self._clock = clock

    async def verify(
        self,
        signed_in: SignedIn,
        client: Client,
        method: Method,
        code: str,
        *,
        remember: bool = False,
        key: RequestKey | None = None,
    ) -> SessionView:
        """Proves a second factor; also the step-up of an active session. `remember`: this browser, where the clinic
        allows it. Raises the refusal of a code that is not accepted."""
        session = signed_in.session
        typed = canonical(method, code)
        asked = ("second-factor", method.value, typed, str(remember))
        if key is not None and key.is_kept:
            return await self._proven_again(signed_in, client, key, asked)
        verdict, must_enrol = await asyncio.gather(
            self._otp.verify(
                attempt_id_of(key, session), session.login_id, caller_of(signed_in, client), method, typed
            ),
            self._standings.must_enrol_after_proof(signed_in),
        )
        if verdict.result is VerdictResult.NO_SUCH_FACTOR:
            raise await no_such_factor(self._standings, self._otp, signed_in, method)
        if verdict.result is not VerdictResult.ACCEPTED:
            if verdict.is_budget_newly_spent:
                await self._aftermath.follow_soon("otp", session.user_id)
            raise refusal_for(verdict, method)
        if method is Method.BACKUP_CODE and _are_few(verdict.factors):
            await self._aftermath.follow_soon("otp", session.user_id)
        now = self._clock.now()
        waiting_until = session.authenticated_at + ENROLMENT_WAIT if session.waiting_until else None
        token = new_token()
        device = device_token = None
        if remember and not must_enrol and await self._may_remember(signed_in, method):
            device, device_token = new_device(client)
        rotation = Rotation(
            old_digest=session.token_digest,
            new_digest=digest_of(token),
            at=now,
            proven_by=method,
            enrol_after_proof=must_enrol,
            waiting_until=waiting_until if must_enrol else None,
            remembered=device,
            seen_in=client if session.verified_at is None and not must_enrol else None,
            kept=self._replies.kept(key, asked, device.id if device else None),
        )
        kind = "session.proven" if session.verified_at is None else "session.stepped_up"
        about = {"device_id": device.id} if device else {}
        event = self._proofs.event(kind, signed_in, client, method=method.value, **about)
        rotated = await self._proofs.rotate(session, rotation, event)
        if rotated.ends_bypass:
            await self._proofs.end_bypass(session)
        self._standings.forget_user(session.user_id)
        now_in = replace(signed_in, session=rotated)
        if rotated.enrol_after_proof:
            return SessionView(now_in, await self._standings.view(now_in, fresh=True), token)
        return SessionView(now_in, standing_of(SessionState.ACTIVE, verdict.factors, None), token, device_token)

    async def _proven_again(
        self, signed_in: SignedIn, client: Client, key: RequestKey, asked: tuple[str, ...]
    ) -> SessionView:
        """The reply once more: the session as it is, under a fresh token."""
        again = await self._replies.again(signed_in, client, key, asked)
        now_in = again.signed_in
        if now_in.session.enrol_after_proof:
            return SessionView(now_in, await self._standings.view(now_in, fresh=True), again.token, again.device_token)
        factors = await self._otp.factors_of(now_in.user.id)
        return SessionView(now_in, standing_of(SessionState.ACTIVE, factors, None), again.token, again.device_token)

    async def send_sms(self, signed_in: SignedIn, client: Client) -> SmsChallenge:
        """Sends a sign-in or step-up code to the user's SMS factor."""
        try:
            caller, locale = caller_of(signed_in, client), locale_of(signed_in)
            terms = await self._standings.sms_terms.of(signed_in.clinic.id)
            return await self._otp.send_sms_code(uuid.uuid4().hex, signed_in.session.login_id, caller, locale, terms)
        except ServiceError as error:
            if error.code is not ErrorCode.NOT_FOUND:
                raise
            raise await no_such_factor(self._standings, self._otp, signed_in, Method.SMS) from error

    async def sms(self, signed_in: SignedIn) -> SmsChallenge:
        """How the newest code of this login fares."""
        return await self._otp.sms_challenge(signed_in.session.login_id, signed_in.user.id)

    async def sms_enrolment(self, signed_in: SignedIn, enrolment_id: str) -> SmsChallenge:
        """How the code fares that a number is being proven with; to otp the enrolment is the login of its code."""
        if not enrolment_id.startswith("enr_"):
            raise ServiceError(ErrorCode.NOT_FOUND, "There is no such set-up.")
        return await self._otp.sms_challenge(enrolment_id, signed_in.user.id)

    async def overview(self, signed_in: SignedIn) -> Overview:
        return await overview_of(self._standings, signed_in)

    async def start_totp(self, signed_in: SignedIn, standing: Standing, client: Client) -> TotpEnrolment:
        """Begins to set up an authenticator app. The label tells clinics apart (R1); ':' would end the issuer."""
        await self._check_may_enrol(signed_in, standing, Method.TOTP)
        label = f"{signed_in.clinic.name} {signed_in.user.email}".replace(":", " ")
        return await self._otp.start_totp(caller_of(signed_in, client), label)

    async def totp_enrolment(self, signed_in: SignedIn, enrolment_id: str) -> TotpEnrolment:
        """An enrolment that is neither confirmed nor expired, for drawing its QR code."""
        return await self._otp.totp_enrolment(signed_in.user.id, signed_in.session.id, enrolment_id)

    async def start_sms(
        self, signed_in: SignedIn, standing: Standing, client: Client, phone: str | None
    ) -> SmsEnrolment:
        """Sends a code to the number that is to become a factor: the one given, else the one on file."""
        await self._check_may_enrol(signed_in, standing, Method.SMS)
        user = signed_in.user
        number = phone or user.phone
        if number is None:
            raise no_number()
        if standing.state is not SessionState.ACTIVE and user.phone_proven and number != user.phone:
            raise ServiceError(
                ErrorCode.FORBIDDEN, "A confirmed number can only be changed after signing in with a code."
            )
        caller, locale = caller_of(signed_in, client), locale_of(signed_in)
        terms = await self._standings.sms_terms.for_number(signed_in.clinic.id, number)
        return await self._otp.start_sms(uuid.uuid4().hex, caller, number, locale, terms, only_proof=False)

    async def remove(self, signed_in: SignedIn, client: Client, method: Method) -> None:
        """Removes a factor and ends the user's other sessions. Refused where it is the last and one is required.
        Whoever has not heard that it is removed may ask again: what follows of it is done by then."""
        session = signed_in.session
        before = await self.overview(signed_in)
        held = {factor.method for factor in before.factors.factors}
        if method not in held:
            if await self._aftermath.has_removed(session, method):
                return
            raise ServiceError(ErrorCode.NOT_FOUND, f"You have not set up {NAMES[method]}.")
        if held == {method} and before.decision.is_two_factor_required:
            holds = await self._settings.holds(session.clinic_id)
            raise ServiceError(
                ErrorCode.REQUIRED_BY_POLICY,
                "You need a way to get codes, and this is the only one you have.",
                reason=before.decision.reason.as_json(),
                holders=[hold.name for hold in holds if hold.requires_two_factor],
            )
        await self._otp.remove_factor(caller_of(signed_in, client), method)
        await self._aftermath.follow("otp", session.user_id)

    async def make_backup_codes(self, signed_in: SignedIn, client: Client) -> BackupCodes:
        """Ten new codes; the old ones are dead. otp keeps the audit event, in the transaction of the change."""
        codes = await self._otp.regenerate_backup_codes(caller_of(signed_in, client))
        await self._aftermath.follow_soon("otp", signed_in.user.id)
        return codes

    async def _check_may_enrol(self, signed_in: SignedIn, standing: Standing, method: Method) -> None:
        offer = standing.enrolment
        if offer is None:
            check_allowed((await self.overview(signed_in)).decision, method)
            return
        if offer.is_phone_required:
            raise enrolment_required(standing)
        if method not in offer.methods:
            raise not_allowed(method)

    async def _may_remember(self, signed_in: SignedIn, method: Method) -> bool:
        """A backup code shows that the phone is not there: no time to trust a browser. Policy away: no."""
        session = signed_in.session
        if method is Method.BACKUP_CODE or session.shared_device:
            return False
        facts = await self._standings.facts(signed_in.user, signed_in.clinic, fresh=True)
        return facts.decision is not None and facts.decision.remember_device_minutes > 0


def _are_few(factors: UserFactors | None) -> bool:
    """Whether the codes that are left are so few that their owner is told."""
    return factors is None or factors.backup_codes_remaining <= LOW_CODES
