"""The story at the bench: nothing says "saved" before it is, what cannot be read disturbs nothing, it stops cleanly."""

import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from threading import Event
from typing import Any

import cv2
import numpy as np
import pytest

from edge_agent.agent import Reader, Seen, Shutter, keep, read_plates, run
from edge_agent.barcode import FoundCode, find_code
from edge_agent.cameras.camera import FolderCamera
from edge_agent.cameras.frame import CameraError, Frame, StaleFrame
from edge_agent.clock import BootClock
from edge_agent.clock_floor import saved_clock
from edge_agent.config import CameraConfig, Config, KeepConfig
from edge_agent.outbox.outbox import Outbox
from edge_agent.progress import Progress
from edge_agent.troubles import Troubles
from edge_agent.vision import Photograph, PlateView, Refused
from protocol import codec
from protocol.messages import Trouble
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

    def check(self) -> None:
        """It is always there."""

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
    say = fields.get("say", said.append)
    values: dict[str, Any] = {
        "config": Config(state_dir=tmp_path, keep=KeepConfig(free_mb=0)),
        "device_id": "bench-1",
        "model": make_reading(1).model,
        "outbox": outbox,
        "camera": Script(Event()),
        "read": see,
        "say": say,
        "clock": BootClock("boot-1"),
        "random_bytes": os.urandom,
        "troubles": Troubles(lambda: NOON, say),
        "progress": Progress(),
        "trouble_s": 0.01,
    }
    return Reader(**(values | fields))


def kinds(said: list[dict[str, Any]], kind: str) -> list[dict[str, Any]]:
    return [event for event in said if event["event"] == kind]


def test_a_reading_is_in_the_outbox_when_it_is_said_to_be_saved(tmp_path: Path, outbox: Outbox) -> None:
    stop, held = Event(), []
    camera = Script(stop, frame())
    reader = bench(outbox, tmp_path, [], camera=camera, say=lambda _: held.append(states(tmp_path)))
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
    read_plates(bench(outbox, tmp_path, said, camera=camera, read=read), stop, Event())
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
            assert kinds(said, "saved") == []
            if failures:
                raise failures.pop()
            return outbox.put(*args)

        def prune(self, *args: Any) -> None:
            """Nothing to prune."""

        def troubles(self) -> tuple[()]:
            """It knows of none."""
            return ()

    camera = Script(stop, frame())
    read_plates(bench(Full(), tmp_path, said, camera=camera), stop, Event())
    assert [(event["event"], event.get("part")) for event in said] == [
        ("trouble", "outbox"),
        ("mended", "outbox"),
        ("saved", None),
    ]


def test_below_the_reserve_nothing_is_photographed_and_that_is_said(tmp_path: Path, outbox: Outbox) -> None:
    stop, said = Event(), list[dict[str, Any]]()
    config = Config(state_dir=tmp_path, keep=KeepConfig(free_mb=10**9))

    def say(event: dict[str, Any]) -> None:
        said.append(event)
        stop.set()

    read_plates(bench(outbox, tmp_path, said, config=config, camera=Script(stop, frame()), say=say), stop, Event())
    assert [(event["event"], event["part"]) for event in said] == [("trouble", "disk")]
    assert "MB free (expected at least 1000000000 MB)" in said[0]["detail"]


def test_a_camera_that_fails_is_tried_again(tmp_path: Path, outbox: Outbox) -> None:
    stop, said = Event(), list[dict[str, Any]]()
    camera = Script(stop, CameraError("unplugged"), frame("a.jpg"), CameraError("unplugged"), frame("b.jpg"))
    read_plates(bench(outbox, tmp_path, said, camera=camera), stop, Event())
    assert [event["photo"] for event in kinds(said, "saved")] == ["a.jpg", "b.jpg"]
    assert [
        (event["event"], event.get("photo", event.get("detail"))) for event in said if event["event"] != "mended"
    ] == [
        ("trouble", "unplugged"),
        ("saved", "a.jpg"),
        ("trouble", "unplugged"),
        ("saved", "b.jpg"),
    ]


def test_a_stale_frame_is_refused_shown_and_the_next_plate_is_read(tmp_path: Path, outbox: Outbox) -> None:
    stop, said = Event(), list[dict[str, Any]]()
    camera = Script(stop, frame("a.jpg"), StaleFrame(frame("a.jpg"), "the same picture twice"), frame("b.jpg"))
    read_plates(bench(outbox, tmp_path, said, camera=camera), stop, Event())
    assert [event["event"] for event in said] == ["saved", "refused", "trouble", "mended", "saved"]
    assert said[1]["reason"] == "stale_frame"
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
    read_plates(bench(outbox, tmp_path, [], camera=camera, say=say), stop, Event())
    assert [event["event"] for event in said] == ["saved", "saved"]


def test_a_companion_that_breaks_starts_again_and_stops_with_the_agent(tmp_path: Path, outbox: Outbox) -> None:
    stop, starts = Event(), list[int]()

    def sync(stopped: Event) -> None:
        starts.append(1)
        if len(starts) == 1:
            raise RuntimeError("a bug")
        stop.set()
        stopped.wait()

    def work(stopped: Event) -> None:
        stopped.wait()

    run(work, {"sync": sync}, Progress(), lambda _: None, stop, trouble_s=0.01)
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


def test_a_reading_says_what_is_known_of_the_clock(tmp_path: Path, outbox: Outbox) -> None:
    clock = BootClock("boot-7", quality=lambda: "synchronised")
    event = keep(bench(outbox, tmp_path, [], clock=clock), frame())
    (sent,) = outbox.send([event["id"]])
    told = codec.decode_reading(sent.document).clock
    assert (told.boot_id, told.monotonic_ns, told.quality, told.offset_s) == ("boot-7", 5, "synchronised", None)


def test_the_time_is_saved_when_the_agent_stops(tmp_path: Path, outbox: Outbox) -> None:
    stop = Event()
    read_plates(bench(outbox, tmp_path, [], camera=Script(stop, frame())), stop, Event())
    assert saved_clock(tmp_path) is not None


def test_a_camera_that_waits_is_asked_whether_it_is_there(tmp_path: Path, outbox: Outbox) -> None:
    stop, said = Event(), list[dict[str, Any]]()

    class Unplugged(Script):
        def check(self) -> None:
            stop.set()
            raise CameraError("unplugged")

    config = Config(state_dir=tmp_path, camera=CameraConfig(kind="opencv"), keep=KeepConfig(free_mb=0))
    read_plates(bench(outbox, tmp_path, said, config=config, camera=Unplugged(stop)), stop, Event())
    assert [(event["event"], event["detail"]) for event in said] == [("trouble", "unplugged")]


def test_what_the_outbox_finds_wrong_is_shown_with_the_rest(tmp_path: Path, outbox: Outbox) -> None:
    stop, said, trouble = Event(), list[dict[str, Any]](), Trouble("outbox", "3 readings are damaged", NOON)

    class Damaged:
        """An outbox that has found something."""

        def troubles(self) -> tuple[Trouble, ...]:
            stop.set()
            return (trouble,)

        def prune(self, *args: Any) -> None:
            """Nothing to prune."""

    read_plates(bench(Damaged(), tmp_path, said, camera=Script(stop)), stop, Event())
    assert said == [{"event": "trouble", "part": "outbox", "detail": "3 readings are damaged"}]
