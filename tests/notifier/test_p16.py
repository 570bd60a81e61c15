"""P16: whatever is killed, every message ends in a stated outcome, and none is sent twice."""

from deploy.embedded import EmbeddedRedis
from tests.notifier.conftest import MakeNotifier, Standin, eventually
from tests.notifier.test_faults import sweep_later


def test_p16_whatever_is_killed_every_message_ends_in_a_stated_outcome_and_none_is_sent_twice(
    make_notifier: MakeNotifier, standin: Standin, own_broker: EmbeddedRedis, number: str
) -> None:
    """Each message has a code of its own, so that the provider's ledger says what became of it."""
    notifier = make_notifier(broker_url=own_broker.url, twilio_timeout_seconds="1")
    otp = notifier.run()
    for kind, count in (("slow", 10), ("drop_after_accept", 5), ("429", 5), ("500", 5), ("21610", 5), ("hang", 3)):
        standin.fail(kind, number, count, seconds=0.5 if kind == "slow" else 1.5)
    taken: dict[str, str] = {}
    for n in range(120):
        code = f"{n:06}"
        taken[code] = otp.submit(number, code=code).delivery_id
        if n in (30, 60, 90):
            notifier.children["worker"].kill()
            notifier.start("worker")
        if n == 45:
            own_broker.kill()
            own_broker.start()
        if n == 75:
            notifier.children["relay"].kill()
            notifier.start("relay")
    open_ones = (
        "SELECT 1 FROM delivery WHERE state = 'queued' OR (state = 'sending' AND sending_at > now() - '5 s'::interval)"
    )
    eventually(lambda: not notifier.rows(open_ones), 60)
    sweep_later(notifier, 61)
    states = {code: otp.status(delivery_id) for code, delivery_id in taken.items()}
    calls: dict[str, list[int | None]] = {code: [] for code in taken}
    for call in standin.calls(number):
        calls[call["form"]["Body"][:6]].append(call["answered"])
    arrived = [message["body"][:6] for message in standin.inbox(number)]
    assert len(arrived) == len(set(arrived))
    for code, state in states.items():
        # A call whose answer may have been lost is the last one.
        assert len([answered for answered in calls[code] if answered != 429]) <= 1, (code, calls[code])
        if state == "sent":
            assert code in arrived
        elif state == "failed":
            assert code not in arrived
            assert calls[code][0] == 400  # the newest; it may have been asked to wait before
        else:
            assert state == "unknown", (code, state)
    unknown = [code for code, state in states.items() if state == "unknown"]
    assert len(unknown) <= 13 + 3 * 8  # the faults whose answer is lost, and what each killed worker had in hand
    notifier.stop()
