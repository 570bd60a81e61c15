"""Keys are rotated by the operator's command on the running stack, while people sign in and set up factors (P23)."""

import re
from concurrent.futures import Future, ThreadPoolExecutor

import pytest

from tests.end_to_end.client import ok
from tests.end_to_end.clinics import Clinic
from tests.end_to_end.stack import Stack

SEALING = ("identity", "otp", "notifier")


def keys(stack: Stack, service: str) -> dict[str, list[str]]:
    """What `keys` printed: by key's id, its state and how many records each column has under it."""
    rows = [line.split() for line in stack.command(service, "keys").splitlines()]
    return {row[0]: row[1:] for row in rows[1:]}


@pytest.mark.timeout(300)  # three commands at once, beside all else that a busy machine does
def test_p23_the_key_of_every_service_is_rotated_while_people_sign_in(stack: Stack, shared: Clinic) -> None:
    by_app, _ = shared.enrolled()
    by_text, _ = shared.enrolled_by_sms()
    rotations: list[Future[str]] = []
    rounds = 0

    def go_on() -> None:
        nonlocal rounds
        while rounds < 1 or not all(rotation.done() for rotation in rotations):
            person, _ = shared.enrolled()  # identity, otp
            shared.client().sign_in_fully(person)
            _, client = shared.enrolled_by_sms()  # and the notifier
            assert ok(client.get("/v1/me"))["phone_proven"]
            rounds += 1

    with ThreadPoolExecutor(4) as pool:
        rotations += [pool.submit(stack.command, service, "rotate-keys") for service in SEALING]
        pool.submit(go_on).result(100)
        told = [rotation.result() for rotation in rotations]

    for said in told:
        [new], [old] = re.findall(r"key (\d+) is added", said), re.findall(r"key (\d+) is retired", said)
        assert int(new) > int(old)
    left = keys(stack, "otp")
    assert [row[0] for row in left.values()] == ["active"], "no record is under another"
    shared.client().sign_in_fully(by_app)
    texted = shared.client()
    assert "sms" in texted.sign_in(by_text)["methods"]
    stack.ready(10)
