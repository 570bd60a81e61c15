"""Authenticator apps that staff have from another system, so that nobody has to set one up anew. Whoever has one here
already keeps it: an import adds, and replaces nothing; the same file can be imported again."""

import secrets
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from hmac import compare_digest

from services.common.audit import AuditEvent
from services.common.clock import Clock
from services.common.import_report import Outcome, Result
from services.otp import totp
from services.otp.identity_peer import IdentityPeer
from services.otp.model import Account, ClinicId, Method, TotpFactor, UserId
from services.otp.secret_formats import Entry, Read, UnusableEntry
from services.otp.store.imports import ImportStore, NewFactor
from services.otp.vault import Vault, totp_secret_context

BATCH = 250
"""As many as are held at once: whoever signs in meanwhile waits for well under a second."""


@dataclass(frozen=True, slots=True)
class _Wanted:
    number: int
    email: str
    secret: str
    """As it is sealed."""
    algorithm: totp.Algorithm


class SecretImport:
    def __init__(self, store: ImportStore, identity: IdentityPeer, vault: Vault, clock: Clock) -> None:
        self._store = store
        self._identity = identity
        self._vault = vault
        self._clock = clock

    async def run(
        self, clinic_slug: str, entries: Iterable[Read], *, is_applied: bool, domain: str = ""
    ) -> AsyncIterator[Result]:
        """What becomes of each entry, batch by batch, once that is committed. `domain`: makes an e-mail address of a
        name without one."""
        seen: dict[UserId, str] = {}
        batch: list[_Wanted | Result] = []
        await self._identity.find(clinic_slug, [])  # whether there is such a clinic
        for number, entry in entries:
            batch.append(_wanted(number, entry, domain))
            if len(batch) == BATCH:
                for result in await self._batch(clinic_slug, batch, seen, is_applied):
                    yield result
                batch = []
        for result in await self._batch(clinic_slug, batch, seen, is_applied):
            yield result

    async def _batch(
        self, clinic_slug: str, batch: Sequence[_Wanted | Result], seen: dict[UserId, str], is_applied: bool
    ) -> list[Result]:
        wanted = [one for one in batch if isinstance(one, _Wanted)]
        clinic_id, found = await self._identity.find(clinic_slug, [one.email for one in wanted])
        users = {one.number: UserId(user_id) for one, user_id in zip(wanted, found, strict=True) if user_id}
        user_ids = list(users.values())
        if not is_applied:
            results, _ = self._judged(batch, users, await self._store.read(user_ids), seen)
            return results
        async with self._store.hold(ClinicId(clinic_id), user_ids) as held:
            results, chosen = self._judged(batch, users, held.accounts, seen)
            now = self._clock.now()
            await held.add([self._factor(ClinicId(clinic_id), user_id, one, now) for user_id, one in chosen])
        return [
            Result(one.line, Outcome.MADE, one.email) if one.outcome is Outcome.WOULD_BE_MADE else one
            for one in results
        ]

    def _judged(
        self,
        batch: Sequence[_Wanted | Result],
        users: Mapping[int, UserId],
        accounts: Mapping[UserId, Account],
        seen: dict[UserId, str],
    ) -> tuple[list[Result], list[tuple[UserId, _Wanted]]]:
        """What becomes of each, and those that are to be made. `seen`: what earlier lines gave to whom."""
        results: list[Result] = []
        chosen: list[tuple[UserId, _Wanted]] = []
        for one in batch:
            if isinstance(one, Result):
                results.append(one)
                continue
            user_id = users.get(one.number)
            if user_id is None:
                reason = "Nobody in this clinic has this e-mail address. Import the people first."
                results.append(Result(one.number, Outcome.REFUSED, one.email, reason))
                continue
            outcome, reason = self._judge(one, accounts.get(user_id), seen.get(user_id))
            if outcome is Outcome.WOULD_BE_MADE:
                seen[user_id] = one.secret
                chosen.append((user_id, one))
            results.append(Result(one.number, outcome, one.email, reason))
        return results, chosen

    def _judge(self, one: _Wanted, account: Account | None, seen: str | None) -> tuple[Outcome, str]:
        factor = account.totp if account else None
        if account is not None and factor is not None:
            seen = self._vault.open(factor.secret, totp_secret_context(factor.id, account.user_id))
        if seen is not None:
            if compare_digest(seen, one.secret):
                return Outcome.THERE, ""
            return Outcome.REFUSED, "They have another authenticator app already. An import replaces none."
        if account is not None and account.is_suspended:
            return (
                Outcome.REFUSED,
                "Their second factors are suspended. An administrator's bypass lets them begin anew.",
            )
        return Outcome.WOULD_BE_MADE, ""

    def _factor(self, clinic_id: ClinicId, user_id: UserId, one: _Wanted, now: datetime) -> NewFactor:
        factor_id = f"imp_{secrets.token_hex(16)}"
        sealed = self._vault.seal(one.secret, totp_secret_context(factor_id, user_id))
        # A code that the other system has just taken is no good here.
        factor = TotpFactor(factor_id, sealed, now, None, totp.step_at(now))
        detail = {"method": Method.TOTP.value, "algorithm": one.algorithm.value}
        event = AuditEvent("factor.imported", now, clinic_id, "operator", None, user_id, None, detail)
        return NewFactor(user_id, factor, event)


def _wanted(number: int, entry: Entry | UnusableEntry, domain: str) -> _Wanted | Result:
    if isinstance(entry, UnusableEntry):
        return Result(number, Outcome.REFUSED, reason=str(entry))
    email = entry.owner if "@" in entry.owner or not domain else f"{entry.owner}@{domain}"
    if "@" not in email or len(email) > 254 or not email.isprintable():
        reason = "It names no e-mail address. Give --domain, if one belongs to every name."
        return Result(number, Outcome.REFUSED, reason=reason)
    return _Wanted(number, email, totp.kept(entry.secret, entry.algorithm), entry.algorithm)
