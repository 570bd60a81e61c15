"""`make bench`: how fast pages come, and sign-ins, codes of every kind, session checks and forward-auth a second, each
beside its floor, what a change of a clinic's rule costs, and moving in, on a local stack of the bench's own.

    python -m tests.bench [--quick] [--rounds N] [--only PART]

The parts stand in README.md beside this.

Phases take turns (ours, floor, ours …). A round in which the machine's own speed moved by more than 15 % is void and
run again; a code accepted twice voids everything.
"""

import argparse
import signal
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path

import uvloop

from tests.bench.authenticators import Authenticators
from tests.bench.codes import ACCOUNTS, CALLERS, SET_UP_CALLERS, Redemptions, SetUps, Tens, stored_hash
from tests.bench.load import Phase
from tests.bench.machine import CpuMeter, speed
from tests.bench.moving_in import moving_in
from tests.bench.pages import AIM_MS, FirstBytes, judged, pages_of
from tests.bench.report import Series, lines, spread
from tests.bench.rotation import rotation
from tests.bench.rule import preview, stopping
from tests.bench.session_check import Echo, SessionChecks
from tests.bench.sign_in import BareArgon2, SignIns, Unsafe
from tests.bench.stack import Stack, started
from tests.bench.texts import CALLERS as ORDERING
from tests.bench.texts import BareQueue, Texts
from tests.bench.verification import StoreFloor, Verifications

PARTS = ("pages", "sign-in", "verification", "codes", "sms", "rotation", "session", "rule", "preview", "moving-in")
CONNECTIONS = (1, 8, 32)
TEXTS_TIMED, TEXTS_TIMED_QUICK = 500, 100
TEXTS_SENT, TEXTS_SENT_QUICK = 50_000, 500
SESSIONS, PREVIEW_PEOPLE = 1000, 10_000
SIGN_IN_AIM, VERIFICATION_AIM = 0.75, 0.3
_MOST_MOVED = 0.15
_AGAIN_UNTIL_SECONDS = 180.0
"""Void rounds are run again in the first minutes only: a machine that never rests is measured as it is, and said so."""

Measure = Callable[[], Awaitable[Phase]]


class Bench:
    def __init__(self, rounds: int, seconds: float, floor_seconds: float, *, is_quick: bool) -> None:
        self.rounds = rounds
        self.is_quick = is_quick
        self.seconds = seconds
        self.floor_seconds = floor_seconds
        self._began = time.monotonic()
        self.void = 0
        self.restless = 0
        self.missed: list[str] = []
        """Promises that were not kept."""

    async def compare(
        self, name: str, ours: Measure, floor: Measure, meter: CpuMeter, aside: Measure | None = None
    ) -> Series:
        """The phases of one series. The first pair only warms up."""
        series = Series(name)
        await ours()
        await floor()
        for number in range(self.rounds):
            while True:
                before = speed()
                meter.split()
                mine = await ours()
                spent = meter.split()
                theirs = await floor()
                moved = abs(speed() / before - 1)
                if moved <= _MOST_MOVED:
                    break
                if time.monotonic() - self._began > _AGAIN_UNTIL_SECONDS:
                    self.restless += 1
                    break
                self.void += 1
            if aside is not None:
                series.aside.append(await aside())
            series.ours.append(mine)
            series.floor.append(theirs)
            series.cpu.append({who: cpu / mine.count for who, cpu in spent.items()})
            print(f"  {name}: round {number + 1}, {mine.rate:.0f} beside {theirs.rate:.0f} a second", file=sys.stderr)
        return series


async def pages(stack: Stack, bench: Bench, meter: CpuMeter) -> list[str]:
    """Each page beside the same floor."""
    told: list[str] = []
    first_bytes = FirstBytes(stack)
    for page in pages_of(stack):
        series = await bench.compare(
            f"{page.path}, asked for by {page.whose}, one after another",
            lambda page=page: first_bytes.page_phase(page, bench.seconds / 2),  # type: ignore[misc]
            lambda: first_bytes.floor_phase(bench.floor_seconds / 3),
            meter,
        )
        line, passes = judged(page, series)
        told += [*lines(series, "answered", "bare /healthz"), line]
        if not passes:
            bench.missed.append(f"{page.path} takes more than {AIM_MS:.0f} ms at the median")
    return told


async def codes(stack: Stack, bench: Bench, meter: CpuMeter) -> list[str]:
    """Backup codes, with TOTP codes told aside, and apps set up."""
    redemptions, set_ups = Redemptions(stack, stack.add_accounts(ACCOUNTS)), SetUps(stack)
    verifications = Verifications(stack, Authenticators(stack.add_accounts(6000)))
    await redemptions.fill(bench.seconds)
    argon2 = BareArgon2(await stored_hash(stack))

    async def floor() -> Phase:
        done = await argon2.phase(bench.floor_seconds)
        await redemptions.fill(bench.seconds)
        return done

    series = await bench.compare(
        f"Backup codes redeemed, {CALLERS} at a time (Argon2id {argon2.parameters})",
        lambda: redemptions.phase(bench.seconds),
        floor,
        meter,
        lambda: verifications.phase(CALLERS, bench.floor_seconds / 2),
    )
    told = lines(series, "redemptions (gRPC, mutual TLS)", "bare Argon2id")
    beside = [ours.rate / aside.rate for ours, aside in zip(series.ours, series.aside, strict=True)]
    told.append(f"  {'TOTP verifications, as many callers':<34} {spread([p.rate for p in series.aside])} a second")
    told.append(f"  {'redemptions to these':<34} {spread(beside, 3)}")
    tens = Tens(argon2)
    series = await bench.compare(
        f"Authenticator apps set up (begun, confirmed, ten backup codes made), {SET_UP_CALLERS} at a time",
        lambda: set_ups.phase(bench.seconds),
        lambda: tens.phase(bench.floor_seconds * 2),
        meter,
    )
    for opened in (redemptions, verifications, set_ups):
        await opened.close()
    return told + lines(series, "set-ups (gRPC, mutual TLS)", "ten bare Argon2id, each")


async def sms(stack: Stack, bench: Bench, meter: CpuMeter) -> list[str]:
    """Texts one by one, as fast as they are taken, and many."""
    texts = Texts(stack)
    told = await texts.timed(TEXTS_TIMED_QUICK if bench.is_quick else TEXTS_TIMED)
    with tempfile.TemporaryDirectory(prefix="countersign-bench-queue-") as folder:
        bare = BareQueue(Path(folder) / "redis")
        bare.open()

        async def floor() -> Phase:
            await texts.drain()  # else the worker's sending would slow the floor down, and flatter us
            return await bare.phase(bench.floor_seconds)

        try:
            series = await bench.compare(
                f"Text messages taken on, {ORDERING} at a time, while the worker sends them",
                lambda: texts.phase(bench.seconds),
                floor,
                meter,
            )
        finally:
            bare.close()
    told += lines(series, "orders (gRPC, mutual TLS)", "bare Celery send_task")
    told += await texts.many(TEXTS_SENT_QUICK if bench.is_quick else TEXTS_SENT)
    await texts.check_all_went_out()
    await texts.close()
    return told


async def measure(stack: Stack, bench: Bench, only: str | None) -> list[str]:
    """Everything, in order; the report's lines."""
    told: list[str] = []
    meter = CpuMeter(stack.processes)
    if only in (None, "pages"):
        told += await pages(stack, bench, meter)  # first: the clinic is small, and the stack has done nothing yet
    if only in (None, "sign-in"):
        people, password_hash = stack.add_people(int(bench.seconds * 90) + 2000)
        sign_ins, argon2 = SignIns(stack, Authenticators(people)), BareArgon2(password_hash)
        allocator = {k: v for k, v in stack.environments["identity"].items() if k in ("GLIBC_TUNABLES",)}
        argon2_alike = BareArgon2(password_hash, allocator)
        series = await bench.compare(
            f"Sign-ins, password and TOTP, 8 at a time (Argon2id {argon2.parameters})",
            lambda: sign_ins.phase(bench.seconds * 2),
            lambda: argon2.phase(bench.floor_seconds),
            meter,
            lambda: argon2_alike.phase(bench.floor_seconds / 2),
        )
        told += lines(series, "sign-ins", "bare Argon2id", SIGN_IN_AIM)
        told.append(f"  {'bare, allocator as the gateway has':<34} {spread([p.rate for p in series.aside])} a second")
        await sign_ins.close()
    if only in (None, "verification"):
        verifications = Verifications(stack, Authenticators(stack.add_accounts(12000)))
        floor = StoreFloor(stack, stack.floor_database())
        await floor.open()
        for callers in CONNECTIONS:
            series = await bench.compare(
                f"TOTP verifications, {callers} at a time",
                lambda callers=callers: verifications.phase(callers, bench.seconds),  # type: ignore[misc]
                lambda callers=callers: floor.phase(callers, bench.floor_seconds),  # type: ignore[misc]
                meter,
            )
            told += lines(series, "verifications (gRPC, mutual TLS)", "one EVALSHA and one UPDATE", VERIFICATION_AIM)
        await floor.close()
        await verifications.close()
    if only in (None, "codes"):
        told += await codes(stack, bench, meter)
    if only in (None, "sms"):
        told += await sms(stack, bench, meter)
    if only in (None, "rotation"):
        told += await rotation(stack)
    if only in (None, "session", "rule"):
        without, _ = stack.add_people(SESSIONS, with_factor=False)
        unproven = stack.add_sessions(without, is_proven=False)
    if only in (None, "session"):
        echo = Echo()
        await echo.open()
        proven = stack.add_sessions(stack.add_people(SESSIONS)[0], is_proven=True)
        for whose, tokens in (("who have proven a factor", proven), ("of whom no factor is asked", unproven)):
            checks = SessionChecks(stack, tokens)
            for name, ours in (
                ("Session checks (GET /v1/session)", checks.session_phase),
                ("Forward-auth", checks.forward_auth_phase),
            ):
                series = await bench.compare(
                    f"{name} of {SESSIONS:,} people {whose}, 32 at a time",
                    lambda ours=ours: ours(bench.seconds / 2),  # type: ignore[misc]
                    lambda: echo.phase(bench.floor_seconds / 2),
                    meter,
                )
                told += lines(series, "answered", "FastAPI that answers as much")
        await echo.close()
    if only in (None, "rule"):
        told += await stopping(stack, unproven)
    if only in (None, "rule", "preview"):
        stack.add_people(PREVIEW_PEOPLE, with_factor=False)
        told += await preview(stack, stack.administrator_token(), PREVIEW_PEOPLE, bench.rounds)
    if only in (None, "moving-in"):
        told += moving_in(stack)
    return told


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="short phases, three rounds: to see that it runs")
    parser.add_argument("--rounds", type=int, help="rounds a series (5)")
    parser.add_argument("--only", choices=PARTS)
    chosen = parser.parse_args()
    durations = (1.5, 1.0) if chosen.quick else (4.0, 3.0)
    bench = Bench(chosen.rounds or (3 if chosen.quick else 5), *durations, is_quick=chosen.quick)
    began = time.monotonic()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    with suppress(KeyboardInterrupt), tempfile.TemporaryDirectory(prefix="countersign-bench-") as folder:
        print("Starting a stack of its own …", file=sys.stderr)
        with started(Path(folder) / "state") as stack:
            try:
                told = uvloop.run(measure(stack, bench, chosen.only))
            except Unsafe as unsafe:
                print(f"VOID: {unsafe}", file=sys.stderr)
                return 1
        print("\n".join(told))
        print(
            f"Medians [least … most] of {chosen.rounds or (3 if chosen.quick else 5)} rounds, ratios of neighbouring"
            f" phases; {bench.void} rounds were void and run again, {bench.restless} stand though the machine moved by"
            f" over 15 %. {time.monotonic() - began:.0f} s in all.\n"
            "Every answer was looked at; codes sent twice were refused every time."
        )
        for miss in bench.missed:
            print(f"MISSED: {miss}", file=sys.stderr)
        return 1 if bench.missed and not chosen.quick else 0
    return 130


if __name__ == "__main__":
    sys.exit(main())
