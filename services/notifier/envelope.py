"""What is sealed in a delivery's row: whom to send to, and which code or what to tell, for that row alone."""

import json
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from services.common.keyring_in_use import Sealing
from services.notifier.model import DeliveryId, Happening


@dataclass(frozen=True, slots=True)
class Content:
    """A code, or what a notice tells."""

    to: str = field(repr=False)
    says: str | Happening = field(repr=False)


def seal(keyring: Sealing, delivery_id: DeliveryId, content: Content) -> bytes:
    says: dict[str, Any]
    match content.says:
        case str(code):
            says = {"code": code}
        case Happening() as happening:
            says = {
                "at": happening.at.isoformat(),
                "timezone": happening.timezone,
                "address": happening.address,
                "browser": happening.browser,
                "method": happening.method,
                "backup_codes_left": happening.backup_codes_left,
            }
    return keyring.seal(json.dumps({"to": content.to, **says}).encode(), _context(delivery_id))


def unseal(keyring: Sealing, delivery_id: DeliveryId, sealed: bytes) -> Content:
    """Raises SealingError where it was not sealed for this delivery under a key of ours."""
    content = json.loads(keyring.open(sealed, _context(delivery_id)))
    to = content.pop("to")
    if "code" in content:
        return Content(to, content["code"])
    return Content(to, Happening(at=datetime.fromisoformat(content.pop("at")), **content))


def _context(delivery_id: DeliveryId) -> str:
    return f"delivery|sealed|{delivery_id}|1"  # table, column, row, version
