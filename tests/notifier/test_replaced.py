"""A code that a newer one has replaced is not sent any more: it would come after the newer one, and be wrong."""

from datetime import timedelta

import pytest

from services.common.errors import ErrorCode, ServiceError
from services.notifier.model import Delivery, State, Terms
from tests.notifier.conftest import MakeNotifier, Standin, eventually
from tests.notifier.house import House


async def how(house: House, delivery: Delivery) -> tuple[State, str | None]:
    found = await house.store.find(delivery.id)
    assert found
    return found.state, found.reason


def test_of_two_codes_asked_for_while_no_worker_runs_only_the_newer_is_sent(
    make_notifier: MakeNotifier, standin: Standin, number: str
) -> None:
    notifier = make_notifier()
    otp = notifier.run()
    notifier.children["worker"].kill()
    older = otp.submit(number, code="111111", request_key="chl_older")
    eventually(lambda: notifier.row(older.delivery_id)["published_at"])  # its id waits in the queue
    newer = otp.submit(number, code="222222", request_key="chl_newer", replaces=["chl_older"])
    told = otp.get(older.delivery_id)
    assert (told.status, told.detail) == (
        "expired",
        "A newer code has taken the place of this one, which was not sent.",
    )
    notifier.start("worker")
    eventually(lambda: otp.status(newer.delivery_id) == "sent")
    last = otp.submit(number, code="333333", request_key="chl_last", replaces=["chl_older", "chl_newer"])
    eventually(lambda: otp.status(last.delivery_id) == "sent")
    assert [message["body"][:6] for message in standin.inbox(number)] == ["333333", "222222"]
    assert len(standin.calls(number)) == 2
    assert otp.status(newer.delivery_id) == "sent", "what has left cannot be called back"
    row = notifier.row(older.delivery_id)
    assert (row["state"], row["reason"], row["attempt"], row["sealed"]) == ("expired", "replaced", 0, None)
    events = notifier.rows(
        "SELECT kind FROM audit_event WHERE detail->>'delivery_id' = %s ORDER BY seq", older.delivery_id
    )
    assert [event["kind"] for event in events] == ["delivery.queued", "delivery.expired"]
    assert otp.submit(number, request_key="chl_older").delivery_id == older.delivery_id
    notifier.stop()


async def test_one_that_is_being_sent_is_not_tried_another_time(house: House, standin: Standin, number: str) -> None:
    standin.fail("429", number)
    older = await house.submit(number, request_key="chl_older")
    now = house.clock.now()
    claim = await house.store.claim(older.id, now, now)
    assert claim
    newer = await house.submit(number, request_key="chl_newer", replaces=("chl_older",))
    assert await how(house, older) == (State.SENDING, None)
    assert await house.store.put_back(claim.delivery, "rate_limited", now, now)
    assert await how(house, older) == (State.EXPIRED, "replaced")
    assert await how(house, newer) == (State.QUEUED, None)


async def test_one_that_is_being_sent_and_arrives_is_sent(house: House, standin: Standin, number: str) -> None:
    older = await house.submit(number, request_key="chl_older")
    dispatch = house.dispatch()
    provider = house.provider

    async def replaced_meanwhile() -> object:
        await house.submit(number, request_key="chl_newer", replaces=("chl_older",))
        return provider

    dispatch._find_provider = replaced_meanwhile  # type: ignore[assignment]
    await dispatch.send(older.id)
    assert await how(house, older) == (State.SENT, None)
    assert len(standin.calls(number)) == 1


async def test_one_that_waits_for_another_try_is_not_tried_any_more(
    house: House, standin: Standin, number: str
) -> None:
    standin.fail("429", number)
    older = await house.submit(number, request_key="chl_older")
    await house.dispatch().send(older.id)
    assert await how(house, older) == (State.QUEUED, "rate_limited")
    await house.submit(number, request_key="chl_newer", replaces=("chl_older",))
    assert await how(house, older) == (State.EXPIRED, "replaced")
    house.clock.advance(timedelta(seconds=30))
    await house.dispatch().send(older.id)
    assert len(standin.calls(number)) == 1


async def test_none_but_the_persons_own_codes_are_called_back(house: House, number: str) -> None:
    theirs = await house.submit(number, request_key="chl_theirs", user_id="usr_other")
    mine = await house.submit(number, request_key="chl_mine")
    [notice] = await house.notify(number, request_key="ntc_mine")
    await house.submit(number, replaces=("chl_theirs", "ntc_mine:sms", "chl_nobodys"))
    for untouched in (theirs, mine, notice):
        assert await how(house, untouched) == (State.QUEUED, None)


async def test_the_older_is_dead_also_where_the_newer_is_not_to_be_paid(house: House, number: str) -> None:
    older = await house.submit(number, request_key="chl_older")
    with pytest.raises(ServiceError) as refused:
        await house.submit(number, replaces=("chl_older",), terms=Terms(daily_cap=0, countries=("GB",)))
    assert refused.value.code is ErrorCode.TOO_MANY_ATTEMPTS
    assert await how(house, older) == (State.EXPIRED, "replaced")


async def test_a_code_does_not_replace_itself(house: House, number: str) -> None:
    with pytest.raises(ServiceError, match="earlier codes"):
        await house.submit(number, request_key="chl_same", replaces=("chl_same",))
