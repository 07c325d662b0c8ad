"""Logging of long-running commands: structlog and the standard library on one stream, in one form, in UTC."""

from __future__ import annotations

import logging
import sys
from collections.abc import MutableMapping
from typing import Any, Final, TextIO

import structlog
from structlog.typing import Processor

from streams.base.credentials import without_credentials
from streams.settings.service import LogSettings

#: Keys whose values say who did or wrote something: never logged, whatever a caller hands over.
PERSONAL: Final = frozenset({"user_id", "user", "users", "text", "texts", "key", "value", "body", "payload"})
_OURS: Final = ("streams", "deploy", "encoders")
#: Libraries that log every reconnect at INFO.
_CHATTY: Final = ("aiokafka", "faust", "mode", "httpx", "httpcore", "grpc", "asyncio", "uvicorn.access")


def set_up(log: LogSettings, stream: TextIO | None = None) -> None:
    """Send all logging to `stream` (standard error), from `log.level` on, in `log.form`."""
    out = stream or sys.stderr
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        without_personal_data,
    ]
    handler = logging.StreamHandler(out)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[*shared, structlog.stdlib.ExtraAdder(), without_personal_data],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *_renderers(log, out)],
        )
    )
    level = logging.getLevelName(log.level.upper())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    # At DEBUG aiokafka logs whole records: that level is for our own modules only, whatever is asked for.
    root.setLevel(max(level, logging.INFO))
    for name in _OURS:
        logging.getLogger(name).setLevel(level)
    for name in _CHATTY:
        logging.getLogger(name).setLevel(max(level, logging.WARNING if level > logging.DEBUG else logging.INFO))
    structlog.configure(
        processors=[structlog.stdlib.filter_by_level, *shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=False,
    )


def without_personal_data(_: Any, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Put a dash where a value could say who did or wrote something."""
    for name in PERSONAL & event.keys():
        event[name] = "-"
    return event


def without_addresses_credentials(_: Any, __: str, event: Any) -> Any:
    """Show every address without credentials: in a whole line of text, or in all that an event holds."""
    return _shown(event)


def _shown(value: Any) -> Any:
    match value:
        case None | bool() | int() | float():
            return value
        case dict():
            return {str(name): _shown(one) for name, one in value.items()}
        case list() | tuple():
            return [_shown(one) for one in value]
    return without_credentials(value if isinstance(value, str) else repr(value))


def _renderers(log: LogSettings, out: TextIO) -> list[Processor]:
    if log.form == "json":
        traces = structlog.tracebacks.ExceptionDictTransformer(show_locals=False)  # locals hold what people wrote
        return [
            structlog.processors.ExceptionRenderer(traces),
            without_addresses_credentials,
            structlog.processors.JSONRenderer(ensure_ascii=False),
        ]
    return [
        structlog.dev.ConsoleRenderer(colors=out.isatty(), exception_formatter=structlog.dev.plain_traceback),
        without_addresses_credentials,
    ]
