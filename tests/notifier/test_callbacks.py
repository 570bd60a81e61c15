"""Status callbacks (A52): only the provider's, only for the address it was given, each once, and never backwards."""

import secrets
from collections.abc import Iterator

import grpc
import pytest

from deploy.twilio_messages import sign
from tests.notifier.conftest import ACCOUNT_SID, AUTH_TOKEN, Client, MakeNotifier, Notifier, Standin, eventually

ADDRESS = "https://clinic.example/auth/v1/webhooks/twilio/status"


@pytest.fixture(scope="module")
def notifier(make_lasting_notifier: MakeNotifier) -> Iterator[Notifier]:
    """One whose public address nobody answers at, so that callbacks come from these tests alone."""
    notifier = make_lasting_notifier(public_url="https://clinic.example/auth/")
    notifier.run().close()
    yield notifier
    notifier.stop()


class Phone:
    """A delivery that the stand-in has taken, and the callbacks that Twilio would make for it."""

    def __init__(self, notifier: Notifier, standin: Standin, number: str) -> None:
        self.otp, self.identity = notifier.client("otp"), notifier.client("identity")
        self.notifier, self.standin, self.number = notifier, standin, number
        self.id = self.otp.submit(number).delivery_id
        message = eventually(lambda: standin.inbox(number))[0]
        self.sid = message["sid"]

    def form(self, status: str, **more: str) -> dict[str, str]:
        return {
            "AccountSid": ACCOUNT_SID,
            "MessageSid": self.sid,
            "MessageStatus": status,
            "SmsSid": self.sid,
            "SmsStatus": status,
            "To": self.number,
            **more,
        }

    def call_back(self, status: str, **more: str) -> str:
        """Signs and sends; answers the state afterwards."""
        form, query = self.form(status, **more), f"delivery={self.id}"
        self.identity.call_back(form, sign(AUTH_TOKEN, f"{ADDRESS}?{query}", form), query)
        return self.state

    def is_refused(self, form: dict[str, str], signature: str, query: str) -> bool:
        before = self.notifier.row(self.id)
        with pytest.raises(grpc.RpcError) as caught:
            self.identity.call_back(form, signature, query)
        assert self.notifier.row(self.id) == before
        return bool(caught.value.code() is grpc.StatusCode.PERMISSION_DENIED)  # type: ignore[attr-defined]

    @property
    def state(self) -> str:
        return self.otp.status(self.id)


@pytest.fixture
def phone(notifier: Notifier, standin: Standin, number: str) -> Iterator[Phone]:
    phone = Phone(notifier, standin, number)
    eventually(lambda: phone.state == "sent")
    yield phone
    phone.otp.close()
    phone.identity.close()


def test_the_provider_is_asked_to_call_the_public_address_for_this_delivery(phone: Phone) -> None:
    form = phone.standin.calls(phone.number)[0]["form"]
    assert form["StatusCallback"] == f"{ADDRESS}?delivery={phone.id}"


def test_a52_forged_callbacks_are_refused_and_change_nothing(phone: Phone) -> None:
    form, query = phone.form("delivered"), f"delivery={phone.id}"
    right = sign(AUTH_TOKEN, f"{ADDRESS}?{query}", form)
    assert phone.is_refused(form, "", query)
    assert phone.is_refused(form, right[:-2] + "A=", query)
    assert phone.is_refused(form, sign("another token", f"{ADDRESS}?{query}", form), query)
    assert phone.is_refused({**form, "MessageStatus": "failed"}, right, query)
    assert phone.is_refused({**form, "Extra": "1"}, right, query)
    assert phone.is_refused(form, "é" * len(right), query)


def test_a52_a_callback_for_another_address_is_refused(phone: Phone) -> None:
    """The Host header never counts: what was signed is the configured address or nothing."""
    form, query = phone.form("delivered"), f"delivery={phone.id}"
    for address in (
        "https://evil.example/auth/v1/webhooks/twilio/status",
        "http://clinic.example/auth/v1/webhooks/twilio/status",
        "https://clinic.example/v1/webhooks/twilio/status",
    ):
        assert phone.is_refused(form, sign(AUTH_TOKEN, f"{address}?{query}", form), query)
    assert phone.is_refused(form, sign(AUTH_TOKEN, ADDRESS, form), query)
    assert phone.is_refused(form, sign(AUTH_TOKEN, ADDRESS, form), "")


def test_a52_a_callback_is_worth_nothing_for_another_delivery(phone: Phone) -> None:
    form, query = phone.form("delivered"), f"delivery={phone.id}"
    signature = sign(AUTH_TOKEN, f"{ADDRESS}?{query}", form)
    other = phone.otp.submit(phone.number)
    assert phone.is_refused(form, signature, f"delivery={other.delivery_id}")
    foreign = {**form, "MessageSid": f"SM{secrets.token_hex(16)}"}
    assert phone.is_refused(foreign, sign(AUTH_TOKEN, f"{ADDRESS}?{query}", foreign), query)
    nobody = f"delivery=dlv_{'0' * 32}"
    assert phone.is_refused(form, sign(AUTH_TOKEN, f"{ADDRESS}?{nobody}", form), nobody)


def test_a52_a_replayed_callback_is_refused_and_changes_nothing(phone: Phone) -> None:
    assert phone.call_back("delivered") == "delivered"
    form, query = phone.form("delivered"), f"delivery={phone.id}"
    assert phone.is_refused(form, sign(AUTH_TOKEN, f"{ADDRESS}?{query}", form), query)


@pytest.mark.parametrize(
    ("statuses", "states"),
    [
        (["queued", "sent", "delivered"], ["sent", "sent", "delivered"]),
        (["delivered", "sent", "queued"], ["delivered", "delivered", "delivered"]),
        (["delivered", "failed", "undelivered"], ["delivered", "delivered", "delivered"]),
        (["undelivered", "delivered", "sent"], ["failed", "failed", "failed"]),
        (["sent", "failed"], ["sent", "failed"]),
        (["something-new", "delivered"], ["sent", "delivered"]),
    ],
)
def test_a52_callbacks_out_of_order_never_move_a_delivery_back(
    phone: Phone, statuses: list[str], states: list[str]
) -> None:
    assert [phone.call_back(status) for status in statuses] == states


def test_a_late_callback_resolves_what_is_unknown(notifier: Notifier, standin: Standin, number: str) -> None:
    standin.fail("drop_after_accept", number)
    phone = Phone(notifier, standin, number)
    eventually(lambda: phone.state == "unknown")
    assert notifier.row(phone.id)["provider_sid"] is None
    assert phone.call_back("sent") == "sent"
    assert phone.call_back("undelivered", ErrorCode="30005") == "failed"
    assert "does not seem to exist" in phone.otp.get(phone.id).detail
    assert notifier.row(phone.id)["provider_sid"] == phone.sid
    assert len(standin.calls(number)) == 1


def test_a_failure_that_twilio_explains_is_told_in_words(phone: Phone) -> None:
    assert phone.call_back("undelivered", ErrorCode="30006") == "failed"
    assert "cannot receive text messages" in phone.otp.get(phone.id).detail


def test_without_a_provider_or_an_address_no_callback_counts(make_notifier: MakeNotifier) -> None:
    notifier = make_notifier(standin_url="")
    notifier.start("serve")
    identity: Client = notifier.client("identity")
    assert eventually(identity.is_serving)
    query = f"delivery=dlv_{'0' * 32}"
    with pytest.raises(grpc.RpcError) as caught:
        identity.call_back({"MessageSid": "SM1"}, sign("", f"None?{query}", {"MessageSid": "SM1"}), query)
    assert caught.value.code() is grpc.StatusCode.PERMISSION_DENIED  # type: ignore[attr-defined]
    notifier.stop()
