"""All that the routes call, built once at the start and handed to the app."""

from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

from services.common.clock import Clock
from services.common.errors import ServiceError
from services.common.keyring_in_use import KeyringInUse
from services.common.postgres import Database
from services.identity.accounts import Accounts
from services.identity.activations import Activations
from services.identity.addresses import client_of
from services.identity.adoption import Adoption
from services.identity.aftermath import Aftermath
from services.identity.apps import Apps
from services.identity.audit_events import AuditEvents
from services.identity.bypasses import Bypasses
from services.identity.clinic import ClinicOperations
from services.identity.confirming import Confirming
from services.identity.cookies import Cookies
from services.identity.explaining import Explaining
from services.identity.integrations import Integrations
from services.identity.login import SignIn
from services.identity.lost_replies import LostReplies
from services.identity.model import Client
from services.identity.notices import Notices
from services.identity.operator_bypass import OperatorBypass
from services.identity.operator_lookup import OperatorLookup
from services.identity.peers.notifier import NotifierPeer
from services.identity.peers.otp import OtpPeer
from services.identity.peers.policy import PolicyPeer
from services.identity.preview import Previews
from services.identity.readiness import ReadinessProbe
from services.identity.remembering import Remembering
from services.identity.requirements import Requirements
from services.identity.settings import IdentitySettings
from services.identity.standing import Standings
from services.identity.store.notices import NoticeStore
from services.identity.store.numbers import PhoneNumbers
from services.identity.store.sessions import SessionStore
from services.identity.trail_names import TrailNames
from services.identity.two_factor import TwoFactor
from services.identity.users import Users


@dataclass(frozen=True, slots=True)
class Gateway:
    """The operations, and what the edge itself needs."""

    settings: IdentitySettings
    clock: Clock
    database: Database
    otp: OtpPeer
    policy: PolicyPeer
    notifier: NotifierPeer
    session_store: SessionStore
    standings: Standings
    cookies: Cookies
    login: SignIn
    lost_replies: LostReplies
    aftermath: Aftermath
    accounts: Accounts
    two_factor: TwoFactor
    confirming: Confirming
    clinics: ClinicOperations
    users: Users
    activations: Activations
    adoption: Adoption
    apps: Apps
    audit_events: AuditEvents
    trail_names: TrailNames
    bypasses: Bypasses
    explaining: Explaining
    integrations: Integrations
    notices: Notices
    notice_store: NoticeStore
    phone_numbers: PhoneNumbers
    keyring: KeyringInUse
    operator_bypass: OperatorBypass
    operator_lookup: OperatorLookup
    previews: Previews
    remembering: Remembering
    requirements: Requirements
    readiness: ReadinessProbe
    close_others: Callable[[], Awaitable[None]]
    """Closes what only the wiring knows of: the limits' store, the threads of the password hash."""

    def client_of(self, scope: Mapping[str, Any]) -> Client:
        client = client_of(scope, self.settings.proxies)
        browser = self.cookies.browser_in(scope["headers"])
        return replace(client, browser=browser) if browser else client

    async def open(self) -> None:
        await self.database.open()
        with suppress(ServiceError):  # then it is not ready, and its readiness asks again
            await self.keyring.ensure_ready()

    async def close(self) -> None:
        for peer in (self.otp, self.policy, self.notifier):
            await peer.close()
        await self.close_others()
        await self.database.close()
