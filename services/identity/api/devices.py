"""Remembered browsers, and browsers that are never to be: shared computers."""

from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Path
from pydantic import BaseModel
from starlette.responses import JSONResponse, Response

from services.identity.api.fields import rfc3339
from services.identity.api.sessions import NoFields
from services.identity.guards import Access, Admits, GatewayDep
from services.identity.model import DeviceId, Role, UserId
from services.identity.remembering import OwnDevice

router = APIRouter(tags=["devices"])

_Active = Annotated[Access, Depends(Admits.active())]
_FreshAdministrator = Annotated[Access, Depends(Admits.active(role=Role.ADMIN, step_up=True))]
_UserId = Annotated[UserId, Path(max_length=64, examples=["usr_2f0c9d4e8a7b4c1d9e6f3a2b1c0d9e8f"])]
_DeviceId = Annotated[DeviceId, Path(min_length=1, max_length=64, examples=["dev_7c1e2a3b4d5f60718293a4b5c6d7e8f9"])]


class OwnDeviceAnswer(BaseModel):
    """`expires_at`: when it has to give a code again, as things are now."""

    id: str
    current: bool
    remembered_at: datetime
    last_used_at: datetime
    expires_at: datetime
    address: str | None
    user_agent: str | None


class OwnDevicesAnswer(BaseModel):
    devices: list[OwnDeviceAnswer]


@router.get("/v1/me/devices", response_model=OwnDevicesAnswer)
async def get_devices(access: _Active, gateway: GatewayDep) -> JSONResponse:
    """The browsers in which I need no code at sign-in, the last used first."""
    found = await gateway.remembering.own(access.signed_in)
    return JSONResponse({"devices": [_device_as_json(own, access.session.device_id) for own in found]})


@router.delete("/v1/me/devices/{device_id}", status_code=204, response_class=Response)
async def delete_device(access: _Active, gateway: GatewayDep, device_id: _DeviceId) -> Response:
    """Forget one of these browsers."""
    await gateway.remembering.forget(access.signed_in, access.client, device_id)
    return Response(status_code=204)


@router.delete("/v1/users/{user_id}/devices", status_code=204, response_class=Response)
async def delete_user_devices(access: _FreshAdministrator, gateway: GatewayDep, user_id: _UserId) -> Response:
    """Forget every browser of someone."""
    user = await gateway.users.one(access.clinic, access.actor, user_id)
    await gateway.remembering.forget_all_of(access.signed_in, access.client, user)
    return Response(status_code=204)


@router.put("/v1/device/shared", status_code=204, response_class=Response)
async def put_shared(access: _FreshAdministrator, gateway: GatewayDep, _: NoFields | None = None) -> Response:
    """Mark this browser as a shared computer: it never remembers anybody."""
    response = Response(status_code=204)
    response.set_cookie(**gateway.cookies.shared_marker(access.clinic.id))
    await gateway.accounts.note_shared(access.signed_in, access.client, is_shared=True)
    return response


@router.delete("/v1/device/shared", status_code=204, response_class=Response)
async def delete_shared(access: _FreshAdministrator, gateway: GatewayDep) -> Response:
    """This browser is nobody else's any more."""
    response = Response(status_code=204)
    response.set_cookie(**gateway.cookies.shared_marker_gone())
    await gateway.accounts.note_shared(access.signed_in, access.client, is_shared=False)
    return response


def _device_as_json(own: OwnDevice, current: DeviceId | None) -> dict[str, Any]:
    device = own.device
    return {
        "id": device.id,
        "current": device.id == current,
        "remembered_at": rfc3339(device.remembered_at),
        "last_used_at": rfc3339(device.last_used_at),
        "expires_at": rfc3339(own.expires_at),
        "address": device.address,
        "user_agent": device.user_agent,
    }
