"""Routes of the me part of the API."""

from fastapi import APIRouter

router = APIRouter()
