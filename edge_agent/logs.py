"""Logs on standard error: for a person on a terminal, as JSON everywhere else. Standard output is for events only."""

import logging
import sys
from typing import Any

import structlog


def configure_logs(level: str = "info") -> None:
    """Call once, at the start of a program."""
    on_terminal = sys.stderr.isatty()
    # Tracebacks without local variables: those may hold a token or a password.
    last: list[Any] = (
        [structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback)]
        if on_terminal
        else [structlog.processors.format_exc_info, structlog.processors.JSONRenderer()]
    )
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            *last,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level.upper()]),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=False,
    )
