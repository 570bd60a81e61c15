"""Asks one process of ours whether it is well, for container health checks: exit code 0 or 1, and a line that says why.

python -m services.common.health_check grpc HOST:PORT NAME TLS_DIR   the standard health service, over mutual TLS
python -m services.common.health_check http URL                      answers 200
python -m services.common.health_check file PATH SECONDS             was touched within so many seconds
"""

import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

_SECONDS = 4.0


def _grpc(target: str, name: str, tls_dir: str) -> str:
    import grpc  # the other checks need none of it, and it is most of the time this takes
    from grpc_health.v1 import health_pb2, health_pb2_grpc

    folder = Path(tls_dir)
    ca, cert, key = (folder.joinpath(file).read_bytes() for file in ("ca.pem", "cert.pem", "key.pem"))
    options = (("grpc.ssl_target_name_override", name), ("grpc.enable_http_proxy", 0))
    with grpc.secure_channel(target, grpc.ssl_channel_credentials(ca, key, cert), options) as channel:
        stub: Any = health_pb2_grpc.HealthStub(channel)
        try:
            answer = stub.Check(health_pb2.HealthCheckRequest(), timeout=_SECONDS)
        except grpc.RpcError as error:
            return f"{name}: {error.code().name}"
    serving = answer.status == health_pb2.HealthCheckResponse.SERVING
    return "" if serving else f"{name}: {health_pb2.HealthCheckResponse.ServingStatus.Name(answer.status)}"


def _http(url: str) -> str:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(url, timeout=_SECONDS) as answer:
            return "" if answer.status == 200 else f"{url}: {answer.status}"
    except urllib.error.HTTPError as error:
        return f"{url}: {error.code} {error.read(500).decode(errors='replace')}"
    except OSError as error:
        return f"{url}: {error}"


def _file(path: str, seconds: str) -> str:
    try:
        age = time.time() - Path(path).stat().st_mtime
    except OSError as error:
        return f"{path}: {error.strerror}"
    return "" if age <= float(seconds) else f"{path}: {age:.0f} s old"


def main(arguments: list[str]) -> str:
    """The complaint, or nothing."""
    match arguments:
        case ["grpc", target, name, tls_dir]:
            return _grpc(target, name, tls_dir)
        case ["http", url]:
            return _http(url)
        case ["file", path, seconds]:
            return _file(path, seconds)
    return __doc__


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]) or 0)
