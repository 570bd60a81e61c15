"""Routes of the two_factor part of the API."""

from fastapi import APIRouter

router = APIRouter()
