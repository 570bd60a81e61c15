"""What happened to my account, until I have dismissed it."""

from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Path
from pydantic import BaseModel
from starlette.responses import JSONResponse, Response

from services.identity.api.fields import rfc3339
from services.identity.guards import Access, Admits, GatewayDep
from services.identity.notice_words import NoticeKind
from services.identity.notices import ShownNotice

router = APIRouter(tags=["me"])

_Active = Annotated[Access, Depends(Admits.active())]
_NoticeId = Annotated[str, Path(min_length=1, max_length=64, examples=["ntc_3b5a6978e0f1d28d1f0a6c2b4e4f7d9c"])]


class NoticeAnswer(BaseModel):
    """`detail`: what the sentence was made of; what is not known, or not of the kind, is left out."""

    id: str
    kind: NoticeKind
    at: datetime
    sentence: str
    detail: dict[str, str | int | bool]


class NoticesAnswer(BaseModel):
    notices: list[NoticeAnswer]


@router.get("/v1/me/notices", response_model=NoticesAnswer)
async def get_notices(access: _Active, gateway: GatewayDep) -> JSONResponse:
    """What happened to my account and I have not dismissed, newest first, at most 100."""
    found = await gateway.notices.own(access.signed_in)
    return JSONResponse({"notices": [_as_json(shown) for shown in found]})


@router.delete("/v1/me/notices/{notice_id}", status_code=204, response_class=Response)
async def delete_notice(access: _Active, gateway: GatewayDep, notice_id: _NoticeId) -> Response:
    """I have read this one."""
    await gateway.notices.dismiss(access.signed_in, notice_id)
    return Response(status_code=204)


def _as_json(shown: ShownNotice) -> dict[str, Any]:
    notice = shown.notice
    return {
        "id": notice.id,
        "kind": notice.kind.value,
        "at": rfc3339(notice.at),
        "sentence": shown.sentence,
        "detail": dict(notice.detail),
    }
