"""The clinic's particulars, as its administrators see and change them."""

from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter, Depends
from pydantic import BaseModel
from starlette.responses import JSONResponse

from services.identity.api.fields import Body, Country, Locale, Name, Timezone, rfc3339
from services.identity.clinic import ClinicChange
from services.identity.guards import Access, Admits, GatewayDep
from services.identity.model import Clinic, Role

router = APIRouter(tags=["clinic"])

_Administrator = Annotated[Access, Depends(Admits.active(role=Role.ADMIN))]
_FreshAdministrator = Annotated[Access, Depends(Admits.active(role=Role.ADMIN, step_up=True))]


class ClinicView(BaseModel):
    id: str
    slug: str
    name: str
    timezone: str
    country: str
    locale: str
    created_at: datetime


class PatchClinic(Body):
    name: Name = None  # type: ignore[assignment]  # absent, never null
    timezone: Timezone = None  # type: ignore[assignment]
    country: Country = None  # type: ignore[assignment]
    locale: Locale = None  # type: ignore[assignment]


@router.get("/v1/clinic", response_model=ClinicView)
async def get_clinic(access: _Administrator) -> JSONResponse:
    """The clinic's particulars."""
    return JSONResponse(clinic_as_json(access.clinic))


@router.patch("/v1/clinic", response_model=ClinicView)
async def patch_clinic(access: _FreshAdministrator, gateway: GatewayDep, body: PatchClinic) -> JSONResponse:
    """Change the clinic's particulars."""
    change = ClinicChange(body.name, body.timezone, body.country, body.locale)
    return JSONResponse(clinic_as_json(await gateway.clinics.change(access.signed_in, access.client, change)))


def clinic_as_json(clinic: Clinic) -> dict[str, Any]:
    return {
        "id": clinic.id,
        "slug": clinic.slug,
        "name": clinic.name,
        "timezone": clinic.timezone,
        "country": clinic.country,
        "locale": clinic.locale,
        "created_at": rfc3339(clinic.created_at),
    }
