"""The clinic's audit trail: page by page, or whole as JSON Lines or CSV."""

import json
from collections.abc import AsyncIterator, Callable
from datetime import datetime
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Query
from pydantic import BaseModel, Field
from starlette.responses import JSONResponse, Response, StreamingResponse

from services.identity.api import csv_lines
from services.identity.api.fields import Body, rfc3339
from services.identity.audit_events import AuditPage, ClinicEvent, Filter
from services.identity.gateway import Gateway
from services.identity.guards import Access, Admits, GatewayDep
from services.identity.model import Clinic, Role
from services.identity.particulars import OPAQUE

router = APIRouter(tags=["clinic"])

_Administrator = Annotated[Access, Depends(Admits.active(role=Role.ADMIN))]

_COLUMNS = (
    *("id", "at", "service", "kind", "actor_kind", "actor_id", "subject_id", "address", "request_id", "detail"),
)
_JSON_LINES, _CSV = "application/x-ndjson", "text/csv"
_EXPORTS: dict[int | str, dict[str, Any]] = {
    200: {
        "content": {
            _JSON_LINES: {
                "schema": {"type": "string"},
                "example": '{"id":"7f1c…","at":"2026-11-21T08:00:20.000Z","service":"otp",…}\n',
            },
            _CSV: {"schema": {"type": "string"}, "example": '"id","at","service",…\r\n'},
        }
    }
}


class ActorView(BaseModel):
    kind: Literal["user", "app", "operator", "system", "anonymous"]
    id: str | None


class AuditEventView(BaseModel):
    id: str
    at: datetime
    service: Literal["identity", "otp", "policy", "notifier"]
    kind: str
    actor: ActorView
    subject_id: str | None
    address: str | None
    request_id: str | None
    detail: dict[str, Any]


class AuditPageView(BaseModel):
    events: list[AuditEventView]
    next_cursor: str | None


class ListAuditEvents(Body):
    limit: Annotated[int, Field(ge=1, le=500)] = 50
    cursor: Annotated[str, Field(min_length=1, max_length=200, pattern=OPAQUE)] | None = None
    user: Annotated[str | None, Field(min_length=1, max_length=64)] = None
    kind: Annotated[str | None, Field(min_length=1, max_length=64)] = None
    format: Literal["json", "jsonl", "csv"] = "json"


@router.get("/v1/audit-events", response_model=AuditPageView, responses=_EXPORTS)
async def list_audit_events(
    access: _Administrator, gateway: GatewayDep, asked: Annotated[ListAuditEvents, Query()]
) -> Response:
    """What happened in the clinic, newest first. `format=jsonl` and `format=csv` give all that match, from the cursor
    on where there is one, whatever `limit` says; one that breaks off was cut short by an outage."""
    clinic = access.clinic
    wanted = Filter(asked.user or "", asked.kind or "")
    if asked.format == "json":
        page = await gateway.audit_events.page(clinic.id, wanted, asked.limit, asked.cursor)
        return JSONResponse({"events": [_as_json(one) for one in page.events], "next_cursor": page.next_cursor})
    return await export(gateway, clinic, wanted, asked.format, asked.cursor)


async def export(
    gateway: Gateway, clinic: Clinic, wanted: Filter, form: Literal["jsonl", "csv"], cursor: str | None
) -> Response:
    """All that match, as a file."""
    pages = gateway.audit_events.pages(clinic.id, wanted, cursor)
    first = await anext(pages)  # what is away now is a 503, not a file without an end
    header, line, media_type = (
        ("", _json_line, _JSON_LINES) if form == "jsonl" else (csv_lines.line(_COLUMNS), _csv_line, _CSV)
    )
    disposition = f'attachment; filename="{clinic.slug}-audit-events.{form}"'
    return StreamingResponse(
        _lines(header, first, pages, line), media_type=media_type, headers={"Content-Disposition": disposition}
    )


async def _lines(
    header: str, first: AuditPage, rest: AsyncIterator[AuditPage], line: Callable[[ClinicEvent], str]
) -> AsyncIterator[str]:
    yield header + "".join(line(one) for one in first.events)
    async for page in rest:
        yield "".join(line(one) for one in page.events)


def _json_line(one: ClinicEvent) -> str:
    return json.dumps(_as_json(one), ensure_ascii=False, separators=(",", ":")) + "\n"


def _csv_line(one: ClinicEvent) -> str:
    event = one.event
    named = (event.actor_kind, event.actor_id, event.subject_id, event.address, event.request_id, event.detail)
    return csv_lines.line([event.id, rfc3339(event.at), one.service, event.kind, *(cell or "" for cell in named)])


def _as_json(one: ClinicEvent) -> dict[str, Any]:
    event = one.event
    return {
        "id": event.id,
        "at": rfc3339(event.at),
        "service": one.service,
        "kind": event.kind,
        "actor": {"kind": event.actor_kind, "id": event.actor_id},
        "subject_id": event.subject_id,
        "address": event.address,
        "request_id": event.request_id,
        "detail": json.loads(event.detail),
    }
