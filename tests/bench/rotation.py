"""Rewraps a second by otp's `rotate-keys`: alone, and while codes are verified, and what they take meanwhile."""

import asyncio
import re
import subprocess
import sys
import time

from tests.bench.authenticators import Authenticators
from tests.bench.stack import ROOT, Stack
from tests.bench.verification import Verifications

RECORDS = 20_000
_CALLERS = 8
_ALL = re.compile(r"([\d,]+) of \1 records rewrapped")


async def rotation(stack: Stack) -> list[str]:
    """Two rotations of the same records; the report's lines."""
    verifications = Verifications(stack, Authenticators(stack.add_accounts(RECORDS)))
    alone = await asyncio.to_thread(_rotate, stack)
    quiet = await verifications.phase(_CALLERS, 5.0)
    rotating = asyncio.create_task(asyncio.to_thread(_rotate, stack))
    await asyncio.sleep(1.5)  # until its interpreter has started
    busy = await verifications.phase(_CALLERS, 5.0)
    beside = await rotating
    await verifications.close()
    return [
        f"Rotation of otp's key over {RECORDS:,} secrets and more",
        f"  {'rewraps, alone':<34} {alone:,.0f} a second",
        f"  {f'rewraps, {_CALLERS} verifications at a time':<34} {beside:,.0f} a second",
        *(
            f"  {f'verifications {when}':<34} {phase.rate:.1f} a second"
            f"   p50 {phase.percentile(0.5):.1f} ms, p99 {phase.percentile(0.99):.1f} ms"
            for when, phase in (("before", quiet), ("meanwhile", busy))
        ),
    ]


def _rotate(stack: Stack) -> float:
    """Records a second, from the new key on to the last record; the grace after it is not counted."""
    process = subprocess.Popen(
        [sys.executable, "-m", "deploy.local", "exec", "--state", str(stack.layout.root), "otp", "rotate-keys"],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    began, rate = 0.0, 0.0
    for line in process.stdout:
        if "is added" in line:
            began = time.perf_counter()
        elif not rate and (found := _ALL.search(line)):
            rate = int(found[1].replace(",", "")) / (time.perf_counter() - began)
    if process.wait() != 0 or not rate:
        raise RuntimeError(f"the rotation ended with {process.returncode}")
    return rate
