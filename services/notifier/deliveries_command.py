"""The operator's commands `deliveries` and `resend`. They print ids, states and masked numbers; never a number or a
code, which they could not read. Exit code 1: refused, or no such delivery; 2: the database could not be reached."""

import asyncio
import dataclasses
import json
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from typing import Annotated, Any

import typer

from services.common import logs
from services.common.clock import Clock, SystemClock
from services.common.errors import ErrorCode, ServiceError
from services.common.postgres import Database
from services.notifier.hastening import Hastening
from services.notifier.model import DeliveryId, State, is_delivery_id
from services.notifier.operator_store import Happened, OperatorStore, ShownDelivery
from services.notifier.settings import Settings

_UNDER_WAY = (State.QUEUED, State.SENDING)


def add_delivery_commands(app: typer.Typer, load: Callable[[], Settings]) -> None:
    """Adds both. They need the application role's database and nothing else."""

    @app.command("deliveries")
    def deliveries(
        delivery_id: Annotated[str, typer.Argument(metavar="[ID]", help="One delivery, with its history.")] = "",
        state: Annotated[State | None, typer.Option(help="Those in this state; else queued and sending.")] = None,
        limit: Annotated[int, typer.Option(min=1, max=1000, help="At most so many.")] = 50,
        newest: Annotated[bool, typer.Option("--newest", help="Newest first, not oldest.")] = False,
        as_json: Annotated[bool, typer.Option("--json", help="A JSON object a line.")] = False,
    ) -> None:
        """Shows deliveries, oldest first; one by its id with all that happened to it."""

        async def look(store: OperatorStore, clock: Clock) -> None:
            if delivery_id:
                found = await store.find(DeliveryId(delivery_id)) if is_delivery_id(delivery_id) else None
                if found is None:
                    raise ServiceError(ErrorCode.NOT_FOUND, "There is no such delivery.")
                history = await store.history(found, clock.now())
                typer.echo(_json(found, history=history) if as_json else _whole(found, history))
                return
            page = await store.page([state] if state else _UNDER_WAY, limit, newest_first=newest)
            for each in page:
                typer.echo(_json(each) if as_json else _line(each, clock.now()))
            if not as_json:
                typer.echo(_closing(len(page), limit), err=True)

        _run(load, look)

    @app.command("resend")
    def resend(delivery_id: Annotated[str, typer.Argument(metavar="ID")]) -> None:
        """Tries a delivery that waits for its next try again at once. What may have been sent is refused."""

        async def hasten(store: OperatorStore, clock: Clock) -> None:
            found = await Hastening(store, clock).resend(delivery_id)
            typer.echo(f"{found.id} to {found.to_hint} is due now; it would have waited until {_time(found.next_at)}.")

        _run(load, hasten)


def _run(load: Callable[[], Settings], act: Callable[[OperatorStore, Clock], Awaitable[None]]) -> None:
    settings = load()
    logs.configure("notifier", "ERROR")

    async def with_database() -> None:
        database = Database(settings.database_url, settings.database_password.get_secret_value(), 1)
        await database.open()
        try:
            await act(OperatorStore(database), SystemClock())
        finally:
            await database.close()

    try:
        asyncio.run(with_database())
    except ServiceError as error:
        if error.code is ErrorCode.UNAVAILABLE:
            typer.echo(f"{error.detail} (no answer from {error.members.get('away')})", err=True)
            raise typer.Exit(2) from None
        typer.echo(error.detail, err=True)
        raise typer.Exit(1) from None


def _closing(count: int, limit: int) -> str:
    if count == 0:
        return "No deliveries."
    return f"{count} shown; there may be more: --limit." if count == limit else f"{count} shown."


def _line(delivery: ShownDelivery, now: datetime) -> str:
    waits = f", next try {_time(delivery.next_at)}" if delivery.state is State.QUEUED and delivery.next_at > now else ""
    why = f" ({delivery.reason})" if delivery.reason else ""
    return (
        f"{delivery.id}  {delivery.state}{why}{waits}  {delivery.kind} by {delivery.channel} to {delivery.to_hint}, "
        f"attempt {delivery.attempt}, {_age(now - delivery.created_at)} old"
    )


def _whole(delivery: ShownDelivery, history: list[Happened]) -> str:
    fields = [f"{name:18}{value}" for name, value in _members(delivery).items() if value not in (None, "", [])]
    events = [
        f"  {_time(event.at)}  {event.kind}, attempt {event.attempt}"
        + (f": {event.reason}" if event.reason else "")
        + (" (by the operator)" if event.actor_kind == "operator" else "")
        for event in history
    ]
    return "\n".join([*fields, "history", *events])


def _json(delivery: ShownDelivery, **more: list[Happened]) -> str:
    members = _members(delivery)
    for name, items in more.items():
        members[name] = [_members(item) for item in items]
    return json.dumps(members, ensure_ascii=False)


def _members(shown: ShownDelivery | Happened) -> dict[str, Any]:
    return {
        name: _time(value) if isinstance(value, datetime) else value
        for name, value in dataclasses.asdict(shown).items()
    }


def _time(at: datetime) -> str:
    return at.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _age(age: timedelta) -> str:
    seconds = max(0, int(age.total_seconds()))
    for name, size in (("d", 86_400), ("h", 3_600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{seconds // size} {name}"
    return f"{seconds} s"
