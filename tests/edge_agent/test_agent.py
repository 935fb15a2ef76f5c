"""The story at the bench: nothing says "saved" before it is, what cannot be read disturbs nothing, it stops cleanly."""

import os
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from threading import Event
from typing import Any

import cv2
import numpy as np
import pytest

from edge_agent.agent import Reader, Seen, Shutter, keep, read_plates, run
from edge_agent.barcode import FoundCode, find_code
from edge_agent.camera import FolderCamera
from edge_agent.clock import read_clocks
from edge_agent.config import CameraConfig, Config, KeepConfig
from edge_agent.frame import CameraError, Frame, StaleFrame
from edge_agent.outbox import Outbox
from edge_agent.vision import Photograph, PlateView, Refused
from protocol import codec
from tests.edge_agent.bench import make_photograph, open_outbox, states
from tests.make import NOON, make_code, make_reading


class Script:
    """A camera that gives these frames, raises these errors, and then asks the agent to stop."""

    def __init__(self, stop: Event, *takes: Frame | Exception) -> None:
        self._stop, self._takes, self.closed = stop, list(takes), False

    def capture(self) -> Frame | None:
        if not self._takes:
            self._stop.set()
            return None
        take = self._takes.pop(0)
        if isinstance(take, Exception):
            raise take
        return take

    def close(self) -> None:
        self.closed = True


def frame(name: str = "plate.jpg", data: bytes | None = None, key: str | None = None) -> Frame:
    return Frame(data or make_photograph(name), name, NOON, 5, key=key)


def see(one: Frame) -> Seen:
    """Any decodable photograph shows a clean plate."""
    image = cv2.imdecode(np.frombuffer(one.data, np.uint8), cv2.IMREAD_COLOR)
    if image is None:
        raise Refused("not_an_image", f"{one.name} is no photograph")
    pattern = make_reading(1)
    view = PlateView(pattern.plate, pattern.wells, pattern.quality, {}, Photograph(image, 320, 240, "image/jpeg"))
    return Seen(view, FoundCode(make_code()))


@pytest.fixture
def outbox(tmp_path: Path) -> Iterator[Outbox]:
    with closing(open_outbox(tmp_path)) as opened:
        yield opened


def bench(outbox: Any, tmp_path: Path, said: list[dict[str, Any]], **fields: Any) -> Reader:
    values: dict[str, Any] = {
        "config": Config(state_dir=tmp_path, keep=KeepConfig(free_mb=0)),
        "device_id": "bench-1",
        "model": make_reading(1).model,
        "boot_id": "boot-1",
        "outbox": outbox,
        "open_camera": lambda: Script(Event()),
        "read": see,
        "say": said.append,
        "clocks": read_clocks,
        "random_bytes": os.urandom,
        "notify": lambda _: None,
        "trouble_s": 0.01,
    }
    return Reader(**(values | fields))


def test_a_reading_is_in_the_outbox_when_it_is_said_to_be_saved(tmp_path: Path, outbox: Outbox) -> None:
    stop, held = Event(), []
    camera = Script(stop, frame())
    reader = bench(outbox, tmp_path, [], open_camera=lambda: camera, say=lambda _: held.append(states(tmp_path)))
    read_plates(reader, stop, Event())
    assert [list(one.values()) for one in held] == [["pending"]]
    assert camera.closed


def test_the_saved_event_names_what_was_kept(tmp_path: Path, outbox: Outbox) -> None:
    reader = bench(outbox, tmp_path, [])
    event = keep(reader, frame("a.jpg"))
    (sent,) = outbox.send([event["id"]])
    reading = codec.decode_reading(sent.document)
    assert (event["event"], event["photo"], event["plate"]) == ("saved", "a.jpg", "S-1001,NDV,1")
    assert event["digest"] == codec.digest(sent.document)
    assert (reading.captured_at, reading.clock.monotonic_ns, reading.picture.name) == (NOON, 5, "a.jpg")


def test_a_file_is_remembered_together_with_its_reading(tmp_path: Path, outbox: Outbox) -> None:
    keep(bench(outbox, tmp_path, []), frame(key="plate.jpg|1|2"))
    assert outbox.was_captured("plate.jpg|1|2")


def test_the_same_photograph_twice_is_two_readings_of_one_picture(tmp_path: Path, outbox: Outbox) -> None:
    reader, data = bench(outbox, tmp_path, []), make_photograph()
    assert len({keep(reader, frame(name, data))["id"] for name in ("first.jpg", "again.jpg")}) == 2
    assert len(list((tmp_path / "pictures").iterdir())) == 1


def test_what_cannot_be_read_is_said_kept_and_not_read_again(tmp_path: Path, outbox: Outbox) -> None:
    event = keep(bench(outbox, tmp_path, []), frame("notes.jpg", b"this is no photograph", key="notes"))
    assert (event["event"], event["reason"]) == ("refused", "not_an_image")
    assert outbox.was_captured("notes")
    assert [path.read_bytes() for path in (tmp_path / "refused").iterdir()] == [b"this is no photograph"]
    assert states(tmp_path) == {}


def test_a_bug_in_reading_is_a_refusal_and_the_next_plate_is_read(tmp_path: Path, outbox: Outbox) -> None:
    stop, said = Event(), list[dict[str, Any]]()

    def read(one: Frame) -> Seen:
        if one.name == "a.jpg":
            raise ZeroDivisionError("a bug")
        return see(one)

    camera = Script(stop, frame("a.jpg"), frame("b.jpg"))
    read_plates(bench(outbox, tmp_path, said, open_camera=lambda: camera, read=read), stop, Event())
    assert [(event["event"], event.get("reason")) for event in said] == [("refused", "internal_error"), ("saved", None)]


def test_a_reading_without_every_well_is_never_kept(tmp_path: Path, outbox: Outbox) -> None:
    def read(one: Frame) -> Seen:
        seen = see(one)
        del seen.view.wells["H12"]
        return seen

    assert keep(bench(outbox, tmp_path, [], read=read), frame())["reason"] == "internal_error"
    assert states(tmp_path) == {}


def test_a_full_disk_says_nothing_until_the_reading_is_kept(tmp_path: Path, outbox: Outbox) -> None:
    stop, said, failures = Event(), list[dict[str, Any]](), [sqlite3.OperationalError("database or disk is full")] * 3

    class Full:
        """The outbox on a disk that is full three times."""

        def put(self, *args: Any) -> int:
            assert not said
            if failures:
                raise failures.pop()
            return outbox.put(*args)

        def prune(self, *args: Any) -> None:
            """Nothing to prune."""

    camera = Script(stop, frame())
    read_plates(bench(Full(), tmp_path, said, open_camera=lambda: camera), stop, Event())
    assert [event["event"] for event in said] == ["saved"]


def test_below_the_reserve_nothing_is_photographed(tmp_path: Path, outbox: Outbox) -> None:
    stop, said = Event(), list[dict[str, Any]]()
    config = Config(state_dir=tmp_path, keep=KeepConfig(free_mb=10**9))
    camera = Script(stop, frame())
    reader = bench(outbox, tmp_path, said, config=config, open_camera=lambda: camera, notify=counting(stop, 2))
    read_plates(reader, stop, Event())
    assert said == []


def counting(stop: Event, most: int) -> Callable[[str], None]:
    """A systemd that stops the agent at its n-th word."""
    heard: list[str] = []

    def notify(state: str) -> None:
        heard.append(state)
        if len(heard) >= most:
            stop.set()

    return notify


def test_a_camera_that_fails_is_tried_again(tmp_path: Path, outbox: Outbox) -> None:
    stop, said = Event(), list[dict[str, Any]]()
    camera = Script(stop, CameraError("unplugged"), frame("a.jpg"), CameraError("unplugged"), frame("b.jpg"))
    read_plates(bench(outbox, tmp_path, said, open_camera=lambda: camera), stop, Event())
    assert [event["photo"] for event in said] == ["a.jpg", "b.jpg"]


def test_a_stale_frame_is_refused_shown_and_the_next_plate_is_read(tmp_path: Path, outbox: Outbox) -> None:
    stop, said = Event(), list[dict[str, Any]]()
    camera = Script(stop, frame("a.jpg"), StaleFrame(frame("a.jpg"), "the same picture twice"), frame("b.jpg"))
    read_plates(bench(outbox, tmp_path, said, open_camera=lambda: camera), stop, Event())
    assert [(event["event"], event.get("reason")) for event in said] == [
        ("saved", None),
        ("refused", "stale_frame"),
        ("saved", None),
    ]
    refusal = outbox.last_refusal()
    assert refusal is not None
    assert (refusal.reason, refusal.detail) == ("stale_frame", "the same picture twice")


def test_the_same_photograph_twice_in_a_folder_is_never_stale(tmp_path: Path, outbox: Outbox) -> None:
    stop, said, folder = Event(), list[dict[str, Any]](), tmp_path / "photographs"
    folder.mkdir()
    for name in ("first.jpg", "again.jpg"):
        (folder / name).write_bytes(make_photograph())
        os.utime(folder / name, (1, 1))

    def say(event: dict[str, Any]) -> None:
        said.append(event)
        if len(said) == 2:
            stop.set()

    camera = FolderCamera(folder, outbox.was_captured)
    read_plates(bench(outbox, tmp_path, [], open_camera=lambda: camera, say=say), stop, Event())
    assert [event["event"] for event in said] == ["saved", "saved"]


def test_a_companion_that_breaks_starts_again_and_stops_with_the_agent(tmp_path: Path, outbox: Outbox) -> None:
    stop, starts = Event(), list[int]()

    def sync(stopped: Event) -> None:
        starts.append(1)
        if len(starts) == 1:
            raise RuntimeError("a bug")
        stop.set()
        stopped.wait()

    run(bench(outbox, tmp_path, []), {"sync": sync}, stop, Event())
    assert len(starts) == 2


def test_a_live_camera_looks_when_asked_or_at_its_interval() -> None:
    now_s, asked = [100.0], Event()
    shutter = Shutter(Config(camera=CameraConfig(kind="opencv", interval_s=10)), asked, lambda: now_s[0])
    assert [shutter.is_due(), shutter.is_due()] == [True, False]
    asked.set()
    assert [shutter.is_due(), shutter.is_due()] == [True, False]
    now_s[0] += 10
    assert shutter.is_due()


def test_a_live_camera_without_an_interval_waits_to_be_asked() -> None:
    asked = Event()
    shutter = Shutter(Config(camera=CameraConfig(kind="picamera2")), asked)
    assert not shutter.is_due()
    asked.set()
    assert shutter.is_due()


def test_a_photograph_without_a_code_is_kept_without_a_plate(tmp_path: Path, outbox: Outbox) -> None:
    def read(one: Frame) -> Seen:
        seen = see(one)
        return Seen(seen.view, find_code(seen.view.photograph.image_bgr))

    event = keep(bench(outbox, tmp_path, [], read=read), frame())
    assert (event["event"], event["plate"], event["note"]) == ("saved", None, "no code in the picture")
