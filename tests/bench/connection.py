"""One kept HTTP/1.1 connection, as little client as serves: what is measured is the other side."""

import asyncio
import json
from collections.abc import Mapping
from typing import Any


class Connection:
    """Sends JSON and reads JSON, one request at a time. Not a general client: no redirects, no chunks, no TLS."""

    def __init__(self, host: str, port: int) -> None:
        self._address = host, port
        self._reader: asyncio.StreamReader | None = None
        self._writer: asyncio.StreamWriter | None = None

    async def post(self, path: str, body: Any, token: str | None = None) -> tuple[int, Any]:
        """The status and the answer's JSON."""
        content = json.dumps(body).encode()
        sent = {"Content-Type": "application/json", "Content-Length": str(len(content))}
        return await self._ask("POST", path, token, sent, content)

    async def get(
        self, path: str, token: str | None = None, headers: Mapping[str, str] | None = None
    ) -> tuple[int, Any]:
        """The same for what is only asked."""
        return await self._ask("GET", path, token, headers or {}, b"")

    async def _ask(
        self, method: str, path: str, token: str | None, headers: Mapping[str, str], content: bytes
    ) -> tuple[int, Any]:
        sent = {"Host": f"{self._address[0]}:{self._address[1]}", **headers}
        if token:
            sent["Authorization"] = f"Bearer {token}"
        lines = "".join(f"{name}: {value}\r\n" for name, value in sent.items())
        head = f"{method} {path} HTTP/1.1\r\n{lines}\r\n"
        if self._writer is None or self._reader is None:
            self._reader, self._writer = await asyncio.open_connection(*self._address)
        self._writer.write(head.encode() + content)
        answered = (await self._reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
        length = next(int(line.split(":")[1]) for line in answered.splitlines() if line.startswith("content-length:"))
        answer = await self._reader.readexactly(length)
        if "connection: close" in answered:
            await self.close()
        return int(answered[9:12]), json.loads(answer) if answer else None

    async def close(self) -> None:
        if self._writer is not None:
            self._writer.close()
            self._reader = self._writer = None
