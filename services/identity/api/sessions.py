"""Routes of the sessions part of the API."""

from fastapi import APIRouter

router = APIRouter()
