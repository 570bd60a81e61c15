"""Confirming a second factor with its first code: what otp puts in force becomes a session that has proven it, under a
new token, exactly once."""

from dataclasses import replace
from datetime import datetime

from services.common.clock import Clock
from services.common.errors import ErrorCode, ServiceError
from services.identity.aftermath import Aftermath
from services.identity.codes import canonical
from services.identity.factor_refusals import check_allowed
from services.identity.lost_replies import LostReplies, RequestKey, only_repeating
from services.identity.model import Client, Decision, Method, SessionState, SignedIn, UserFactors
from services.identity.notice_words import phone_changed
from services.identity.otp_words import VerdictResult
from services.identity.overviews import Enrolled, Overview, overview_of
from services.identity.peers.otp import OtpPeer
from services.identity.proofs import Proofs, attempt_id_of, caller_of, only_first
from services.identity.sessions import SessionView, Standing, digest_of, new_token, standing_of
from services.identity.standing import Standings
from services.identity.store.rotation import Rotation
from services.identity.verdicts import refusal_for


class Confirming:
    def __init__(
        self,
        standings: Standings,
        otp: OtpPeer,
        proofs: Proofs,
        aftermath: Aftermath,
        replies: LostReplies,
        clock: Clock,
    ) -> None:
        self._standings = standings
        self._otp = otp
        self._proofs = proofs
        self._aftermath = aftermath
        self._replies = replies
        self._clock = clock

    async def confirm(
        self,
        signed_in: SignedIn,
        client: Client,
        method: Method,
        enrolment_id: str,
        code: str,
        standing: Standing | None,
        *,
        key: RequestKey | None = None,
    ) -> Enrolled:
        """Puts a factor in force with its first code, which counts as proven now. What it replaces ends, and with it
        the user's other sessions; where nothing is replaced those wait for a code from now on. A session that waits
        for a code itself hears again what it has confirmed, and no more (A31). `standing`: None for a kept reply."""
        waits = standing is not None and standing.state is SessionState.SECOND_FACTOR_REQUIRED
        with only_repeating(standing if waits else None):
            typed = canonical(method, code)
            asked = ("confirm", method.value, enrolment_id, typed)
            if key is not None and key.is_kept:
                return await self._confirmed_again(signed_in, client, method, key, asked)
            async with self._replies.one_confirmation(signed_in.session) as claimed_at:
                return await self._confirm(signed_in, client, method, key, asked, claimed_at, only_repeat=waits)

    async def _confirm(
        self,
        signed_in: SignedIn,
        client: Client,
        method: Method,
        key: RequestKey | None,
        asked: tuple[str, ...],
        claimed_at: datetime,
        *,
        only_repeat: bool,
    ) -> Enrolled:
        session, (*_, enrolment_id, typed) = signed_in.session, asked
        is_bypass = session.bypass_id is not None and session.verified_at is None
        before = await overview_of(self._standings, signed_in)
        if not only_repeat:
            check_allowed(before.decision, method)
        found = await self._otp.confirm(
            attempt_id_of(key, session),
            session.login_id,
            caller_of(signed_in, client),
            method,
            enrolment_id,
            typed,
            () if only_repeat else before.decision.methods_allowed,
            replace_all=is_bypass,
            only_repeat=only_repeat,
            only_first=only_first(session),
        )
        if found.verdict.result is VerdictResult.NO_SUCH_FACTOR:
            raise ServiceError(ErrorCode.NOT_FOUND, "There is nothing to confirm here.")
        if found.verdict.result is not VerdictResult.ACCEPTED:
            if found.verdict.is_budget_newly_spent:
                await self._aftermath.follow_soon("otp", session.user_id)
            raise refusal_for(found.verdict, method)
        # It is in force: what it replaces ends, and people are told, whoever gets the new token.
        await self._aftermath.follow("otp", session.user_id)
        self._standings.forget_user(session.user_id)
        factors = found.verdict.factors or await self._otp.factors_of(session.user_id)
        token, now = new_token(), self._clock.now()
        rotation = Rotation(
            old_digest=session.token_digest,
            new_digest=digest_of(token),
            at=now,
            proven_by=method,
            idle_minutes=before.decision.idle_minutes,
            proven_phone=found.phone if method is Method.SMS else None,
            phone_changed=phone_changed(signed_in.user, now, client=client),
            seen_in=client,
            kept=self._replies.kept(key, asked),
            claimed_at=claimed_at,
        )
        kind = "session.proven" if session.verified_at is None else "session.stepped_up"
        event = self._proofs.event(kind, signed_in, client, method=method.value)
        rotated = await self._proofs.rotate(session, rotation, event)
        if before.decision.bypass is not None and not is_bypass:
            await self._proofs.end_bypass(session)
        user = replace(signed_in.user, phone=found.phone, phone_proven=True) if found.phone else signed_in.user
        now_in = replace(signed_in, session=rotated, user=user)
        decision = await self._decision_after(now_in, factors, before.decision)
        view = SessionView(now_in, standing_of(SessionState.ACTIVE, factors, decision), token)
        return Enrolled(Overview(factors, decision), found.backup_codes, view)

    async def _confirmed_again(
        self, signed_in: SignedIn, client: Client, method: Method, key: RequestKey, asked: tuple[str, ...]
    ) -> Enrolled:
        """The reply once more: fresh backup codes in place of the unseen, which nobody can be shown any more once the
        token is another."""
        again = await self._replies.again(signed_in, client, key, asked, confirms=True)
        now_in, (*_, enrolment_id, typed) = again.signed_in, asked
        attempt_id, caller = key.attempt_id(now_in.session.id), caller_of(now_in, client)
        found = await self._otp.confirm(
            attempt_id, again.earlier_login, caller, method, enrolment_id, typed, (), only_repeat=True
        )
        if found.verdict.result is not VerdictResult.ACCEPTED:
            raise refusal_for(found.verdict, method)
        self._standings.forget_user(now_in.user.id)
        overview = await overview_of(self._standings, now_in)
        view = standing_of(SessionState.ACTIVE, overview.factors, overview.decision)
        return Enrolled(overview, found.backup_codes, SessionView(now_in, view, again.token))

    async def _decision_after(self, signed_in: SignedIn, factors: UserFactors, before: Decision) -> Decision:
        """The decision with the new factor; the earlier one where policy has gone away since."""
        try:
            return await self._standings.decide(signed_in.user, signed_in.clinic, factors)
        except ServiceError:
            return before
