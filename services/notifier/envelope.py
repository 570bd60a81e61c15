"""What is sealed in a delivery's row: the number and the code, for that row alone."""

import json
from dataclasses import dataclass, field

from services.common.sealing import Keyring
from services.notifier.model import DeliveryId


@dataclass(frozen=True, slots=True)
class Content:
    """Whom to send to, and which code."""

    to: str = field(repr=False)
    code: str = field(repr=False)


def seal(keyring: Keyring, delivery_id: DeliveryId, content: Content) -> bytes:
    return keyring.seal(json.dumps({"to": content.to, "code": content.code}).encode(), _context(delivery_id))


def unseal(keyring: Keyring, delivery_id: DeliveryId, sealed: bytes) -> Content:
    """Raises SealingError where it was not sealed for this delivery under a key of ours."""
    content = json.loads(keyring.open(sealed, _context(delivery_id)))
    return Content(to=content["to"], code=content["code"])


def _context(delivery_id: DeliveryId) -> str:
    return f"delivery|sealed|{delivery_id}|1"  # table, column, row, version
