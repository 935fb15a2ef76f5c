"""Logs on standard error: readable on a terminal, JSON anywhere else. Tracebacks without the values of variables."""

import logging
import re
import sys
from collections.abc import MutableMapping
from typing import Any, Final

import structlog

# Everything that moves a terminal's cursor, colours it or begins a line; and the signs that turn a text round.
_LIVELY: Final = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")
_LIVELY_BUT_LINES: Final = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")


def inert(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """What somebody sent is written into the log so that it does nothing there; only our own traces have lines."""
    for name, value in event.items():
        if isinstance(value, str):
            lively = _LIVELY_BUT_LINES if name in ("trace", "exception") else _LIVELY
            event[name] = lively.sub(lambda sign: sign[0].encode("unicode_escape").decode(), value)
    return event


class _InertFormatter(logging.Formatter):
    """The same for what libraries log."""

    def format(self, record: logging.LogRecord) -> str:
        """One record; its trace keeps its lines."""
        return _LIVELY_BUT_LINES.sub(lambda sign: sign[0].encode("unicode_escape").decode(), super().format(record))


def configure_logs() -> None:
    """Call once, at the start of `serve`."""
    processors: list[Any] = [
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    if sys.stderr.isatty():
        processors += [inert, structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback)]
    else:
        processors += [structlog.processors.format_exc_info, inert, structlog.processors.JSONRenderer()]
    structlog.configure(
        processors=processors,
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )
    libraries = logging.StreamHandler(sys.stderr)
    libraries.setFormatter(_InertFormatter("%(levelname)s %(name)s: %(message)s"))
    logging.basicConfig(level=logging.WARNING, handlers=[libraries])
