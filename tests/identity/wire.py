"""A reply that is lost on its way from another service: the call is done there, and its caller never hears of it."""

from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Any

import grpc

from services.common.rpc_client import Peer


def lost() -> grpc.aio.AioRpcError:
    """What gRPC says when the deadline has passed."""
    nothing = grpc.aio.Metadata()
    return grpc.aio.AioRpcError(grpc.StatusCode.DEADLINE_EXCEEDED, nothing, nothing, "Deadline Exceeded")


@contextmanager
def losing_replies(peer: Peer[Any], method: str, *, times: int = 1) -> Iterator[list[Any]]:
    """Of the first calls of the method the replies are lost, here between gRPC and the caller; yields them."""
    really: Callable[..., Awaitable[Any]] = getattr(peer.stub, method)
    replies: list[Any] = []

    async def call(request: Any, **more: Any) -> Any:
        reply = await really(request, **more)
        if len(replies) < times:
            replies.append(reply)
            raise lost()
        return reply

    setattr(peer.stub, method, call)
    try:
        yield replies
    finally:
        setattr(peer.stub, method, really)
    assert len(replies) == times, f"{method} was called {len(replies)} times"
