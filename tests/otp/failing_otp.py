"""An otp service in a process of its own that kills itself at a stated point of its n-th wrong code. For A09.

`python -m tests.otp.failing_otp POINT COUNT`, with the settings in the environment; prints its port.
"""

import asyncio
import os
import signal
import sys
from collections.abc import Callable
from typing import Any

from services.common.clock import FixedClock
from services.otp import wire
from services.otp.app import OtpService
from services.otp.settings import OtpSettings
from services.otp.store.accounts import HeldAccount
from tests.otp.conftest import NOW


def fail_at(point: str, count: int) -> None:
    calls = 0

    def is_time() -> bool:
        nonlocal calls
        calls += 1
        return calls == count

    def die() -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    tell_wrong, wire_verdict = HeldAccount.tell_wrong, wire.wire_verdict

    async def telling(self: HeldAccount, *values: Any) -> None:
        if point == "compared" and is_time():
            die()
        await tell_wrong(self, *values)
        if point == "written" and is_time():
            die()

    def answering(*values: Any) -> Any:
        if point == "committed" and is_time():
            die()
        return wire_verdict(*values)

    patches: list[tuple[Any, str, Any]] = [(HeldAccount, "tell_wrong", telling), (wire, "wire_verdict", answering)]
    for owner, name, patched in patches:
        setattr(owner, name, patched)


async def main(serve: Callable[[], OtpService]) -> None:
    print("port", await serve().start(), flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    fail_at(sys.argv[1], int(sys.argv[2]))
    asyncio.run(main(lambda: OtpService(OtpSettings(), FixedClock(NOW))))
