"""Takes the traces that the stack's processes send (OTLP over HTTP), so that a test can read all that stood in them."""

import gzip
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest


class Collector:
    """What came so far. `url` is what OTLP_ENDPOINT is to be."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._taken: list[ExportTraceServiceRequest] = []
        self.url = ""

    def take(self, body: bytes) -> None:
        request = ExportTraceServiceRequest.FromString(body)
        with self._lock:
            self._taken.append(request)

    def text(self) -> str:
        """Every span whole: its name, its attributes, its events, and who sent it."""
        with self._lock:
            return "\n".join(str(request) for request in self._taken)

    def services_of(self, trace_id: str) -> set[str]:
        """Whose spans of one trace have come."""
        found: set[str] = set()
        with self._lock:
            for request in self._taken:
                for sent in request.resource_spans:
                    spans = [span for scope in sent.scope_spans for span in scope.spans]
                    if any(span.trace_id.hex() == trace_id for span in spans):
                        found |= {a.value.string_value for a in sent.resource.attributes if a.key == "service.name"}
        return found


@contextmanager
def collecting() -> Iterator[Collector]:
    """Listens on a free port of this machine."""
    collector = Collector()

    class Answer(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            collector.take(gzip.decompress(body) if self.headers.get("Content-Encoding") == "gzip" else body)
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            """Says nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Answer) as server:
        server.daemon_threads = True
        collector.url = f"http://127.0.0.1:{server.server_port}/v1/traces"
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield collector
        server.shutdown()
