"""A stand-in for Twilio's Messages API, as far as we use it: it takes text messages, sends none, and shows them in an
inbox; it calls back as Twilio does, signed, and fails on demand. Everything is in memory and gone when it stops, but
for what `--journal FILE` keeps: then it knows when it starts again what it was asked and what it took.

    python -m deploy.twilio_standin --listen 127.0.0.1:0

STANDIN_ACCOUNT_SID and STANDIN_AUTH_TOKEN, or the same with _FILE, say whom it lets in. Beside Twilio's paths:
`GET /inbox?to=+E164` (newest first), `GET /calls` (every attempt to send, refused ones too), `POST`, `GET` and
`DELETE /faults`, `GET /healthz`. A fault is `{"kind": …, "count": 1, "to": "+E164"}`; kinds:

- 429 (`retry_after` seconds, by default 1), 401, 500: that status, nothing taken;
- a Twilio error code such as 21211 or 21610: status 400 with it, nothing taken;
- "hang" (`seconds`, by default 30): no answer, then the connection is dropped, nothing taken;
- "garbage": status 201 with something that is not JSON, nothing taken;
- "drop_after_accept": the message is taken, the connection dropped without an answer;
- "slow" (`seconds`): taken at once, answered late;
- "undelivered" (`code`, by default 30003): taken and answered, but it ends undelivered.
"""

import argparse
import asyncio
import contextlib
import hmac
import json
import os
import re
import secrets
import signal
from collections import deque
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from aiohttp import BasicAuth, ClientError, ClientSession, ClientTimeout, web

from deploy.twilio_journal import Journal
from deploy.twilio_messages import API, ERRORS, Fault, Message, sign, what_is_wrong

_MOST_KEPT = 10_000


class Standin:
    """Keeps the messages, the faults to come and the callbacks under way. `step_seconds`: between two statuses."""

    def __init__(
        self, account_sid: str, auth_token: str, step_seconds: float = 0.1, journal: Path | None = None
    ) -> None:
        self._account_sid = account_sid
        self._auth_token = auth_token
        self._step_seconds = step_seconds
        self._journal = Journal(journal)
        calls, messages = self._journal.read()
        self._messages: deque[Message] = deque(reversed(messages[-_MOST_KEPT:]), maxlen=_MOST_KEPT)
        self._calls: deque[dict[str, Any]] = deque(reversed(calls[-_MOST_KEPT:]), maxlen=_MOST_KEPT)
        self._faults: list[Fault] = []
        self._under_way: set[asyncio.Task[None]] = set()
        self._session: ClientSession | None = None

    def app(self) -> web.Application:
        app = web.Application()
        app.add_routes(
            [
                web.post(f"{API}.json", self._create),
                web.get(f"{API}/{{sid}}.json", self._fetch),
                web.get("/inbox", self._inbox),
                web.get("/calls", self._list_calls),
                web.get("/faults", self._list_faults),
                web.post("/faults", self._add_fault),
                web.delete("/faults", self._clear_faults),
                web.get("/healthz", self._healthz),
            ]
        )
        app.on_startup.append(self._go_on)
        app.on_cleanup.append(self._close)
        return app

    # --- Twilio's own paths

    async def _create(self, request: web.Request) -> web.StreamResponse:
        form = {name: str(value) for name, value in (await request.post()).items()}
        call: dict[str, Any] = {"id": secrets.token_hex(8), "at": datetime.now(UTC).isoformat()}
        call |= {"form": form, "answered": None}
        self._calls.appendleft(call)
        self._journal.called(call)
        response: web.StreamResponse | None = self._refuse_stranger(request)
        if response is None and (code := what_is_wrong(form)):
            response = _error(400, code)
        if response is None:
            response = await self._fail_on_demand(request, form)
        if response is None:
            response = web.json_response(self._take(form).as_twilio_says(), status=201)
        call["answered"] = response.status if request.transport else None
        self._journal.called(call)
        return response

    async def _fetch(self, request: web.Request) -> web.Response:
        refusal = self._refuse_stranger(request)
        if refusal is not None:
            return refusal
        sid = request.match_info["sid"]
        found = next((message for message in self._messages if message.sid == sid), None)
        return web.json_response(found.as_twilio_says()) if found else _error(404, 20404)

    def _refuse_stranger(self, request: web.Request) -> web.Response | None:
        try:
            given = BasicAuth.decode(request.headers.get("Authorization", ""))
        except ValueError:
            return _error(401, 20003)
        right = hmac.compare_digest(
            f"{given.login}:{given.password}".encode(), f"{self._account_sid}:{self._auth_token}".encode()
        )
        if not right:
            return _error(401, 20003)
        return None if request.match_info["account_sid"] == self._account_sid else _error(404, 20404)

    def _take(self, form: Mapping[str, str], ends_as: str = "delivered", error_code: int | None = None) -> Message:
        service_sid = form.get("MessagingServiceSid")
        message = Message(
            account_sid=self._account_sid,
            to=form["To"],
            body=form["Body"],
            sender=form.get("From"),
            messaging_service_sid=service_sid,
            status_callback=form.get("StatusCallback"),
            status="accepted" if service_sid else "queued",
            ends_as=ends_as,
            ends_with=error_code,
        )
        self._messages.appendleft(message)
        self._journal.has(message)
        self._begin_life(message)
        return message

    async def _go_on(self, _: web.Application) -> None:
        """With what was on its way when it was stopped."""
        for message in self._messages:
            if message.status != message.ends_as:
                self._begin_life(message)

    def _begin_life(self, message: Message) -> None:
        task = asyncio.get_running_loop().create_task(self._live(message))
        self._under_way.add(task)
        task.add_done_callback(self._under_way.discard)

    async def _live(self, message: Message) -> None:
        for status in ("sent", message.ends_as):
            await asyncio.sleep(self._step_seconds)
            message.status, message.updated_at = status, datetime.now(UTC)
            if status == "sent":
                message.sent_at = message.updated_at
            else:
                message.error_code = message.ends_with
            self._journal.has(message)
            if message.status_callback:
                await self._call_back(message, message.status_callback)

    async def _call_back(self, message: Message, url: str) -> None:
        form = {
            "AccountSid": message.account_sid,
            "ApiVersion": "2010-04-01",
            "MessageSid": message.sid,
            "MessageStatus": message.status,
            "SmsSid": message.sid,
            "SmsStatus": message.status,
            "To": message.to,
        }
        optional = {
            "From": message.sender,
            "MessagingServiceSid": message.messaging_service_sid,
            "ErrorCode": str(message.error_code) if message.error_code else None,
        }
        form |= {name: value for name, value in optional.items() if value is not None}
        headers = {"X-Twilio-Signature": sign(self._auth_token, url, form), "User-Agent": "TwilioProxy/1.1"}
        if self._session is None:
            self._session = ClientSession(timeout=ClientTimeout(total=15))
        for _ in range(2):  # as Twilio: once more where the connection failed, never after an answer
            with contextlib.suppress(ClientError, TimeoutError):
                async with self._session.post(url, data=form, headers=headers, allow_redirects=False):
                    return
            await asyncio.sleep(self._step_seconds)

    # --- Faults

    async def _fail_on_demand(self, request: web.Request, form: Mapping[str, str]) -> web.StreamResponse | None:
        fault = next((each for each in self._faults if each.to in (None, form.get("To"))), None)
        if fault is None:
            return None
        fault.count -= 1
        if fault.count <= 0:
            self._faults.remove(fault)
        match fault.kind:
            case "429":
                return _error(429, 20429, {"Retry-After": f"{fault.retry_after:g}"})
            case "401":
                return _error(401, 20003)
            case "500":
                return _error(500, 20500)
            case "garbage":
                return web.Response(status=201, text="<html>nothing that Twilio would say</html>")
            case "undelivered":
                return web.json_response(self._take(form, "undelivered", fault.code).as_twilio_says(), status=201)
            case "slow":
                taken = self._take(form)
                await asyncio.sleep(fault.seconds)
                return web.json_response(taken.as_twilio_says(), status=201)
            case "hang":
                await asyncio.sleep(fault.seconds)
            case "drop_after_accept":
                self._take(form)
            case _:
                return _error(400, int(fault.kind))
        if request.transport:
            request.transport.abort()
        return web.Response(status=500)  # reaches nobody

    async def _add_fault(self, request: web.Request) -> web.Response:
        try:
            self._faults.append(Fault.parse(await request.json()))
        except (ValueError, TypeError) as error:
            return web.json_response({"message": str(error)}, status=422)
        return await self._list_faults(request)

    async def _list_faults(self, _: web.Request) -> web.Response:
        return web.json_response([{"kind": each.kind, "count": each.count, "to": each.to} for each in self._faults])

    async def _clear_faults(self, _: web.Request) -> web.Response:
        self._faults.clear()
        return web.Response(status=204)

    # --- What people and tests look at

    async def _inbox(self, request: web.Request) -> web.Response:
        # In a query string a bare + reads as a space; whoever types one means the number.
        to = request.query.get("to", "").strip().removeprefix("+")
        wanted = (message for message in self._messages if not to or message.to == f"+{to}")
        return web.json_response([message.as_inbox_says() for message in wanted])

    async def _list_calls(self, _: web.Request) -> web.Response:
        return web.json_response(list(self._calls))

    async def _healthz(self, _: web.Request) -> web.Response:
        return web.json_response({"status": "ok", "stands_in_for": "twilio"})

    async def _close(self, _: web.Application) -> None:
        for task in self._under_way:
            task.cancel()
        await asyncio.gather(*self._under_way, return_exceptions=True)
        if self._session:
            await self._session.close()


def _error(status: int, code: int, headers: Mapping[str, str] | None = None) -> web.Response:
    body = {
        "code": code,
        "message": ERRORS.get(code, "Something is wrong with this message"),
        "more_info": f"https://www.twilio.com/docs/errors/{code}",
        "status": status,
    }
    return web.json_response(body, status=status, headers=headers)


def _setting(name: str) -> str:
    file = os.environ.get(f"{name}_FILE")
    value = Path(file).read_text().strip() if file else os.environ.get(name, "")
    if not value:
        raise SystemExit(f"{name} or {name}_FILE must be set")
    return value


async def _serve(host: str, port: int, standin: Standin) -> None:
    runner = web.AppRunner(standin.app(), access_log=None, shutdown_timeout=1)
    await runner.setup()
    site = web.TCPSite(runner, host, port)
    await site.start()
    address = runner.addresses[0]
    print(json.dumps({"listening": f"http://{address[0]}:{address[1]}"}), flush=True)
    stopped = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopped.set)
    await stopped.wait()
    await runner.cleanup()


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m deploy.twilio_standin", description="A stand-in for Twilio.")
    parser.add_argument("--listen", default="127.0.0.1:8090", help="host:port; port 0 picks a free one and prints it")
    parser.add_argument("--step-seconds", type=float, default=0.1, help="between queued, sent and delivered")
    parser.add_argument("--journal", type=Path, help="a file to which it adds what it is asked and what it takes")
    arguments = parser.parse_args()
    host, _, port = arguments.listen.rpartition(":")
    account_sid, auth_token = _setting("STANDIN_ACCOUNT_SID"), _setting("STANDIN_AUTH_TOKEN")
    if not re.fullmatch(r"AC[0-9a-fA-F]{32}", account_sid):
        raise SystemExit("STANDIN_ACCOUNT_SID must be AC and 32 hexadecimal digits")
    standin = Standin(account_sid, auth_token, arguments.step_seconds, arguments.journal)
    asyncio.run(_serve(host or "127.0.0.1", int(port), standin))


if __name__ == "__main__":
    main()
