"""One line per object at a bench: a reading with its photograph, an outbox, a photograph that is one."""

import hashlib
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np

from edge_agent.clock import Moment
from edge_agent.outbox.look import list_rows, open_for_looking
from edge_agent.outbox.outbox import Outbox
from protocol.messages import Picture
from tests.make import make_document, make_reading_id
from tests.standins import ManualClock


def kept(number: int, **fields: object) -> tuple[bytes, bytes]:
    """The document of reading `number`, and the photograph that it names."""
    photograph = f"photograph {number}".encode() * 100
    digest = hashlib.sha256(photograph).hexdigest()
    picture = Picture(digest, len(photograph), 1600, 1200, "image/jpeg", f"{number}.jpg")
    return make_document(number, picture=picture, **fields), photograph


def open_outbox(
    folder: Path,
    clocks: Callable[[], Moment] | None = None,
    session: str = "first",
    new_epoch: Callable[[], str] = lambda: "epoch-1",
) -> Outbox:
    """An outbox whose epoch is `epoch-1` where it is new."""
    return Outbox(folder, session=session, clocks=clocks or ManualClock(), new_epoch=new_epoch)


def put(outbox: Outbox, *numbers: int) -> list[str]:
    """Keep these readings; their ids."""
    for number in numbers:
        outbox.put(*kept(number))
    return [make_reading_id(number) for number in numbers]


def states(folder: Path) -> dict[str, str]:
    """The state of every reading in an outbox's file."""
    connection = open_for_looking(folder / "outbox.db")
    try:
        return {row["id"]: row["state"] for row in list_rows(connection, True)}
    finally:
        connection.close()


def make_photograph(text: str = "", size_px: tuple[int, int] = (320, 240)) -> bytes:
    """A JPEG of a grey field with words on it."""
    image = np.full((size_px[1], size_px[0], 3), 128, np.uint8)
    cv2.putText(image, text, (10, 100), cv2.FONT_HERSHEY_SIMPLEX, 1.0, (0, 0, 0), 2)
    return cv2.imencode(".jpg", image)[1].tobytes()


def picture_bytes(*numbers: int) -> int:
    """The size of the photographs of these readings."""
    return sum(len(kept(number)[1]) for number in numbers)
