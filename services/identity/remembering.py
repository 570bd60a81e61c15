"""Remembered browsers (R10): recognised at sign-in, listed, forgotten.

A browser is remembered for the clinic's days and the strictest hold of the moment it is asked for, whatever held when
it was remembered, and ended where it is beyond them; a token that is not good is ignored, never refused. It stands for
the second factor at sign-in and never for a fresh proof.
"""

import asyncio
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta

from services.common.audit import AuditEvent
from services.common.clock import Clock
from services.common.errors import ErrorCode, ServiceError
from services.identity.model import Client, ClinicId, Decision, Device, DeviceId, SignedIn, User, UserId
from services.identity.peers.policy import PolicyPeer
from services.identity.peers.policy_settings import PolicySettingsPeer
from services.identity.policy_words import Actor
from services.identity.sessions import digest_of, new_token, remembered_until
from services.identity.standing import Facts, Standings
from services.identity.store.devices import BY_RULE, DeviceStore, NewDevice


@dataclass(frozen=True, slots=True)
class Recognised:
    """A remembered browser, and the token that it has from now on."""

    device: Device
    token: str


@dataclass(frozen=True, slots=True)
class OwnDevice:
    """A browser as its owner sees it."""

    device: Device
    expires_at: datetime


class Remembering:
    def __init__(self, devices: DeviceStore, standings: Standings, clock: Clock) -> None:
        self._devices = devices
        self._standings = standings
        self._clock = clock

    async def recognise(self, user: User, facts: Facts, token: str, client: Client) -> Recognised | None:
        """The browser with this token, where it may stand for a code now. Not where all the factors are suspended, or
        none is allowed any more: then there is something to do that a browser cannot stand for."""
        decision, factors = facts.decision, facts.factors
        if decision is None or factors is None or not factors.is_any_usable or decision.must_enrol_after_proof:
            return None
        now, fresh = self._clock.now(), new_token()
        reused = _event("device.reused", now, user.clinic_id, user.id, client)
        since = now - timedelta(minutes=decision.remember_device_minutes)
        beyond = _event("device.ended", now, user.clinic_id, user.id, client, cause=BY_RULE)
        device = await self._devices.use(
            user.id, digest_of(token), digest_of(fresh), since, now, client, reused, beyond
        )
        return Recognised(device, fresh) if device else None

    async def own(self, signed_in: SignedIn) -> list[OwnDevice]:
        """The user's browsers that would be recognised now, the last used first."""
        decision = await self._decision(signed_in)
        since = self._clock.now() - timedelta(minutes=decision.remember_device_minutes)
        found = await self._devices.of_user(signed_in.user.id, since)
        return [OwnDevice(device, remembered_until(device.remembered_at, decision)) for device in found]

    async def forget(self, signed_in: SignedIn, client: Client, device_id: DeviceId) -> None:
        """Ends the remembering of one of one's own browsers."""
        user = signed_in.user
        event = _event("device.ended", self._clock.now(), user.clinic_id, user.id, client, device_id=device_id)
        if not await self._devices.end(user.id, device_id, event, "user"):
            raise ServiceError(ErrorCode.NOT_FOUND, "There is no such browser.")

    async def forget_all_of(self, by: SignedIn, client: Client, user: User) -> None:
        """Ends the remembering of every browser of a person of the administrator's clinic."""
        event = _event("devices.ended", self._clock.now(), by.clinic.id, user.id, client, by=by.user.id)
        await self._devices.end_all(user.id, event, "administrator")

    async def purge(self) -> int:
        """Drops browsers that no clinic can be remembering any more; how many."""
        return await self._devices.purge(self._clock.now())

    async def _decision(self, signed_in: SignedIn) -> Decision:
        facts = await self._standings.facts(signed_in.user, signed_in.clinic, fresh=False)
        if facts.decision is None:
            assert facts.away is not None
            raise facts.away
        return facts.decision


class Forgetting:
    """Ends every remembered browser of a clinic that its days, or the strictest hold, allow no more: when either is
    changed, so that none comes back to life where they are loosened again."""

    def __init__(self, devices: DeviceStore, policy: PolicyPeer, settings: PolicySettingsPeer, clock: Clock) -> None:
        self._devices = devices
        self._policy = policy
        self._settings = settings
        self._clock = clock

    @asynccontextmanager
    async def around(self, clinic_id: ClinicId, by: Actor) -> AsyncIterator[None]:
        """Before the change and after it: what one that died half-way has left, the next one ends before it loosens."""
        await self._end_beyond(clinic_id, by)
        yield
        await self._end_beyond(clinic_id, by)

    async def _end_beyond(self, clinic_id: ClinicId, by: Actor) -> None:
        rule, holds = await asyncio.gather(self._policy.rule(clinic_id), self._settings.holds(clinic_id))
        caps = [
            timedelta(hours=hold.max_device_trust_hours) for hold in holds if hold.max_device_trust_hours is not None
        ]
        now = self._clock.now()
        since = now - min([timedelta(days=rule.remember_device_days), *caps])
        detail = {"cause": BY_RULE}
        event = AuditEvent("devices.ended", now, clinic_id, by.kind, by.id, None, by.address or None, detail)
        await self._devices.end_beyond(clinic_id, since, event)


def new_device(client: Client) -> tuple[NewDevice, str]:
    """A browser to be remembered, and its token, which is known only here and now."""
    token = new_token()
    return NewDevice(DeviceId(f"dev_{uuid.uuid4().hex}"), digest_of(token), client), token


def _event(
    kind: str,
    at: datetime,
    clinic_id: ClinicId,
    user_id: UserId,
    client: Client,
    *,
    by: UserId | None = None,
    **detail: str,
) -> AuditEvent:
    return AuditEvent(kind, at, clinic_id, "user", by or user_id, user_id, client.address, dict(detail))
