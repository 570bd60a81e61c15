"""What otp leaves to identity to follow up: in the transaction of the change, listed until it is settled."""

from typing import Any

import pytest
from countersign.outbox.v1 import outbox_pb2
from countersign.outbox.v1.outbox_pb2_grpc import OutboxStub

from services.common import outbox
from services.common.errors import ErrorCode, ServiceError
from services.common.rpc_client import Peer
from services.otp import backup_codes
from tests.conftest import MakeCertificates
from tests.otp.conftest import Otp, Person, result


@pytest.fixture(autouse=True)
def cheap_backup_codes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backup_codes, "_MEMORY_KIB", 64)


def _peer(otp: Otp, certificates: MakeCertificates, caller: str = "identity") -> Peer[Any]:
    return Peer(OutboxStub, f"127.0.0.1:{otp.service.server.port}", "otp", certificates(caller))


async def _pending(peer: Peer[Any], person: Person, after: int = 0, limit: int = 200) -> list[Any]:
    request = outbox_pb2.ListPendingRequest(user_id=person.user_id, after=after, limit=limit)
    return list((await peer.call(peer.stub.ListPending, request, 10.0)).events)


async def test_every_change_with_consequences_is_listed_until_it_is_settled(
    otp: Otp, certificates: MakeCertificates
) -> None:
    peer, user = _peer(otp, certificates), otp.user()
    await user.enrol_totp()
    codes = await user.regenerate()
    assert await user.sees(codes[0], "backup_code") == "accepted"
    await user.spend_budget()
    await user.remove("totp")
    found = await _pending(peer, user)
    kinds = ["factor_set_up", "backup_codes_made", "backup_code_used", "guesses_spent", "factor_removed"]
    assert [event.kind for event in found] == kinds
    assert {(event.user_id, event.session_id, event.address) for event in found} == {
        (user.user_id, user.session_id, "192.0.2.7")
    }
    told = " ".join(event.detail for event in found)
    assert not any(secret in told for secret in (user.secret, *codes, *user.backup_codes))
    assert [event.kind for event in await _pending(peer, user, after=found[1].seq, limit=2)] == kinds[2:4]
    for _ in range(2):
        settled = outbox_pb2.SettleRequest(ids=[event.id for event in found[:3]])
        await peer.call(peer.stub.Settle, settled, 10.0)
    assert [event.kind for event in await _pending(peer, user)] == kinds[3:]
    await peer.close()


async def test_what_changes_nothing_or_is_told_again_leaves_nothing(otp: Otp, certificates: MakeCertificates) -> None:
    peer, user = _peer(otp, certificates), otp.user()
    await user.enrol_totp()
    before = len(await _pending(peer, user))
    assert await user.sees(user.wrong_code()) == "wrong"
    assert await user.sees(user.code()) == "accepted"
    code = user.backup_codes[0]
    for _ in range(2):
        assert await user.sees(code, "backup_code", login="log_same") == "accepted"
    assert [event.kind for event in (await _pending(peer, user))[before:]] == ["backup_code_used"]
    with pytest.raises(ServiceError, match="not-found"):
        await user.remove("sms")
    assert len(await _pending(peer, user)) == before + 1
    await peer.close()


async def test_f01_where_it_cannot_be_left_the_change_is_not_made_either(
    otp: Otp, certificates: MakeCertificates, monkeypatch: pytest.MonkeyPatch
) -> None:
    peer, user = _peer(otp, certificates), otp.user()
    await user.enrol_totp()
    before = await user.factors()

    async def put(*_: object) -> None:
        raise RuntimeError("killed in the middle")

    with monkeypatch.context() as patched:
        patched.setattr(outbox, "put", put)
        for change in (user.remove("totp"), user.regenerate()):
            with pytest.raises(ServiceError):
                await change
        with pytest.raises(ServiceError):
            await user.sees(user.backup_codes[0], "backup_code")
    assert await user.factors() == before
    assert result(await user.verify(user.backup_codes[0], "backup_code")) == "accepted"
    await peer.close()


@pytest.mark.parametrize("caller", ["policy", "notifier", "otp"])
async def test_p21_only_identity_may_list_and_settle(otp: Otp, certificates: MakeCertificates, caller: str) -> None:
    peer, user = _peer(otp, certificates, caller), otp.user()
    for call in (
        lambda: _pending(peer, user),
        lambda: peer.call(peer.stub.Settle, outbox_pb2.SettleRequest(ids=["out_x"]), 10.0),
    ):
        with pytest.raises(ServiceError) as refused:
            await call()
        assert refused.value.code in (ErrorCode.FORBIDDEN, ErrorCode.UNAVAILABLE)
    await peer.close()


@pytest.mark.parametrize("limit", [0, 201])
async def test_a_limit_out_of_bounds_is_refused(otp: Otp, certificates: MakeCertificates, limit: int) -> None:
    peer = _peer(otp, certificates)
    with pytest.raises(ServiceError, match="invalid-request"):
        await _pending(peer, otp.user(), limit=limit)
    await peer.close()
