"""The front: what it takes, from whom, and what it answers."""

import concurrent.futures
import secrets

import grpc
import pytest
from countersign.notifier.v1 import notifier_pb2 as pb

from tests.notifier.conftest import ACCOUNT_SID, AUTH_TOKEN, Client, MakeNotifier, Notifier, Standin, eventually, start


def code_of(error: "pytest.ExceptionInfo[grpc.RpcError]") -> grpc.StatusCode:
    code = error.value.code()  # type: ignore[attr-defined]
    assert isinstance(code, grpc.StatusCode)
    return code


def test_r21_the_same_request_key_is_the_same_delivery_and_one_message(
    running: Notifier, otp: Client, standin: Standin, number: str
) -> None:
    key = f"chl_{secrets.token_hex(16)}"
    with concurrent.futures.ThreadPoolExecutor(20) as threads:
        taken = list(threads.map(lambda _: otp.submit(number, request_key=key), range(40)))
    assert len({each.delivery_id for each in taken}) == 1
    assert eventually(lambda: otp.status(taken[0].delivery_id) == "delivered")
    assert otp.submit(number, request_key=key, code="111111").delivery_id == taken[0].delivery_id
    assert otp.submit(number, request_key=key).status == "delivered"
    assert len(standin.calls(number)) == 1
    told = "SELECT count(*) AS n FROM audit_event WHERE kind = 'delivery.queued' AND detail->>'delivery_id' = %s"
    assert running.rows(told, taken[0].delivery_id)[0]["n"] == 1


@pytest.mark.parametrize(
    "changed",
    [
        {"request_key": ""},
        {"request_key": "k" * 201},
        {"kind": pb.MESSAGE_KIND_UNSPECIFIED},
        {"kind": 99},
        {"to": ""},
        {"to": "07700900123"},
        {"to": "+44770090012\u0663"},
        {"to": "+447700900123 "},
        {"to": "+4915"},
        {"to": "+449012345678"},  # premium rate: whoever sends pays its owner
        {"to": "+883510012345"},  # of no country
        {"to": "+447700900123\n+447700900124"},
        {"code": ""},
        {"code": "12345"},
        {"code": "1234567"},
        {"code": "12345a"},
        {"code": "\uff11\uff12\uff13\uff14\uff15\uff16"},
        {"clinic_id": ""},
        {"user_id": ""},
        {"seconds": 11 * 3600},
    ],
)
def test_what_makes_no_sense_is_refused(otp: Client, number: str, changed: dict[str, object]) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        otp.submit(**{"to": number, **changed})  # type: ignore[arg-type]
    assert code_of(caught) is grpc.StatusCode.INVALID_ARGUMENT


@pytest.mark.parametrize("delivery_id", ["", "dlv_", "dlv_" + "0" * 32, "dlv_" + "é" * 32, "x" * 10_000, "' OR 1=1 --"])
def test_an_unknown_delivery_is_not_found(otp: Client, delivery_id: str) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        otp.get(delivery_id)
    assert code_of(caught) is grpc.StatusCode.NOT_FOUND


def test_a67_only_declared_callers_reach_a_method(running: Notifier, number: str) -> None:
    for caller, may in {
        "otp": {"submit", "get", "can_send"},
        "identity": {"can_send", "call_back"},
        "policy": set(),
    }.items():
        client = running.client(caller)
        calls = {
            "submit": lambda client=client: client.submit(number),
            "get": lambda client=client: client.get("dlv_x"),
            "can_send": lambda client=client: client.can_send(),
            "call_back": lambda client=client: client.call_back({}, "x", ""),
        }
        for name, call in calls.items():
            try:
                call()
                refused = False
            except grpc.RpcError as error:
                refused = "may not call" in str(error.details())  # type: ignore[attr-defined]
            assert refused == (name not in may), (caller, name)
        client.close()


def test_an_expired_order_is_never_sent(running: Notifier, otp: Client, standin: Standin, number: str) -> None:
    """R21: with less than ten seconds left nothing is begun, since the call itself may take that long."""
    late = otp.submit(number, seconds=-1)
    assert late.status == "expired"
    soon = otp.submit(number, seconds=8)
    assert eventually(lambda: otp.status(soon.delivery_id) == "expired")
    assert "in time" in otp.get(soon.delivery_id).detail
    assert eventually(lambda: running.row(late.delivery_id)["state"] == "expired")
    assert running.row(soon.delivery_id)["sealed"] is None
    assert standin.calls(number) == []


def test_without_a_provider_text_messages_are_off(make_notifier: MakeNotifier, number: str) -> None:
    notifier = make_notifier(standin_url="")
    notifier.start("serve")
    identity, otp = notifier.client("identity"), notifier.client("otp")
    assert eventually(identity.is_serving)
    assert not identity.can_send()
    with pytest.raises(grpc.RpcError) as caught:
        otp.submit(number)
    assert code_of(caught) is grpc.StatusCode.UNAVAILABLE
    assert notifier.rows("SELECT 1 FROM delivery") == []
    notifier.stop()


def test_a_standin_counts_only_while_it_answers(make_notifier: MakeNotifier, number: str) -> None:
    account = {"STANDIN_ACCOUNT_SID": ACCOUNT_SID, "STANDIN_AUTH_TOKEN": AUTH_TOKEN}
    notifier = make_notifier()
    arguments = ["deploy.twilio_standin", "--listen=127.0.0.1:0"]
    first = start(arguments, account, notifier.folder)
    address = eventually(first.said).split('"')[3]
    notifier.start("serve", NOTIFIER_STANDIN_URL=address)
    identity, otp = notifier.client("identity"), notifier.client("otp")
    assert eventually(identity.can_send)
    key = f"chl_{secrets.token_hex(16)}"
    taken = otp.submit(number, request_key=key)
    first.stop()
    assert eventually(lambda: not identity.can_send())
    # What is on record is told all the same; nothing new is taken.
    assert otp.submit(number, request_key=key).delivery_id == taken.delivery_id
    with pytest.raises(grpc.RpcError) as caught:
        otp.submit(number)
    assert code_of(caught) is grpc.StatusCode.UNAVAILABLE
    arguments[1] = f"--listen={address.removeprefix('http://')}"
    second = start(arguments, account, notifier.folder)
    assert eventually(identity.can_send)
    second.stop()
    notifier.stop()
