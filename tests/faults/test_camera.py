"""E10: a camera that hangs, is slow or gone, or gives black, half or old pictures: no reading is made of them, a person
hears of it, and the bench goes on when the camera does, in the same process.

The drivers are stand-ins that follow a script; everything of ours is real, up to the networks where that says more.
"""

import gc
import os
import random
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event, Thread
from types import SimpleNamespace
from typing import Any, Final

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from edge_agent.agent import TROUBLE_S, Reader, Seen, read_plates
from edge_agent.barcode import FoundCode
from edge_agent.cameras.frame import CameraError, Frame
from edge_agent.cameras.live import encode_jpeg
from edge_agent.cameras.thread import PATIENCE_S
from edge_agent.clock import BootClock, read_clocks
from edge_agent.compose import camera_of
from edge_agent.config import SHIPPED_MODEL, CameraConfig, Config, KeepConfig
from edge_agent.outbox.outbox import Outbox
from edge_agent.progress import Progress
from edge_agent.troubles import Troubles
from edge_agent.vision import Photograph, PlateView, Refused, load_model, read_plate
from protocol.messages import PlateCode
from protocol.profiles import profile_named
from provisioning.processes import wait_for
from tests.faults.record import Result, is_full_run, record, times
from tests.make import make_reading

SIZE_PX: Final = (128, 96)
DRIVERS: Final = ("picamera2", "opencv")
TITLES: Final = {"picamera2": "A picamera2 camera", "opencv": "An OpenCV camera"}
# Faults of a live camera, each of which a person must hear of.
FAULTS: Final = (
    "absent", "raises", "hangs", "slow", "black", "white", "truncated", "wrong size", "previous picture",
)  # fmt: skip
# These are noticed only in a picture that somebody asked for.
IN_THE_PICTURE: Final = frozenset({"black", "white", "truncated", "wrong size", "previous picture"})
UNPLUGGED: Final = times(200, 1000)
# A short run waits a quarter as long before it gives up, and before it tries again.
PACE: Final = 1.0 if is_full_run() else 0.25

pytestmark = [pytest.mark.system, pytest.mark.proof("E10")]


@dataclass
class Bench:
    """What lies in front of the camera, and what is wrong with it now."""

    plate: int = 1
    fault: str = ""
    ticks: int = 0
    opened: int = 0
    closed: int = 0
    healed: Event = field(default_factory=Event)
    last: NDArray[np.uint8] | None = None

    def suffer(self, fault: str) -> None:
        """From now on this is wrong; nothing, if it is empty."""
        if fault:
            self.healed.clear()
        self.fault = fault
        if not fault:
            self.healed.set()

    def open(self) -> None:
        """Open the device, as its driver would."""
        if self.fault == "absent":
            raise IndexError("list index out of range")
        self.opened += 1

    def picture(self) -> NDArray[np.uint8]:
        """What the driver gives of the plate that lies there."""
        fault = self.fault
        if fault in ("absent", "raises"):
            raise RuntimeError("Camera frontend has timed out!")
        if fault == "hangs":
            self.healed.wait()
        if fault == "slow":
            self.healed.wait(2.6)
        if fault == "previous picture" and self.last is not None:
            return self.last
        self.ticks += 1
        image = _spoilt(_scene(self.plate, self.ticks), fault)
        if not fault:
            self.last = image
        return image


def _scene(plate: int, tick: int) -> NDArray[np.uint8]:
    """Sixteen bars that say which plate it is, and the noise of a sensor."""
    width, height = SIZE_PX
    image = np.random.default_rng(tick).integers(40, 60, (height, width, 3), dtype=np.uint8)
    for bit in range(16):
        if plate >> bit & 1:
            image[: height // 2, bit * 8 : bit * 8 + 8] += 150
    return image


def _spoilt(image: NDArray[np.uint8], fault: str) -> NDArray[np.uint8]:
    if fault in ("black", "white"):
        image[:] = 255 * (fault == "white")
    if fault == "truncated":
        image[SIZE_PX[1] // 2 :] = 128
    return image[: SIZE_PX[1] // 2] if fault == "wrong size" else image


def plate_in(data: bytes) -> int:
    """Which plate a photograph shows."""
    image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_GRAYSCALE)
    assert image is not None
    bars = image[: SIZE_PX[1] // 2].reshape(-1, 16, 8).mean(axis=(0, 2))
    return sum(1 << bit for bit, level in enumerate(bars) if level > 120)


class FakePicamera2:
    """picamera2 as far as it is used."""

    def __init__(self, bench: Bench) -> None:
        self._bench = bench
        bench.open()

    def create_still_configuration(self, **configuration: Any) -> dict[str, Any]:
        return configuration

    def configure(self, configuration: dict[str, Any]) -> None:
        self._controls = configuration["controls"]

    def start(self) -> None:
        """Frames flow."""

    def stop(self) -> None:
        """They do not."""

    def close(self) -> None:
        self._bench.closed += 1

    def capture_request(self) -> Any:
        image = self._bench.picture()
        metadata = self._controls | {"SensorTimestamp": self._bench.ticks}
        return SimpleNamespace(get_metadata=lambda: metadata, make_array=lambda _: image, release=lambda: None)


class FakeVideoCapture:
    """cv2.VideoCapture as far as it is used."""

    def __init__(self, bench: Bench) -> None:
        self._bench, self._open = bench, True
        try:
            bench.open()
        except IndexError:
            self._open = False

    def isOpened(self) -> bool:  # noqa: N802 - OpenCV's name
        return self._open

    def set(self, name: int, value: float) -> bool:
        return True

    def get(self, name: int) -> float:
        return SIZE_PX[name == cv2.CAP_PROP_FRAME_HEIGHT]

    def grab(self) -> bool:
        return self.read()[0]

    def read(self) -> tuple[bool, NDArray[np.uint8] | None]:
        try:
            return True, self._bench.picture()
        except RuntimeError:
            return False, None

    def release(self) -> None:
        self._bench.closed += self._open


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> Iterator[Bench]:
    """A bench whose cameras are stand-ins."""
    bench = Bench()
    monkeypatch.setitem(sys.modules, "picamera2", SimpleNamespace(Picamera2=lambda: FakePicamera2(bench)))
    monkeypatch.setattr(cv2, "VideoCapture", lambda *_: FakeVideoCapture(bench))
    yield bench
    bench.suffer("")


def see(frame: Frame) -> Seen:
    """A reading names the plate that its photograph shows."""
    number, pattern = plate_in(frame.data), make_reading(1)
    picture = Photograph(None, *SIZE_PX, "image/jpeg")  # type: ignore[arg-type]
    view = PlateView(pattern.plate, pattern.wells, pattern.quality, {}, picture)
    return Seen(view, FoundCode(PlateCode(f"S-1,NDV,{number}", "picture", "S-1", "NDV", str(number))))


class Agent:
    """The agent's main loop in a thread, and everything that it said, with the time."""

    def __init__(self, folder: Path, driver: str) -> None:
        self.said: list[tuple[float, dict[str, Any]]] = []
        self.stop, self.trigger, self.progress = Event(), Event(), Progress()
        camera = CameraConfig(kind=driver, width=SIZE_PX[0], height=SIZE_PX[1])  # type: ignore[arg-type]
        clock = BootClock("boot-1")
        self.outbox = Outbox(folder, session="s1", clocks=clock, ballast_bytes=4096)
        troubles = Troubles(lambda: clock().at, self._say)
        self.reader = Reader(
            config=Config(state_dir=folder, camera=camera, keep=KeepConfig(free_mb=0)), device_id="bench-1",
            model=make_reading(1).model, outbox=self.outbox,
            camera=camera_of(
                camera, self.outbox.was_captured, troubles, self.progress, clock, patience_s=PATIENCE_S * PACE
            ),
            read=see, say=self._say, clock=clock, random_bytes=os.urandom, troubles=troubles, progress=self.progress,
            trouble_s=TROUBLE_S * PACE,
        )  # fmt: skip

    def _say(self, event: dict[str, Any]) -> None:
        self.said.append((time.monotonic(), event))

    @contextmanager
    def running(self) -> Iterator[None]:
        thread = Thread(target=read_plates, args=(self.reader, self.stop, self.trigger))
        thread.start()
        try:
            yield
        finally:
            self.stop.set()
            thread.join()
            self.outbox.close()

    def wait(self, event: str, since: int, **fields: object) -> float:
        """When something was said, of what was said after the first `since` events."""

        def found() -> float | None:
            for at_s, one in self.said[since:]:
                if one["event"] == event and fields.items() <= one.items():
                    return at_s
            return None

        return wait_for(f"{event} {fields}", found, 60)

    def photograph(self, bench: Bench) -> str:
        """Ask for a photograph of the plate that lies there; what came of it."""
        since = len(self.said)
        self.trigger.set()
        self.wait("saved", since, plate=f"S-1,NDV,{bench.plate}")
        return str(self.said[-1][1]["event"])


@pytest.mark.parametrize("driver", DRIVERS if is_full_run() else DRIVERS[:1])
def test_no_fault_of_a_camera_makes_a_reading_and_each_is_told_and_passes(
    driver: str, bench: Bench, memory_folder: Path
) -> None:
    agent, began_s = Agent(memory_folder / "state", driver), time.monotonic()
    told_s, recovered_s = dict[str, float](), dict[str, float]()
    with agent.running():
        agent.photograph(bench)
        for fault in FAULTS:
            since, bench.plate = len(agent.said), bench.plate + 1
            bench.suffer(fault)
            began_fault_s = time.monotonic()
            if fault in IN_THE_PICTURE:
                agent.trigger.set()
            told_s[fault] = agent.wait("trouble", since, part="camera") - began_fault_s
            if fault == "hangs":
                wait_for("a thread to be left behind", lambda n=bench.opened: True if bench.opened > n else None)  # type: ignore[misc]
            bench.suffer("")
            healed_s = time.monotonic()
            recovered_s[fault] = agent.wait("mended", since, part="camera") - healed_s
            agent.photograph(bench)
    saved = [event["plate"] for _, event in agent.said if event["event"] == "saved"]
    assert saved == [f"S-1,NDV,{number + 1}" for number in range(len(FAULTS) + 1)]
    assert agent.progress.late() == {}
    if is_full_run():
        assert max(told_s.values()) <= 5, told_s
        assert max(recovered_s.values()) <= 10, recovered_s
    record(
        Result(
            id="E10", part=driver, title=f"{TITLES[driver]} that is gone, hangs, or gives pictures that are none",
            counts={"readings": len(saved)}, faults=dict.fromkeys(FAULTS, 1), acked=len(saved), lost=0, doubled=0,
            altered=0, worst_latency_s=max(told_s.values()), latency_of="until a person is told",
            seconds=time.monotonic() - began_s, full=is_full_run(),
            notes=f"photographing again {max(recovered_s.values()):.1f} s after the camera did, at most",
        )
    )  # fmt: skip


@pytest.mark.parametrize("driver", DRIVERS)
def test_a_camera_that_is_unplugged_again_and_again_leaves_nothing_behind(driver: str, bench: Bench) -> None:
    chance, began_s, taken = random.Random(10), time.monotonic(), 0
    config = CameraConfig(kind=driver, width=SIZE_PX[0], height=SIZE_PX[1])  # type: ignore[arg-type]
    clock, faults = BootClock("boot-1"), dict.fromkeys(("absent", "raises", "hangs"), 0)
    troubles, progress = Troubles(lambda: clock().at, lambda _: None), Progress()
    with closing(camera_of(config, lambda _: False, troubles, progress, clock, patience_s=0.02)) as camera:
        before = _held()
        for _ in range(UNPLUGGED):
            bench.plate = bench.plate % 60_000 + 1
            fault = chance.choices(list(faults), (8, 8, 1))[0]
            bench.suffer(fault)
            with pytest.raises(CameraError):
                _capture(camera.capture, 1)
            bench.suffer("")
            frame = _capture(camera.capture, 100)
            assert plate_in(frame.data) == bench.plate
            faults[fault], taken = faults[fault] + 1, taken + 1
    wait_for("all devices to be closed", lambda: True if bench.opened == bench.closed else None)
    gc.collect()
    assert wait_for("all threads to end", lambda: True if _held() <= before else None)
    record(
        Result(
            id="E10", part=f"{driver}-unplugged", title=f"{TITLES[driver]} that is unplugged and plugged in again",
            counts={"cycles": UNPLUGGED, "devices opened": bench.opened}, seeds="10", faults=faults, acked=taken,
            lost=0, doubled=0, altered=0, seconds=time.monotonic() - began_s, full=is_full_run(),
        )
    )  # fmt: skip


def _capture(capture: Callable[[], Frame | None], tries: int) -> Frame:
    """The first picture in so many tries; the trouble of the last one otherwise."""
    for left in range(tries - 1, -1, -1):
        try:
            frame = capture()
        except CameraError:
            if left == 0:
                raise
            time.sleep(0.001)
        else:
            assert frame is not None
            return frame
    raise AssertionError(f"{tries} tries (expected at least 1)")


def _held() -> tuple[int, int]:
    """Threads and file descriptors of this process."""
    return threading.active_count(), len(os.listdir("/proc/self/fd"))


def test_a_camera_that_hangs_for_good_is_left_to_the_watchdog_and_used_again_if_it_wakes_up(
    bench: Bench, memory_folder: Path
) -> None:
    agent = Agent(memory_folder / "state", "opencv")
    with agent.running():
        agent.photograph(bench)
        since = len(agent.said)
        bench.suffer("hangs")
        wait_for("the watchdog to be let loose", lambda: True if "camera" in agent.progress.late() else None)
        assert threading.active_count() < 12
        bench.suffer("")
        agent.wait("mended", since, part="camera")
        bench.plate += 1
        agent.photograph(bench)
        assert agent.progress.late() == {}


@pytest.mark.parametrize("what", ["black", "white", "noise"])
def test_no_reading_is_made_of_a_dark_bench_a_lamp_in_the_lens_or_noise(what: str) -> None:
    chance = np.random.default_rng(1)
    low, high = {"black": (0, 6), "white": (250, 256), "noise": (0, 256)}[what]
    image = chance.integers(low, high, (920, 1280, 3), dtype=np.uint8)
    now = read_clocks()
    frame = Frame(encode_jpeg(image), "live.jpg", now.at, now.monotonic_ns)
    with pytest.raises(Refused):
        read_plate(frame, profile_named("hi-96"), model=load_model(SHIPPED_MODEL, threads=1), seat="top-left")
