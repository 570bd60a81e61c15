"""Proving, setting up and removing second factors, from the session's side. otp compares; this turns its verdict into
a session that has proven something, under a new token, exactly once."""

import asyncio
import uuid
from dataclasses import dataclass, replace
from typing import Any

from services.common.audit import AuditEvent
from services.common.clock import Clock
from services.common.errors import ErrorCode, ServiceError
from services.common.logs import get_logger
from services.identity.code_notices import CodeNotices
from services.identity.codes import canonical
from services.identity.factor_refusals import NAMES, check_allowed, no_number, no_such_factor, not_allowed
from services.identity.model import Client, Decision, EndCause, Method, Session, SessionState, SignedIn, UserFactors
from services.identity.notice_words import NoticeKind, codes_left, factor_set_up, of_own, phone_changed
from services.identity.otp_words import BackupCodes, SmsChallenge, SmsEnrolment, TotpEnrolment, VerdictResult
from services.identity.peers.otp import OtpCaller, OtpPeer
from services.identity.peers.policy_bypass import PolicyBypassPeer
from services.identity.peers.policy_settings import PolicySettingsPeer
from services.identity.remembering import new_device
from services.identity.sessions import ENROLMENT_WAIT, SessionView, Standing, digest_of, new_token, standing_of
from services.identity.standing import Standings, enrolment_required, over
from services.identity.store.rotation import Rotation
from services.identity.store.sessions import SessionStore
from services.identity.verdicts import refusal_for

_log = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Overview:
    """A user's second factors and what is asked of them."""

    factors: UserFactors
    decision: Decision


@dataclass(frozen=True, slots=True)
class Enrolled:
    """What confirming a factor gives."""

    overview: Overview
    backup_codes: BackupCodes | None
    view: SessionView


class TwoFactor:
    def __init__(
        self,
        sessions: SessionStore,
        standings: Standings,
        otp: OtpPeer,
        settings: PolicySettingsPeer,
        bypasses: PolicyBypassPeer,
        code_notices: CodeNotices,
        clock: Clock,
    ) -> None:
        self._sessions = sessions
        self._standings = standings
        self._otp = otp
        self._settings = settings
        self._bypasses = bypasses
        self._code_notices = code_notices
        self._clock = clock

    async def verify(
        self, signed_in: SignedIn, client: Client, method: Method, code: str, *, remember: bool = False
    ) -> SessionView:
        """Proves a second factor; also the step-up of an active session. `remember`: this browser, where the clinic
        allows it. Raises the refusal of a code that is not accepted."""
        session = signed_in.session
        typed = canonical(method, code)
        verdict, must_enrol = await asyncio.gather(
            self._otp.verify(uuid.uuid4().hex, session.login_id, caller_of(signed_in, client), method, typed),
            self._standings.must_enrol_after_proof(signed_in),
        )
        if verdict.result is VerdictResult.NO_SUCH_FACTOR:
            raise await no_such_factor(self._standings, self._otp, signed_in, method)
        if verdict.result is not VerdictResult.ACCEPTED:
            await self._code_notices.refused(signed_in, client, verdict)
            raise refusal_for(verdict, method)
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
            notices=codes_left(signed_in, client, now, verdict.factors) if method is Method.BACKUP_CODE else (),
        )
        kind = "session.proven" if session.verified_at is None else "session.stepped_up"
        about = {"device_id": device.id} if device else {}
        event = self._event(kind, signed_in, client, method=method.value, **about)
        rotated = await self._rotate(session, rotation, event)
        if rotated.ends_bypass:
            await self._end_bypass(session)
        self._standings.forget_user(session.user_id)
        now_in = replace(signed_in, session=rotated)
        if rotated.enrol_after_proof:
            return SessionView(now_in, await self._standings.view(now_in, fresh=True), token)
        return SessionView(now_in, standing_of(SessionState.ACTIVE, verdict.factors, None), token, device_token)

    async def _end_bypass(self, session: Session) -> None:
        """They got in another way. Where policy is away the next sign-in ends it, which lets nobody in by it."""
        try:
            await self._bypasses.end(session.clinic_id, session.user_id, "got_in")
        except ServiceError as error:
            _log.warning("bypass_not_ended", session_id=session.id, error=str(error.code))

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

    async def overview(self, signed_in: SignedIn) -> Overview:
        facts = await self._standings.facts(signed_in.user, signed_in.clinic, fresh=True)
        if facts.factors is None or facts.decision is None:
            assert facts.away is not None
            raise facts.away
        return Overview(facts.factors, facts.decision)

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
            raise ServiceError(ErrorCode.FORBIDDEN, "A proven number can only be changed after signing in in full.")
        caller, locale = caller_of(signed_in, client), locale_of(signed_in)
        terms = await self._standings.sms_terms.for_number(signed_in.clinic.id, number)
        return await self._otp.start_sms(uuid.uuid4().hex, caller, number, locale, terms, only_proof=False)

    async def confirm(
        self, signed_in: SignedIn, client: Client, method: Method, enrolment_id: str, code: str
    ) -> Enrolled:
        """Puts a factor in force with its first code, which counts as proven now. What it replaces ends, and with it
        the user's other sessions; where nothing is replaced those wait for a code from now on."""
        session = signed_in.session
        typed = canonical(method, code)
        is_bypass = session.bypass_id is not None and session.verified_at is None
        before = await self.overview(signed_in)
        check_allowed(before.decision, method)
        found = await self._otp.confirm(
            uuid.uuid4().hex,
            session.login_id,
            caller_of(signed_in, client),
            method,
            enrolment_id,
            typed,
            before.decision.methods_allowed,
            replace_all=is_bypass,
        )
        if found.verdict.result is VerdictResult.NO_SUCH_FACTOR:
            raise ServiceError(ErrorCode.NOT_FOUND, "There is nothing to confirm here.")
        if found.verdict.result is not VerdictResult.ACCEPTED:
            await self._code_notices.refused(signed_in, client, found.verdict)
            raise refusal_for(found.verdict, method)
        self._standings.forget_user(session.user_id)
        factors = found.verdict.factors or await self._otp.factors_of(session.user_id)
        left = {factor.method for factor in factors.factors}
        replaced = any(factor.method is method or factor.method not in left for factor in before.factors.factors)
        token, now = new_token(), self._clock.now()
        had = [factor.method for factor in before.factors.factors]
        told = factor_set_up(signed_in, client, now, method, had, left, session.bypass_id if is_bypass else None)
        rotation = Rotation(
            old_digest=session.token_digest,
            new_digest=digest_of(token),
            at=now,
            proven_by=method,
            idle_minutes=before.decision.idle_minutes,
            end_others=EndCause.ENDED if replaced or is_bypass else None,
            end_devices="factor_changed",
            has_enrolled=True,
            proven_phone=found.phone if method is Method.SMS else None,
            phone_changed=phone_changed(signed_in.user, now, client=client),
            seen_in=client,
            notices=told,
        )
        event = self._event("factor.enrolled", signed_in, client, method=method.value, replaced=replaced)
        rotated = await self._rotate(session, rotation, event)
        if before.decision.bypass is not None and not is_bypass:
            await self._end_bypass(session)
        user = replace(signed_in.user, phone=found.phone, phone_proven=True) if found.phone else signed_in.user
        now_in = replace(signed_in, session=rotated, user=user)
        decision = await self._decision_after(now_in, factors, before.decision)
        view = SessionView(now_in, standing_of(SessionState.ACTIVE, factors, decision), token)
        return Enrolled(Overview(factors, decision), found.backup_codes, view)

    async def remove(self, signed_in: SignedIn, client: Client, method: Method) -> None:
        """Removes a factor and ends the user's other sessions. Refused where it is the last and one is required."""
        session = signed_in.session
        before = await self.overview(signed_in)
        held = {factor.method for factor in before.factors.factors}
        if method not in held:
            raise ServiceError(ErrorCode.NOT_FOUND, f"You have not set up {NAMES[method]}.")
        if held == {method} and before.decision.is_two_factor_required:
            holds = await self._settings.holds(session.clinic_id)
            raise ServiceError(
                ErrorCode.REQUIRED_BY_POLICY,
                "A second factor is required of you, and this is the last one you have.",
                reason=before.decision.reason.as_json(),
                holders=[hold.name for hold in holds if hold.requires_two_factor],
            )
        left = await self._otp.remove_factor(caller_of(signed_in, client), method)
        self._standings.forget_user(session.user_id)
        event = self._event("factor.removed", signed_in, client, method=method.value)
        told = of_own(NoticeKind.FACTOR_REMOVED, signed_in, client, event.at, method=method.value)
        await self._sessions.factor_removed(session, event.at, was_last=not left.factors, event=event, notice=told)

    async def make_backup_codes(self, signed_in: SignedIn, client: Client) -> BackupCodes:
        """Ten new codes; the old ones are dead. otp keeps the audit event, in the transaction of the change."""
        codes = await self._otp.regenerate_backup_codes(caller_of(signed_in, client))
        await self._code_notices.codes_made(signed_in, client)
        self._standings.forget_user(signed_in.user.id)
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

    async def _rotate(self, session: Session, rotation: Rotation, event: AuditEvent) -> Session:
        rotated = await self._sessions.rotate(session, rotation, event)
        if rotated is None:
            await self._code_notices.add(rotation.notices)  # what otp has done stays done
            raise over(EndCause.REPLACED)
        return rotated

    async def _decision_after(self, signed_in: SignedIn, factors: UserFactors, before: Decision) -> Decision:
        """The decision with the new factor; the earlier one where policy has gone away since."""
        try:
            return await self._standings.decide(signed_in.user, signed_in.clinic, factors)
        except ServiceError:
            return before

    def _event(self, kind: str, signed_in: SignedIn, client: Client, **detail: Any) -> AuditEvent:
        user_id, now = signed_in.user.id, self._clock.now()
        detail["session_id"] = signed_in.session.id
        return AuditEvent(kind, now, signed_in.clinic.id, "user", user_id, user_id, client.address, detail)


def caller_of(signed_in: SignedIn, client: Client) -> OtpCaller:
    session = signed_in.session
    return OtpCaller(session.clinic_id, session.user_id, session.id, client.address)


def locale_of(signed_in: SignedIn) -> str:
    return signed_in.user.locale or signed_in.clinic.locale
