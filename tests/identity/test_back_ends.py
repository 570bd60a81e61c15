"""Sessions/Authenticate, what back ends ask over gRPC: the state machine of the HTTP API with the same refusals, for
callers whose certificate is on the list and nobody else (P21)."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from countersign.identity.v1 import sessions_pb2
from countersign.identity.v1.sessions_pb2_grpc import SessionsStub

from services.common.errors import ErrorCode, ServiceError
from services.common.rpc_client import Peer
from services.identity.model import Scope
from services.identity.serving import rpc_server
from tests.conftest import MakeCertificates
from tests.identity.people import Person, SomeClinic, Stack

Answer = sessions_pb2.AuthenticateResponse
Ask = Callable[..., Awaitable[Answer]]


@pytest.fixture
async def door(stack: Stack) -> AsyncIterator[Callable[..., Awaitable[str]]]:
    """Opens the gRPC door of a replica; answers its target."""
    async with AsyncExitStack() as opened:

        async def open_door(**changes: Any) -> str:
            replica = await stack.another_app(grpc_listen="127.0.0.1:0", **changes)
            server = rpc_server(replica.gateway)
            port = await server.start()
            opened.push_async_callback(server.stop, 0)
            return f"127.0.0.1:{port}"

        yield open_door


class BackEnd:
    """A back end with a certificate of its own."""

    def __init__(self, target: str, tls_dir: Path) -> None:
        self.peer = Peer(SessionsStub, target, "identity", tls_dir)

    async def ask(self, token: str, *, background: bool = False) -> Answer:
        request = sessions_pb2.AuthenticateRequest(token=token, background=background)
        return await self.peer.call(self.peer.stub.Authenticate, request, 10.0)

    async def refusal(self, token: str) -> ServiceError:
        with pytest.raises(ServiceError) as caught:
            await self.ask(token)
        return caught.value


@pytest.fixture
async def back_end(door: Callable[..., Awaitable[str]], certificates: MakeCertificates) -> AsyncIterator[BackEnd]:
    one = BackEnd(await door(), certificates("backend"))
    yield one
    await one.peer.close()


async def test_an_active_session_is_described(back_end: BackEnd, person: Person) -> None:
    opened = await person.sign_in()
    told = await back_end.ask(person.token)
    assert (told.user_id, told.clinic_id, told.clinic_slug) == (person.id, person.clinic.id, person.clinic.slug)
    assert (told.role, told.acr, told.session_id) == ("practitioner", "aal1", opened["id"])
    assert not told.HasField("verified_at")
    await person.enrol_totp()
    proven = await back_end.ask(person.token)
    session = (await person.call("GET", "/v1/session")).json()
    assert proven.acr == session["acr"] == "aal2"
    for name in ("authenticated_at", "verified_at", "expires_at"):
        assert getattr(proven, name).ToDatetime(UTC) == datetime.fromisoformat(session[name])


async def test_every_state_is_refused_as_over_http_with_the_same_members(
    back_end: BackEnd, stack: Stack, clinic: SomeClinic
) -> None:
    pending, enrolling, revoked, disabled, idle = [await clinic.person() for _ in range(5)]
    for one in (pending, revoked):
        await one.sign_in()
        await one.enrol_totp()
    await revoked.call("DELETE", "/v1/session")
    await idle.sign_in()
    stack.clock.advance(timedelta(minutes=31))
    await pending.sign_in()
    await disabled.sign_in()
    stack.sql("UPDATE app_user SET disabled_at = %s WHERE id = %s", [stack.clock.now(), disabled.id])
    await clinic.require_here(phone_required=False)
    await enrolling.sign_in()
    _, app_key = await stack.gateway.apps.create(clinic.slug, "ledger", list(Scope))
    assert (await back_end.refusal(app_key)).code is ErrorCode.UNAUTHENTICATED, "an app is nobody's session"
    tokens = [person.token for person in (pending, enrolling, revoked, disabled, idle)]
    met = set()
    for token in (*tokens, "nobody's", "", "x" * 4000):
        error = await back_end.refusal(token)
        by_http = (await stack.call("GET", "/v1/forward-auth", token=token)).json()
        assert by_http["type"] == f"urn:countersign:problem:{error.code.value}"
        assert by_http["detail"] == error.detail
        common = {"type", "title", "status", "detail", "request_id"}
        assert {name: by_http[name] for name in by_http.keys() - common} == error.members
        met.add((error.code, error.members.get("cause")))
    assert met == {
        (ErrorCode.SECOND_FACTOR_REQUIRED, None),
        (ErrorCode.ENROLMENT_REQUIRED, None),
        (ErrorCode.UNAUTHENTICATED, None),
        (ErrorCode.UNAUTHENTICATED, "ended"),
        (ErrorCode.UNAUTHENTICATED, "idle"),
    }


async def test_p09_the_switch_stops_a_session_here_within_two_seconds_too(
    back_end: BackEnd, clinic: SomeClinic
) -> None:
    unproven, proven = await clinic.person(), await clinic.person()
    await unproven.sign_in()
    await proven.sign_in()
    await proven.enrol_totp()
    assert (await back_end.ask(unproven.token)).user_id == unproven.id
    await clinic.require(phone_required=False)
    clinic.stack.clock.advance(timedelta(seconds=2))
    assert (await back_end.refusal(unproven.token)).code is ErrorCode.ENROLMENT_REQUIRED
    assert (await back_end.ask(proven.token)).acr == "aal2"


async def test_p10_with_policy_away_the_unproven_are_unavailable_and_the_proven_go_on(
    back_end: BackEnd, clinic: SomeClinic
) -> None:
    unproven, proven = await clinic.person(), await clinic.person()
    await unproven.sign_in()
    await proven.sign_in()
    await proven.enrol_totp()
    await clinic.stack.stop_policy()
    clinic.stack.clock.advance(timedelta(seconds=2))
    refused = await back_end.refusal(unproven.token)
    assert refused.code is ErrorCode.UNAVAILABLE
    assert (await back_end.ask(proven.token)).acr == "aal2"


async def test_asking_renews_the_idle_time_unless_nobody_is_there(back_end: BackEnd, person: Person) -> None:
    await person.sign_in()
    for _ in range(3):
        person.stack.clock.advance(timedelta(minutes=20))
        await back_end.ask(person.token)
    person.stack.clock.advance(timedelta(minutes=29))
    await back_end.ask(person.token, background=True)
    person.stack.clock.advance(timedelta(minutes=1))
    assert (await back_end.refusal(person.token)).members == {"cause": "idle"}


async def test_p21_only_the_names_of_the_settings_may_call(
    door: Callable[..., Awaitable[str]], certificates: MakeCertificates, person: Person
) -> None:
    await person.sign_in()
    by_default, named = await door(), await door(backends="letters, billing")
    for target, name, may in (
        (by_default, "backend", True),
        *((by_default, name, False) for name in ("identity", "otp", "policy", "notifier", "letters")),
        (named, "letters", True),
        (named, "billing", True),
        (named, "backend", False),
    ):
        caller = BackEnd(target, certificates(name))
        await caller.peer.ping(10.0)
        if may:
            assert (await caller.ask(person.token)).user_id == person.id
        else:
            assert (await caller.refusal(person.token)).code is ErrorCode.FORBIDDEN
        await caller.peer.close()
