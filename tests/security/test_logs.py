"""What somebody sends does nothing in the log: no new line, no colour, no cursor, no text turned round."""

import io
import json
import logging
import sys

import pytest
import structlog

from central.logs import configure_logs, inert

HOSTILE = "a\r\n2026-11-20 [info] signed_in name=admin\x1b[2K\x1b]0;title\x07\x08\x00\x9b31m\u202egnp.\u2028b"
LIVELY = [sign for sign in HOSTILE if not sign.isprintable()]


def test_every_lively_sign_of_a_value_is_written_out() -> None:
    event = inert(None, "error", {"event": "refused", "path": HOSTILE, "number": 3})
    assert not [sign for sign in LIVELY if sign in event["path"]]
    assert "\\r\\n2026" in event["path"]
    assert event["number"] == 3


def test_a_trace_keeps_its_lines_and_nothing_else() -> None:
    event = inert(None, "error", {"event": "x", "trace": f"one\ntwo {HOSTILE}"})
    assert event["trace"].startswith("one\ntwo a\\r\n")
    assert "\x1b" not in event["trace"]


@pytest.mark.parametrize("on_a_terminal", [True, False])
def test_the_log_of_central_has_one_line_for_one_event(monkeypatch: pytest.MonkeyPatch, on_a_terminal: bool) -> None:
    written = io.StringIO()
    monkeypatch.setattr(written, "isatty", lambda: on_a_terminal)
    monkeypatch.setattr(sys, "stderr", written)
    before, handlers = structlog.get_config(), logging.getLogger().handlers[:]
    logging.getLogger().handlers.clear()
    try:
        configure_logs()
        structlog.get_logger("x").error("request_failed", path=HOSTILE, user_agent=HOSTILE)
        logging.getLogger("library").warning("read %s", HOSTILE.replace("\n", ""))
    finally:
        structlog.configure(**before)
        logging.getLogger().handlers[:] = handlers
    lines = written.getvalue().splitlines()
    assert len(lines) == 2
    assert not [sign for sign in LIVELY if sign != "\x1b" and sign in written.getvalue().replace("\n", "")]
    assert "\x1b[2K" not in written.getvalue()
    if not on_a_terminal:
        assert json.loads(lines[0])["path"].startswith("a\\r\\n")
