"""Apps: machines of a clinic that call the API with a key of their own, each for what its scopes name and no more.

A key says which machine calls and nothing of any person: it carries no assurance level. It is shown once, and stops at
the next request after it is revoked.
"""

import secrets
import uuid
from collections.abc import Sequence
from dataclasses import replace

from services.common.audit import AuditEvent
from services.common.clock import Clock
from services.common.errors import ErrorCode, ServiceError
from services.identity.model import App, AppId, Clinic, Scope, SessionState
from services.identity.named import clinic_named
from services.identity.particulars import is_name
from services.identity.sessions import SessionView, digest_of
from services.identity.standing import Standings, unauthenticated
from services.identity.store.apps import AppStore, CallingApp
from services.identity.store.clinics import ClinicStore

_PREFIX = "csk_"
_KEY_BYTES = 32


def is_app_key(token: str) -> bool:
    """Whether this has the shape of an app's key; no session's token begins like it."""
    return token.startswith(_PREFIX)


class Apps:
    def __init__(self, store: AppStore, clinics: ClinicStore, standings: Standings, clock: Clock) -> None:
        self._store = store
        self._clinics = clinics
        self._standings = standings
        self._clock = clock

    async def calling(self, key: str) -> CallingApp:
        """Whose key this is. Raises `unauthenticated`."""
        found = await self._store.by_digest(digest_of(key))
        if found is None:
            raise unauthenticated()
        return found

    async def introspect(self, calling: CallingApp, token: str) -> SessionView | None:
        """The session behind a token; None for one that does not live or is another clinic's. Asking renews nothing."""
        try:
            signed_in = await self._standings.signed_in(token)
        except ServiceError as error:
            if error.code is not ErrorCode.UNAUTHENTICATED:
                raise
            return None
        if signed_in.clinic.id != calling.clinic.id:
            return None
        return SessionView(signed_in, await self._standings.stand(signed_in))

    async def create(self, slug: str, name: str, scopes: Sequence[Scope]) -> tuple[App, str]:
        """A new app of the clinic, and its key."""
        clinic = await self.clinic(slug)
        if not is_name(name):
            raise ServiceError(ErrorCode.INVALID_REQUEST, "The name has 1 to 100 characters, without line breaks.")
        if not scopes:
            raise ServiceError(ErrorCode.INVALID_REQUEST, f"Name one or more scopes: {', '.join(Scope)}.")
        app = App(
            id=AppId(f"app_{uuid.uuid4().hex}"),
            clinic_id=clinic.id,
            name=name,
            scopes=frozenset(scopes),
            created_at=self._clock.now(),
            revoked_at=None,
        )
        key = _PREFIX + secrets.token_urlsafe(_KEY_BYTES)
        if not await self._store.add(app, digest_of(key), self._event("app.created", app)):
            raise ServiceError(ErrorCode.CONFLICT, f"{slug} has an app {name!r} already. Revoke it first.")
        return app, key

    async def of_clinic(self, slug: str) -> list[App]:
        return await self._store.of_clinic((await self.clinic(slug)).id)

    async def revoke(self, slug: str, name: str) -> App:
        """Its key opens nothing from the next request on. What it has set stays; an operator can end its holds."""
        living = [app for app in await self.of_clinic(slug) if app.name == name and app.revoked_at is None]
        now = self._clock.now()
        if living and await self._store.revoke(living[0], now, self._event("app.revoked", living[0])):
            return replace(living[0], revoked_at=now)
        raise ServiceError(ErrorCode.NOT_FOUND, f"{slug} has no app {name!r}.")

    async def clinic(self, slug: str) -> Clinic:
        return await clinic_named(self._clinics, slug)

    def _event(self, kind: str, app: App) -> AuditEvent:
        detail = {"name": app.name, "scopes": sorted(app.scopes)}
        return AuditEvent(kind, self._clock.now(), app.clinic_id, "operator", None, app.id, detail=detail)


def is_active(view: SessionView) -> bool:
    """Whether a back end may serve this session's bearer."""
    return view.standing.state is SessionState.ACTIVE
