"""Channels to the services as one of their own callers opens them: mutual TLS, with that caller's certificate."""

from pathlib import Path

import grpc

from tests.bench.stack import Stack


def channel(stack: Stack, caller: str, service: str) -> grpc.aio.Channel:
    """To be opened within a running loop, and closed."""
    tls = stack.layout.tls(caller)
    ca, key, cert = (Path(tls, name).read_bytes() for name in ("ca.pem", "key.pem", "cert.pem"))
    return grpc.aio.secure_channel(
        stack.environments[service][f"{service.upper()}_LISTEN"],
        grpc.ssl_channel_credentials(ca, key, cert),
        options=(("grpc.ssl_target_name_override", service), ("grpc.enable_http_proxy", 0)),
    )
