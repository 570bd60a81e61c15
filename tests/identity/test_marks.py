"""The marks by which what is remembered is known to hold: while a peer is away (P10), while one is of an older version,
when something here has changed, and for how long at most."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from countersign.otp.v1 import otp_pb2
from countersign.policy.v1 import policy_pb2
from psycopg.conninfo import conninfo_to_dict

from deploy.embedded import EmbeddedPostgres
from services.common.errors import ErrorCode, ServiceError
from services.identity import marks as marks_module
from services.identity import remembered as remembered_module
from services.identity.marks import Marks
from services.identity.model import ClinicId, UserId
from services.identity.peers import policy as policy_peer
from tests.identity.people import PHONE, Person, SomeClinic, Stack, slug_of
from tests.identity.test_remembered import AT_ONCE, Scene, Tally, cheap_backup_codes, scene_of

__all__ = ["cheap_backup_codes"]

WORK = "/v1/me/sessions"


@pytest.fixture
async def tally(person: Person) -> Tally:
    """Of the calls since the person, who has no factor, was remembered and a mark stood."""
    await person.sign_in()
    person.stack.clock.advance(AT_ONCE)
    assert (await person.call("GET", WORK)).status_code == 200
    person.stack.clock.advance(AT_ONCE)
    assert (await person.call("GET", WORK)).status_code == 200
    return Tally(person.stack.gateway)


async def test_p10_while_policy_is_away_what_is_remembered_serves_two_seconds_from_the_last_mark(
    person: Person, tally: Tally
) -> None:
    await person.stack.stop_policy()
    for _ in range(8):  # within two seconds of the mark
        assert (await person.call("GET", WORK)).status_code == 200
        person.stack.clock.advance(AT_ONCE / 8)
    assert tally.counts["epoch"] == 1, "one try to renew it, and not one a request"
    refused = await person.call("GET", WORK)
    assert (refused.status_code, slug_of(refused)) == (503, "unavailable")
    assert (await person.call("GET", "/v1/session")).json()["state"] == "second_factor_required"
    assert tally.counts["decide"] == 0, "whoever did not answer the cheap read is not asked for more"


async def test_p10_while_otp_is_away_the_same(person: Person, tally: Tally) -> None:
    await person.stack.stop_otp()
    for _ in range(4):
        assert (await person.call("GET", WORK)).status_code == 200
        person.stack.clock.advance(AT_ONCE / 4)
    refused = await person.call("GET", WORK)
    assert (refused.status_code, slug_of(refused)) == (503, "unavailable")
    assert (tally.counts["factors"], tally.counts["decide"]) == (0, 0)


@contextmanager
def hanging(policy: str, postgres: EmbeddedPostgres) -> Iterator[None]:
    """policy takes calls and answers none."""
    with postgres.connect(str(conninfo_to_dict(policy)["dbname"])) as holder:
        holder.autocommit = False
        holder.execute("LOCK TABLE clinic_rule IN ACCESS EXCLUSIVE MODE")
        try:
            yield
        finally:
            holder.rollback()


async def test_a_mark_is_renewed_while_it_serves_and_nobody_waits_for_it(
    person: Person,
    tally: Tally,
    identity_databases: dict[str, tuple[str, str]],
    postgres: EmbeddedPostgres,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(policy_peer, "_SECONDS", 1.0)
    person.stack.clock.advance(AT_ONCE * 0.75)
    with hanging(identity_databases["policy"][0], postgres):
        assert (await person.call("GET", WORK)).status_code == 200
        assert (await person.call("GET", WORK)).status_code == 200
        person.stack.clock.advance(AT_ONCE / 4)
        assert (await person.call("GET", WORK)).status_code == 503
    assert tally.counts["epoch"] == 1, "those who came too late shared the read that was on its way"
    assert (await person.call("GET", WORK)).status_code == 200


async def test_one_who_gives_up_waiting_does_not_give_up_for_the_others(person: Person, tally: Tally) -> None:
    marks, clinic_id = (
        Marks(person.stack.gateway.otp, person.stack.gateway.policy, person.stack.clock),
        person.clinic.id,
    )
    first, second = (asyncio.create_task(marks.of(ClinicId(clinic_id))) for _ in range(2))
    await asyncio.sleep(0)
    first.cancel()
    mark = await second
    assert (tally.counts["epoch"], mark.policy_epoch) == (1, 1)
    with pytest.raises(asyncio.CancelledError):
        await first


async def test_a_read_on_its_way_when_something_is_changed_here_serves_nobody_who_comes_later(
    person: Person, tally: Tally
) -> None:
    gateway, clinic_id = person.stack.gateway, ClinicId(person.clinic.id)
    marks = Marks(gateway.otp, gateway.policy, person.stack.clock)
    first = asyncio.create_task(marks.of(clinic_id))
    await asyncio.sleep(0)
    marks.forget(clinic_id)
    later = await marks.of(clinic_id)
    assert later is not await first
    assert (await marks.of(clinic_id), tally.counts["epoch"]) == (later, 2)


async def test_a_change_here_is_met_at_once_also_by_a_mark_that_is_on_its_way(clinic: SomeClinic) -> None:
    stack, person = clinic.stack, await clinic.person()
    await person.sign_in()
    stack.clock.advance(AT_ONCE)
    assert (await person.call("GET", WORK)).status_code == 200
    stack.clock.advance(AT_ONCE)
    tally = Tally(stack.gateway)
    tally.once("after", "epoch", clinic.require_here)
    await person.call("GET", WORK)  # of before or after: it was on its way
    tally.reset()
    assert await person.state() == "enrolment_required"
    assert tally.counts["epoch"] <= 1


async def test_a_change_here_while_someone_is_asked_about_is_not_overlaid_by_the_answer(clinic: SomeClinic) -> None:
    scene = await scene_of(clinic, with_factor=True)

    async def remove_here() -> None:
        await scene.remove_all()
        scene.there.gateway.standings.forget_user(UserId(scene.person.id))

    scene.tally.once("after", "factors", remove_here)
    await scene.look()
    assert (await scene.look())[0] == "active"


async def test_a_rule_changed_here_while_someone_is_decided_for_is_not_overlaid_by_the_decision(
    clinic: SomeClinic,
) -> None:
    person = await clinic.person()
    await person.sign_in()
    clinic.stack.clock.advance(AT_ONCE)
    tally = Tally(clinic.stack.gateway)
    tally.once("after", "decide", clinic.require_here)
    assert (await person.call("GET", WORK)).status_code == 200, "of before: it was on its way"
    refused = await person.call("GET", WORK)
    assert (refused.status_code, tally.counts["decide"]) == (403, 2)


async def test_what_the_gateway_knows_itself_is_never_older_than_the_request(person: Person, tally: Tally) -> None:
    stack = person.stack
    await person.clinic.require_here()
    refused = await person.call("GET", WORK)
    assert refused.json()["phone_required"] is True
    stack.sql("UPDATE app_user SET phone = %s WHERE id = %s", [stack.sealed(person.id, PHONE), person.id])
    assert (await person.call("GET", WORK)).json()["phone_required"] is False
    assert (await person.call("GET", WORK)).json()["methods"] == ["totp", "sms"]
    stack.notifier.can_send_sms = False
    for _ in range(20):  # what can be sent is looked at every thirty seconds
        stack.clock.advance(AT_ONCE)
        refused = await person.call("GET", WORK)
    assert refused.json()["methods"] == ["totp"]
    stack.sql("UPDATE clinic SET name = 'Quay Clinic' WHERE id = %s", [person.clinic.id])
    assert "Quay Clinic" in (await person.call("GET", WORK)).json()["reason"]["sentence"]


async def test_a_minute_ends_what_is_remembered_whatever_the_epochs_say(
    person: Person, tally: Tally, identity_databases: dict[str, tuple[str, str]], postgres: EmbeddedPostgres
) -> None:
    """A database that was restored from a backup may come to an epoch a second time, with other rules."""
    with postgres.connect(str(conninfo_to_dict(identity_databases["policy"][0])["dbname"])) as connection:
        connection.execute(
            "UPDATE clinic_rule SET require_two_factor = true, required_since = now() WHERE clinic_id = %s",
            [person.clinic.id],
        )
    for _ in range(29):
        assert await person.state() == "active"
        person.stack.clock.advance(AT_ONCE)
    assert tally.counts["decide"] == 0
    assert await person.state() == "enrolment_required"


async def test_a_clock_that_is_set_back_makes_nothing_young(person: Person, tally: Tally) -> None:
    await person.clinic.require()
    person.stack.clock.advance(-AT_ONCE * 1.5)
    assert await person.state() == "enrolment_required"


def as_of_an_older_version(stack: Stack, service: str, method: str = "") -> None:
    """The peer answers the method's call (of the epoch, else) as a version that does not have it."""
    peer: Any = getattr(stack.gateway, service)._peer
    epochs, response = {
        "otp": ("GetFactorsEpoch", otp_pb2.GetFactorsEpochResponse),
        "policy": ("GetEpoch", policy_pb2.GetEpochResponse),
    }[service]
    full_service = {"otp": "countersign.otp.v1.Otp", "policy": "countersign.policy.v1.Policy"}[service]
    unknown = peer._channel.unary_unary(
        f"/{full_service}/GetNothing",
        request_serializer=lambda request: request.SerializeToString(),
        response_deserializer=response.FromString,
    )
    setattr(peer.stub, method or epochs, unknown)


@pytest.mark.parametrize("service", ["otp", "policy"])
@pytest.mark.parametrize("change", ["rule", "removed"])
async def test_p09_before_a_peer_of_an_older_version_everything_is_asked_anew_every_two_seconds(
    clinic: SomeClinic, service: str, change: str
) -> None:
    scene: Scene = await scene_of(clinic, with_factor=change == "removed")
    await scene.look()
    as_of_an_older_version(scene.there, service)
    scene.tally.reset()
    for _ in range(8):
        scene.there.clock.advance(AT_ONCE / 2)
        await scene.look()
    assert scene.tally.counts["decide"] == 4
    await (scene.require() if change == "rule" else scene.remove_all())
    scene.there.clock.advance(AT_ONCE)
    assert (await scene.look())[0] == ("enrolment_required" if change == "rule" else "active")


async def test_a_clinic_that_policy_does_not_know_lets_nobody_through(person: Person, tally: Tally) -> None:
    stack = person.stack
    with pytest.raises(ServiceError) as refused:
        await Marks(stack.gateway.otp, stack.gateway.policy, stack.clock).of(ClinicId("cli_of_nobody"))
    assert refused.value.code is ErrorCode.NOT_FOUND
    stack.sql(
        "INSERT INTO clinic SELECT 'cli_lost', 'lost', name, timezone, country, locale, created_at FROM clinic LIMIT 1"
    )
    stack.sql("UPDATE app_user SET clinic_id = 'cli_lost' WHERE id = %s", [person.id])
    stack.sql("UPDATE session SET clinic_id = 'cli_lost' WHERE user_id = %s", [person.id])
    assert (await person.call("GET", WORK)).status_code == 503


async def test_what_is_remembered_is_bounded_and_the_oldest_goes_first(
    stack: Stack, clinic: SomeClinic, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(remembered_module, "_MOST_ENTRIES", 3)
    monkeypatch.setattr(marks_module, "_MOST_MARKS", 1)
    people = [await clinic.person() for _ in range(4)]
    other = await (await stack.make_clinic()).person()
    for person in (*people, other):
        await person.sign_in()
    there = await stack.another_app()
    tally = Tally(there.gateway)
    for person in (*people, *people[1:], people[0]):
        assert (await there.call("GET", WORK, token=person.token)).status_code == 200
    assert tally.counts["decide"] == 5, "the first of four had to be asked about again"
    assert (await there.call("GET", WORK, token=other.token)).status_code == 200
    assert len(there.gateway.standings._remembered._entries) == 3
    assert len(there.gateway.standings._marks._marks) == 1
