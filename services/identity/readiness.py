"""Whether the gateway can do its work: all it depends on is asked at once, and what does not answer is named.

Without the limits' store sign-in goes on, and without the notifier all but text messages does: these two are told of,
and keep nobody from being ready.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass

from services.common.errors import ServiceError
from services.common.logs import get_logger

_WITHIN_SECONDS = 1.0

Check = Callable[[], Awaitable[None]]

_log = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Readiness:
    """What answered, by name, and the names of what is needed and did not."""

    answers: Mapping[str, bool]
    needed_and_away: tuple[str, ...]


class ReadinessProbe:
    def __init__(self, needed: Mapping[str, Check], told: Mapping[str, Check]) -> None:
        self._needed = frozenset(needed)
        self._checks = {**needed, **told}

    async def look(self) -> Readiness:
        names = list(self._checks)
        answers = dict(zip(names, await asyncio.gather(*(self._answers(name) for name in names)), strict=True))
        return Readiness(answers, tuple(name for name in names if name in self._needed and not answers[name]))

    async def _answers(self, name: str) -> bool:
        try:
            async with asyncio.timeout(_WITHIN_SECONDS):
                await self._checks[name]()
        except Exception as error:
            # Whatever goes wrong in asking, the answer is that it is away; the log says what went wrong.
            why = {"why": error.why} if isinstance(error, ServiceError) and error.why else {}
            _log.warning("not_answering", what=name, error=type(error).__name__, **why)
            return False
        return True
