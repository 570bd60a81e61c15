"""Prometheus metrics on a port of their own, and the counters that every RPC server keeps."""

from prometheus_client import REGISTRY, Counter, Histogram, start_http_server

RPC_HANDLED = Counter("rpc_server_handled_total", "RPCs answered, by method and status.", ["method", "grpc_code"])
RPC_SECONDS = Histogram(
    "rpc_server_seconds",
    "Time to answer an RPC.",
    ["method"],
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5),
)


def serve(listen: str) -> int:
    """Opens the metrics endpoint on host:port and answers the port (0 asks for a free one)."""
    host, _, port = listen.rpartition(":")
    server, _thread = start_http_server(int(port), addr=host or "127.0.0.1", registry=REGISTRY)
    return int(server.server_port)
