"""Structured logs, one JSON object a line, each with the request id; values under secret-looking names never pass."""

import logging
import re
import sys
import uuid
from collections.abc import Mapping, MutableMapping
from contextvars import ContextVar
from functools import lru_cache
from typing import Any

import structlog

from services.common.exception_text import as_text

request_id_var: ContextVar[str] = ContextVar("request_id", default="")

_SECRET_NAME = re.compile(
    r"pass(word|phrase)|secret|token|code|authorization|cookie|signature|otpauth|^(to|phone)$", re.I
)
_HARMLESS_NAMES = frozenset({"status_code", "error_code", "grpc_code", "code_kind"})
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_REQUEST_ID = re.compile(r"[A-Za-z0-9_-]{8,64}")


def new_request_id() -> str:
    return uuid.uuid4().hex


def accept_request_id(candidate: str | None) -> str:
    """The caller's request id where it is harmless to log, else a new one."""
    return candidate if candidate and _REQUEST_ID.fullmatch(candidate) else new_request_id()


def mask_phone(number: str) -> str:
    """A number as it may be shown: country and last two digits, e.g. '+49 ••••67'."""
    return f"{number[:3]} ••••{number[-2:]}" if len(number) > 6 else "••••"


def _add_request_id(_: Any, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    if request_id := request_id_var.get():
        event.setdefault("request_id", request_id)
    return event


def _redact(_: Any, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    for name, value in event.items():
        event[name] = _clean(name, value)
    return event


@lru_cache(maxsize=1000)
def _is_secret(name: str) -> bool:
    return name not in _HARMLESS_NAMES and _SECRET_NAME.search(name) is not None


def _clean(name: str, value: Any) -> Any:
    if _is_secret(name):
        return "[redacted]"
    if isinstance(value, str):
        return value if name == "exception" else _CONTROL.sub("�", value)
    if value is None or isinstance(value, int | float):
        return value
    if isinstance(value, Mapping):
        return {str(key): _clean(str(key), inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_clean("", inner) for inner in value]
    return value


def configure(service: str, level: str = "INFO") -> None:
    """Sends structlog and the standard library's logs to stderr as JSON lines."""
    with_exception = structlog.processors.ExceptionRenderer(as_text)
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        _add_request_id,
        lambda _, __, event: {"service": service, **event},
    ]
    structlog.configure(
        processors=[*shared, with_exception, _redact, structlog.processors.JSONRenderer()],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelName(level.upper())),
        logger_factory=structlog.WriteLoggerFactory(file=sys.stderr),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                with_exception,
                _redact,
                structlog.processors.JSONRenderer(),
            ],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(max(logging.getLevelName(level.upper()), logging.WARNING))


def get_logger(name: str) -> structlog.typing.FilteringBoundLogger:
    logger: structlog.typing.FilteringBoundLogger = structlog.get_logger(source=name)
    return logger
