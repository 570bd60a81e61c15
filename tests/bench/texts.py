"""Text messages: orders taken a second by the notifier beside bare publishing to a queue, how long one takes until the
provider's stand-in has it, and what the worker holds of memory before and after many."""

import asyncio
import secrets
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
from countersign.notifier.v1 import notifier_pb2
from countersign.notifier.v1.notifier_pb2_grpc import NotifierStub
from google.protobuf.timestamp_pb2 import Timestamp

from deploy.embedded import EmbeddedRedis, free_port
from deploy.twilio_messages import API
from services.notifier.model import DeliveryId
from services.notifier.queue import Publisher, make_app
from tests.bench.channels import channel
from tests.bench.load import Phase, run
from tests.bench.machine import resident_mib
from tests.bench.sign_in import Unsafe
from tests.bench.stack import Stack

CALLERS = 8
_CLINIC = "cli_bench_texts"
_LIFE = timedelta(minutes=9)
_BUSY_NUMBER, _STANDIN_NUMBER = "+447700900999", "+447700900998"
_MOST_TIMED = 900  # a number each, of those that belong to nobody
_BETWEEN_SECONDS = 0.1
_MOST_OPEN = 400
"""So many wait at most while many are sent: none may be too late because the bench was in a hurry."""
_DRAIN_SECONDS = 540.0


class Texts:
    """Orders codes as otp does, each for another person of one clinic. All must go out; those that are timed, once."""

    def __init__(self, stack: Stack) -> None:
        self._stack = stack
        self._channel = channel(stack, "otp", "notifier")
        self._stub = NotifierStub(self._channel)
        self._worker = stack.processes["worker"]
        self._taken = 0

    async def close(self) -> None:
        await self._channel.close()

    async def phase(self, seconds: float) -> Phase:
        """Orders taken, as fast as they are."""
        return await run(self._once, CALLERS, seconds)

    async def drain(self) -> None:
        """Until all that was taken has gone out."""
        ends_at = time.monotonic() + _DRAIN_SECONDS
        while await self._open() > 0:
            if time.monotonic() > ends_at:
                raise RuntimeError("the texts did not go out")
            await asyncio.sleep(0.2)

    async def timed(self, count: int) -> list[str]:
        """Texts one by one on an idle stack: from the order to the stand-in, and beside it the stand-in asked directly;
        the report's lines."""
        count = min(count, _MOST_TIMED)
        ordered: dict[str, datetime] = {}
        asked: dict[str, datetime] = {}
        account = self._stack.layout.secrets("standin")
        sid, token = ((account / name).read_text().strip() for name in ("account_sid", "auth_token"))
        async with httpx.AsyncClient(base_url=self._stack.told["twilio"], timeout=20, trust_env=False) as client:
            for number in range(count):
                began = time.monotonic()
                to = f"+447700900{number:03}"
                ordered[to] = datetime.now(UTC)
                await self._submit(to)
                await asyncio.sleep(_BETWEEN_SECONDS / 2)
                form = {"To": _STANDIN_NUMBER, "From": "+15005550006", "Body": f"direct {number}"}
                asked[form["Body"]] = datetime.now(UTC)
                answer = await client.post(f"{API.format(account_sid=sid)}.json", data=form, auth=(sid, token))
                answer.raise_for_status()
                await asyncio.sleep(max(0.0, began + _BETWEEN_SECONDS - time.monotonic()))
            await self.drain()
            inbox: list[dict[str, Any]] = (await client.get("/inbox")).json()
        times = Counter(message["to"] for message in inbox)
        if twice := [to for to in ordered if times[to] > 1]:
            raise Unsafe(f"{len(twice)} texts went out twice")
        taken = {m["to"] if m["to"] in ordered else m["body"]: datetime.fromisoformat(m["created_at"]) for m in inbox}
        ours = _phase([taken[to] - at for to, at in ordered.items()])
        floor = _phase([taken[body] - at for body, at in asked.items()])
        return [
            f"{count} texts one by one, from the order until the stand-in has taken it",
            *(
                f"  {what:<34} p50 {phase.percentile(0.5):.1f} ms, p99 {phase.percentile(0.99):.1f} ms"
                for what, phase in (("by notifier, relay and worker", ours), ("the stand-in asked directly", floor))
            ),
            f"  {'ratio of the medians':<34} {ours.percentile(0.5) / floor.percentile(0.5):.1f}",
        ]

    async def many(self, count: int) -> list[str]:
        """What the worker holds before and after so many; the report's lines."""
        before, began = resident_mib(self._worker), time.perf_counter()
        halfway, sent = 0.0, 0
        while sent < count:
            room = min(_MOST_OPEN - await self._open(), count - sent)
            if room < _MOST_OPEN // 4 and room < count - sent:
                await asyncio.sleep(0.1)
                continue
            for start in range(0, room, CALLERS):
                await asyncio.gather(*(self._once(number) for number in range(start, min(start + CALLERS, room))))
            sent += room
            if not halfway and sent >= count / 2:
                halfway = resident_mib(self._worker)
        await self.drain()
        took = time.perf_counter() - began
        after = resident_mib(self._worker)
        return [
            f"{count:,} texts, {count / took:.0f} a second until all had gone out",
            f"  {'the worker holds, before':<34} {before:.1f} MiB",
            f"  {'after half of them':<34} {halfway:.1f} MiB",
            f"  {'after all of them':<34} {after:.1f} MiB"
            f"   ({after - before:+.1f}; the second half {after - halfway:+.1f})",
        ]

    async def check_all_went_out(self) -> None:
        """Every order that was taken is with the stand-in: the rows say so, and so many there are."""
        states = await asyncio.to_thread(self._states)
        if set(states) - {"sent", "delivered"} or sum(states.values()) != self._taken:
            raise RuntimeError(f"of {self._taken} orders that were taken became {states}")

    async def _once(self, number: int) -> None:
        await self._submit(_BUSY_NUMBER)

    async def _submit(self, to: str) -> None:
        not_after = Timestamp()
        not_after.FromDatetime(datetime.now(UTC) + _LIFE)
        order = notifier_pb2.SubmitRequest(
            request_key=f"chl_{secrets.token_hex(16)}",
            kind=notifier_pb2.MESSAGE_KIND_SIGN_IN_CODE,
            to=to,
            code=f"{secrets.randbelow(1_000_000):06}",
            not_after=not_after,
            clinic_id=_CLINIC,
            user_id=f"usr_{secrets.token_hex(16)}",
            locale="en",
            clinic_daily_cap=10_000_000,
            countries=["GB"],
        )
        delivery = await self._stub.Submit(order, timeout=10)
        if delivery.status not in ("queued", "sending", "sent", "delivered"):
            raise RuntimeError(f"an order was answered {delivery.status} {delivery.detail}")
        self._taken += 1

    async def _open(self) -> int:
        states = await asyncio.to_thread(self._states)
        return states.get("queued", 0) + states.get("sending", 0)

    def _states(self) -> dict[str, int]:
        with self._stack.connect("notifier") as connection:
            found = connection.execute(
                "SELECT state, count(*) FROM delivery WHERE clinic_id = %s GROUP BY state", [_CLINIC]
            ).fetchall()
        return {str(state): int(str(count)) for state, count in found}


class BareQueue:
    """The floor of an order: Celery puts an id in a Redis of its own; nothing is kept, sealed, counted or checked."""

    def __init__(self, folder: Path) -> None:
        password = secrets.token_hex(8)
        self._redis = EmbeddedRedis(folder, free_port(), password=password)
        self._publishers = [Publisher(make_app(self._redis.url, password)) for _ in range(CALLERS)]
        self._threads = ThreadPoolExecutor(CALLERS)

    def open(self) -> None:
        self._redis.start()

    async def phase(self, seconds: float) -> Phase:
        return await run(self._once, CALLERS, seconds)

    def close(self) -> None:
        for publisher in self._publishers:
            publisher.close()
        self._threads.shutdown()
        self._redis.stop()

    async def _once(self, number: int) -> None:
        delivery_id = DeliveryId(f"dlv_{secrets.token_hex(16)}")
        publish = self._publishers[number].publish
        await asyncio.get_running_loop().run_in_executor(self._threads, publish, [delivery_id])


def _phase(latencies: list[timedelta]) -> Phase:
    in_ms = tuple(latency.total_seconds() * 1000 for latency in latencies)
    return Phase(len(in_ms), 1.0, in_ms)
