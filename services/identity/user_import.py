"""People who come from another system, with the password they have there. Whoever is there already stays as they are,
so that the same file can be imported again; a line that cannot be read keeps no other from being."""

from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from dataclasses import dataclass, replace

from services.common.audit import AuditEvent
from services.common.clock import Clock
from services.common.import_report import Outcome, Result
from services.identity import activations, user_lines
from services.identity.activations import Link
from services.identity.imported_hashes import ImportedHashes
from services.identity.model import ActivationKind, Clinic, User, email_key
from services.identity.named import clinic_named
from services.identity.store.clinics import ClinicStore
from services.identity.store.imports import ImportStore, Newcomer
from services.identity.user_lines import UnusableLine, UserLine
from services.identity.users import NewUser, new_user

BATCH = 500
"""As many as one transaction makes within a second or so."""

HandOver = Callable[[Sequence[tuple[User, Link]]], None]


@dataclass(frozen=True, slots=True)
class _Wanted:
    number: int
    line: UserLine


class UserImport:
    def __init__(
        self, store: ImportStore, clinics: ClinicStore, hashes: ImportedHashes, clock: Clock, public_url: str
    ) -> None:
        self._store = store
        self._clinics = clinics
        self._hashes = hashes
        self._clock = clock
        self._public_url = public_url

    async def clinic(self, slug: str) -> Clinic:
        return await clinic_named(self._clinics, slug)

    async def run(
        self,
        clinic: Clinic,
        lines: Iterable[tuple[int, str | None]],
        *,
        is_applied: bool,
        hand_over: HandOver | None = None,
    ) -> AsyncIterator[Result]:
        """What becomes of each line, batch by batch, once that is committed. `hand_over`: takes the invitations of
        those who come without a password, before they are committed; without it nobody is invited."""
        seen: dict[str, int] = {}
        batch: list[_Wanted | Result] = []
        for number, text in lines:
            try:
                batch.append(_Wanted(number, user_lines.read(text, clinic.country, self._hashes)))
            except UnusableLine as unusable:
                batch.append(Result(number, Outcome.REFUSED, reason=str(unusable)))
            if len(batch) == BATCH:
                for result in await self._batch(clinic, batch, seen, is_applied, hand_over):
                    yield result
                batch = []
        for result in await self._batch(clinic, batch, seen, is_applied, hand_over):
            yield result

    async def _batch(
        self,
        clinic: Clinic,
        batch: Sequence[_Wanted | Result],
        seen: dict[str, int],
        is_applied: bool,
        hand_over: HandOver | None,
    ) -> list[Result]:
        wanted = [one for one in batch if isinstance(one, _Wanted)]
        there = await self._store.ids(clinic.id, [one.line.email for one in wanted])
        links: dict[str, Link] = {}
        newcomers: dict[int, Newcomer] = {}
        twice: dict[int, str] = {}
        for one in wanted:
            key = email_key(one.line.email)
            if key not in there and key not in seen:
                newcomers[one.number] = self._newcomer(clinic, one.line, links if hand_over else None)
            if (first := seen.setdefault(key, one.number)) != one.number:
                twice[one.number] = f"twice in this file (line {first})"

        def before_commit(added: Sequence[Newcomer]) -> None:
            if hand_over is not None:
                hand_over([(one.user, links[one.user.id]) for one in added if one.user.id in links])

        if is_applied:
            made = await self._store.add(list(newcomers.values()), before_commit)
            newcomers = {number: one for number, one in newcomers.items() if one.user.id in made}
        good = Outcome.MADE if is_applied else Outcome.WOULD_BE_MADE
        return [
            one
            if isinstance(one, Result)
            else Result(
                one.number,
                good if one.number in newcomers else Outcome.THERE,
                one.line.email,
                twice.get(one.number, ""),
            )
            for one in batch
        ]

    def _newcomer(self, clinic: Clinic, line: UserLine, links: dict[str, Link] | None) -> Newcomer:
        """`links` takes the invitation of one without a password."""
        now = self._clock.now()
        user = replace(
            new_user(clinic.id, NewUser(line.email, line.name, line.role, line.phone), now), locale=line.locale
        )
        activation = None
        detail: dict[str, object] = {"role": user.role.value, "with_password": line.password_hash is not None}
        if links is not None and line.password_hash is None:
            activation, links[user.id] = activations.make(user, ActivationKind.INVITATION, None, now, self._public_url)
            detail["activation"] = activation.id
        event = AuditEvent("user.imported", now, clinic.id, "operator", None, user.id, None, detail)
        return Newcomer(user, line.password_hash, activation, event)
