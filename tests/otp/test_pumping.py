"""Somebody with many accounts has texts sent for their own profit: the caps of the day hold, whatever becomes of the
limits' store. The notifier's own gate stands behind the service here, with its real database."""

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, cast

import pytest
import redis as redis_client
from countersign.otp.v1 import otp_pb2

from services.common.errors import ServiceError
from services.common.postgres import Database
from services.common.sealing import Keyring
from services.notifier.callbacks import Callbacks
from services.notifier.delivery import Deliveries
from services.notifier.notices import Notices
from services.notifier.provider_health import ProviderHealth
from services.notifier.servicer import NotifierServicer
from services.notifier.spending import Spending
from services.notifier.store import DeliveryStore
from tests.conftest import MakeDatabase
from tests.otp.conftest import Otp, fresh

CLINIC_CAP, DEPLOYMENT_CAP = 60, 100


@pytest.fixture
async def gate(otp: Otp, database: MakeDatabase, keyring_file: Path) -> AsyncIterator[Database]:
    """The notifier's database; what otp hands over must pass the notifier's own front first."""
    opened = Database(*database("notifier"), 8)
    await opened.open()

    async def is_there() -> bool:
        return True

    store, keyring = DeliveryStore(opened), Keyring.load(keyring_file)
    health = ProviderHealth(store.texts_since, otp.clock)
    deliveries = Deliveries(store, keyring, is_there, Spending(DEPLOYMENT_CAP, "Countersign"), health, otp.clock)
    front = NotifierServicer(deliveries, cast(Notices, None), cast(Callbacks, None))
    otp.notifier.counts = lambda request: front.Submit(request, None)
    yield opened
    otp.notifier.counts = None
    await opened.close()


async def count(database: Database, query: str) -> int:
    async with database.connection() as connection:
        row = await (await connection.execute(query)).fetchone()  # type: ignore[call-overload]
    return int(row["n"])


@pytest.mark.parametrize("requests", [400, pytest.param(10_000, marks=pytest.mark.full)])
async def test_p17_a50_pumping_passes_no_cap_though_the_limits_are_flushed_in_the_middle(
    otp: Otp, gate: Database, clean_redis: redis_client.Redis, requests: int
) -> None:
    line = iter(range(requests))
    met: Counter[str] = Counter()

    async def pump() -> None:
        for number in line:
            if number % 50 == 49:
                clean_redis.flushall()
            caller = otp_pb2.Caller(
                clinic_id=f"cli_{number % 2}",
                user_id=f"usr_pump_{number % 200}",
                session_id=fresh("ses"),
                address=f"198.51.{number % 200}.7",
            )
            request: Any = otp_pb2.StartSmsEnrolmentRequest(
                caller=caller,
                request_id=fresh("req"),
                phone=f"+447700900{number % 1000:03}",
                locale="en",
                purpose=otp_pb2.SMS_PURPOSE_ENROLMENT,
                terms=otp_pb2.SmsTerms(daily_cap=CLINIC_CAP, countries=["GB"]),
            )
            try:
                await otp.call("StartSmsEnrolment", request)
                met["sent"] += 1
            except ServiceError as error:
                met[error.code.value] += 1

    await asyncio.gather(*(pump() for _ in range(16)))
    assert met.pop("sent") == DEPLOYMENT_CAP
    assert set(met) <= {"too-many-attempts", "unavailable"}
    assert await count(gate, "SELECT count(*) AS n FROM delivery") == DEPLOYMENT_CAP
    assert await count(gate, "SELECT max(texts) AS n FROM sms_spending WHERE clinic_id <> ''") <= CLINIC_CAP
    clean_redis.flushall()
    user = otp.user()
    with pytest.raises(ServiceError) as caught:
        await otp.call(
            "StartSmsEnrolment",
            otp_pb2.StartSmsEnrolmentRequest(
                caller=user.caller(),
                request_id=fresh("req"),
                phone="+447700900001",
                locale="en",
                purpose=otp_pb2.SMS_PURPOSE_PHONE_PROOF,
                terms=otp_pb2.SmsTerms(daily_cap=CLINIC_CAP, countries=["GB"]),
            ),
        )
    assert caught.value.code.value == "too-many-attempts"
    assert caught.value.members["retry_after"] == 52_190, "until midnight in UTC"
    assert json.dumps(dict(caught.value.members))
