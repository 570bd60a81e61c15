"""A treatment note is written, and saved once, whatever becomes of the session meanwhile.

Behind Caddy (deploy/caddy/forward_auth.caddy) a request comes here only with a session, and X-Countersign-User says
whose. Where GATEWAY is set nothing stands in front, and the app asks GET /v1/forward-auth itself, as the proxy would.
"""

import http.client
import json
import os
import re
from html import escape
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from string import Template
from urllib.parse import urlsplit

HERE = Path(__file__).parent
FILES = {"/note.js": "text/javascript", "/note.css": "text/css"}
NOTE = re.compile(r"/notes/([0-9a-f-]{36})")
PASSED_ON = ("Accept", "Cookie", "Sec-Fetch-Site", "User-Agent")
MOST_BYTES = 100_000


class App(ThreadingHTTPServer):
    """`notes`: of each its author and text, by the id that the page chose. A real app has a database here."""

    def __init__(self) -> None:
        host, _, port = os.environ.get("LISTEN", "0.0.0.0:8000").rpartition(":")
        self.sign_in = os.environ.get("SIGN_IN", "/auth")
        self.gateway = os.environ.get("GATEWAY", "")
        self.notes: dict[str, tuple[str, str]] = {}
        super().__init__((host, int(port)), Handler)


class Handler(BaseHTTPRequestHandler):
    server: App
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        path = urlsplit(self.path).path
        if path in FILES:
            self._answer(200, (HERE / path[1:]).read_text(), FILES[path])
        elif path == "/healthz":
            self._answer(200, "ok", "text/plain")
        elif (user := self._user()) is not None:
            mine = [text for author, text in self.server.notes.values() if author == user]
            notes = "".join(f"<li>{escape(text)}</li>" for text in mine)
            values = {"user": escape(user), "sign_in": escape(self.server.sign_in), "notes": notes}
            page = HERE / ("back.html" if path == "/back" else "note.html")
            self._answer(200, Template(page.read_text()).substitute(values), "text/html")

    def do_PUT(self) -> None:
        """Saves a note. Its id is the page's, so that the same save twice is one note."""
        body = self.rfile.read(min(int(self.headers.get("Content-Length") or 0), MOST_BYTES))
        user, found = self._user(), NOTE.fullmatch(self.path)
        if user is None:
            return
        author, _ = self.server.notes.get(found[1] if found else "", (user, ""))
        if found is None:
            self._problem(404, "not-found", "There is nothing here.")
        elif user != author or user != self.headers["X-Author"]:  # another person than the page was opened for
            self._problem(409, "another-user", "Somebody else is signed in now, and this note is not theirs.")
        else:
            self.server.notes[found[1]] = (user, str(json.loads(body)["text"]))
            self._answer(200, "{}", "application/json")

    def _user(self) -> str | None:
        """Who sends this. None: the request is refused, and answered as the sign-in says."""
        if not self.server.gateway:
            return self.headers["X-Countersign-User"]  # from the proxy alone: it drops what a client sends as such
        own = f"http://127.0.0.1:{self.server.server_port}"
        if self.headers.get("Origin", own) != own or self.headers["Host"] != urlsplit(own).netloc:
            self._problem(403, "forbidden", "This was sent by another site.")
            return None
        forwarded = {"Method": self.command, "Proto": "http", "Host": self.headers["Host"], "Uri": self.path}
        asked = {name: self.headers[name] for name in PASSED_ON if name in self.headers}
        asked |= {f"X-Forwarded-{name}": value for name, value in forwarded.items()}
        gateway = http.client.HTTPConnection(urlsplit(self.server.gateway).netloc, timeout=10)
        gateway.request("GET", "/v1/forward-auth", headers=asked)
        answer = gateway.getresponse()
        if answer.status == 200:
            return answer.headers["X-Countersign-User"]
        kind, location = answer.headers.get("Content-Type", "text/plain"), answer.headers.get("Location", "")
        self._answer(answer.status, answer.read().decode(), kind, location)
        return None

    def _problem(self, status: int, kind: str, detail: str) -> None:
        problem = {"type": f"urn:sample:problem:{kind}", "status": status, "detail": detail}
        self._answer(status, json.dumps(problem), "application/problem+json")

    def _answer(self, status: int, content: str, kind: str, location: str = "") -> None:
        self.send_response(status)
        headers = {"Content-Type": kind, "Content-Length": str(len(content.encode())), "Cache-Control": "no-store"}
        headers["Content-Security-Policy"] = "default-src 'self'; img-src data:; frame-ancestors 'none'"
        for name, value in {**headers, **({"Location": location} if location else {})}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content.encode())

    def log_message(self, format: str, *args: object) -> None:
        """Nothing: what is asked for here is no operator's business."""


if __name__ == "__main__":
    App().serve_forever()
