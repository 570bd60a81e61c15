"""A message on its way, through the processes as they run: front, relay, broker, worker, provider, callback."""

from tests.notifier.conftest import Client, Notifier, Standin, eventually


def test_a_submitted_code_reaches_the_phone_and_its_delivery_is_told(
    running: Notifier, otp: Client, standin: Standin, number: str
) -> None:
    taken = otp.submit(number, code="135790")
    assert taken.status == "queued"
    message = eventually(lambda: standin.inbox(number))[0]
    assert message["body"] == "135790 is your Countersign code to sign in. Never tell it to anyone."
    assert eventually(lambda: otp.status(taken.delivery_id) == "delivered")
    assert len(standin.calls(number)) == 1
