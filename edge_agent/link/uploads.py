"""Gives central the pictures that it asked for, over HTTP, after their readings were accepted.

A picture's address is its SHA-256, so giving it twice changes nothing. It goes in pieces; after a cut, central says how
many bytes it has, and only the rest is sent.
"""

import sqlite3
import time
from collections.abc import Callable
from enum import StrEnum
from hashlib import sha256
from pathlib import Path
from threading import Event
from typing import Final

import httpx
import structlog

from edge_agent.link.enrol import Access, EnrolmentError, problem
from edge_agent.outbox.outbox import Outbox
from edge_agent.outbox.rows import WantedPicture
from protocol.delivery import retry_delay_s

# Larger, and a cut costs more than it need; smaller, and every megabyte pays for several round trips.
PIECE_BYTES: Final = 1024 * 1024
LOOK_EVERY_S: Final = 1.0
# Longer and a stop of the agent waits for a dead line; shorter and a busy central is taken for one.
ANSWER_S: Final = 6.0
# A picture may meet this many surprises (a piece out of place, a discarded copy) before it waits for the next round.
MOST_SURPRISES: Final = 5

_log = structlog.get_logger(__name__)


class Outcome(StrEnum):
    """What became of one picture."""

    DONE = "done"
    LOST = "lost"
    LATER = "later"


def run(
    outbox: Outbox,
    load_access: Callable[[], Access | None],
    jitter: Callable[[], float],
    stop: Event,
    busy: Callable[[], None] = lambda: None,
) -> None:
    """Upload what is wanted until `stop`; after a failure wait longer each time.

    `busy` is called before each exchange with central, which may take minutes on a bad line.
    """
    failures = 0
    hooks = {"request": [lambda _: busy()]}
    with httpx.Client(timeout=httpx.Timeout(ANSWER_S, connect=ANSWER_S), event_hooks=hooks) as client:
        while not stop.is_set():
            try:
                failures = 0 if upload_wanted(outbox, load_access(), client, stop) else failures + 1
            except (httpx.HTTPError, httpx.InvalidURL, EnrolmentError, OSError, sqlite3.OperationalError) as error:
                failures += 1
                _log.warning("upload interrupted", error=str(error) or type(error).__name__)
            _pause(outbox, retry_delay_s(failures, jitter()) if failures else LOOK_EVERY_S, stop)


def _pause(outbox: Outbox, delay_s: float, stop: Event) -> None:
    """Wait, but not with a picture that is wanted only since: one that central refuses must not hold up the others."""
    tried, until_s = {picture.sha256 for picture in outbox.wanted()}, time.monotonic() + delay_s
    while not stop.wait(LOOK_EVERY_S) and time.monotonic() < until_s:
        if not {picture.sha256 for picture in outbox.wanted()} <= tried:
            return


def upload_wanted(outbox: Outbox, access: Access | None, client: httpx.Client, stop: Event) -> bool:
    """Upload each wanted picture once; whether all of them are settled one way or the other."""
    if access is None or not access.central_url:
        return True
    finished = True
    for picture in outbox.wanted():
        if stop.is_set():
            break
        outcome = upload(picture, access, client)
        if outcome is Outcome.DONE:
            outbox.mark_uploaded(picture.sha256)
        elif outcome is Outcome.LOST:
            outbox.mark_lost(picture.sha256)
        else:
            finished = False
    return finished


def upload(picture: WantedPicture, access: Access, client: httpx.Client) -> Outcome:
    """Give central one picture, from where it left off."""
    content = _content(picture)
    if content is None:
        return Outcome.LOST
    url = f"{access.central_url}/api/v1/images/{picture.sha256}"
    headers = {"Authorization": f"Bearer {access.enrolment.upload_token}"}
    for _ in range(MOST_SURPRISES):
        response = client.head(url, headers=headers)
        if response.status_code == httpx.codes.NOT_FOUND:
            response = _send_from(
                _offset(response), content, url, headers | {"Content-Type": picture.media_type}, client
            )
        if response.status_code in (httpx.codes.OK, httpx.codes.CREATED):
            return Outcome.DONE
        if response.status_code not in _START_AGAIN:
            break
    _log.warning("central did not take a picture", sha256=picture.sha256, answer=problem(response))
    return Outcome.LATER


# The partial copy was discarded (422), or pieces crossed (409, 416): what central has must be asked anew.
_START_AGAIN: Final = frozenset(
    {
        httpx.codes.CONFLICT,
        httpx.codes.REQUESTED_RANGE_NOT_SATISFIABLE,
        httpx.codes.UNPROCESSABLE_ENTITY,
        httpx.codes.ACCEPTED,
    }
)


def _send_from(offset: int, content: bytes, url: str, headers: dict[str, str], client: httpx.Client) -> httpx.Response:
    """PUT the pieces from `offset` on, each where central says it stands; the last answer."""
    # Central may hold every byte and not be done with them: then the whole is sent again.
    offset = offset if offset < len(content) else 0
    while True:
        piece = content[offset : offset + PIECE_BYTES]
        span = f"bytes {offset}-{offset + len(piece) - 1}/{len(content)}"
        response = client.put(url, content=piece, headers=headers | {"Content-Range": span})
        reached = _offset(response)
        if response.status_code != httpx.codes.ACCEPTED or not offset < reached < len(content):
            return response
        offset = reached


def _offset(response: httpx.Response) -> int:
    text = response.headers.get("Upload-Offset", "0")
    return int(text) if text.isdecimal() else 0


def _content(picture: WantedPicture) -> bytes | None:
    """The picture's bytes, if they still are the ones that were captured."""
    path: Path = picture.path
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        _log.error("a wanted picture is missing on this reader", path=str(path))
        return None
    found = sha256(content).hexdigest()
    if found != picture.sha256:
        _log.error("a wanted picture is damaged on this reader", sha256=found, expected=picture.sha256)
        return None
    return content
