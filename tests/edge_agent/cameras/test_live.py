"""Live cameras: fresh pictures with the settings that were asked for, or an error; never the plate before this one."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import pytest

from edge_agent.cameras.frame import CameraError, Frame, StaleFrame
from edge_agent.cameras.live import MOST_DROPPED, FreshCamera, OpenCVCamera, PiCamera, check_whole
from edge_agent.config import CameraConfig
from tests.make import NOON
from tests.standins import ManualClock

SETTINGS = CameraConfig(kind="picamera2", width=64, height=64, exposure_us=8000, gain=2.0, lens_position=4.0)
LOCKED = {"ExposureTime": 8003, "AnalogueGain": 2.0, "ColourGains": (2.0, 1.8), "LensPosition": 4.0}


class FakePicamera2:
    """picamera2 as far as it is used: a script of metadata, one entry per frame."""

    def __init__(self, script: list[dict[str, Any]]) -> None:
        self.script, self.released, self.events = script, 0, []
        self.Picamera2 = lambda: self

    def create_still_configuration(self, **configuration: Any) -> dict[str, Any]:
        return configuration

    def configure(self, configuration: dict[str, Any]) -> None:
        self.configuration = configuration

    def start(self) -> None:
        self.events.append("start")

    def stop(self) -> None:
        self.events.append("stop")

    def close(self) -> None:
        self.events.append("close")

    def capture_request(self) -> Any:
        metadata = self.script.pop(0)

        def release() -> None:
            self.released += 1

        return SimpleNamespace(
            get_metadata=lambda: metadata, make_array=lambda _: scene(128, (64, 64)), release=release
        )


def scene(shade: int, size_px: tuple[int, int] = (128, 96)) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """What a camera sees: two halves, one a little darker, so that it is no picture of one colour."""
    image = np.full((size_px[1], size_px[0], 3), shade, np.uint8)
    image[:, : size_px[0] // 2] = max(0, shade - 2)
    return image


def frames(*changes: dict[str, Any]) -> list[dict[str, Any]]:
    return [LOCKED | {"SensorTimestamp": number} | change for number, change in enumerate(changes, 1)]


def test_everything_that_changes_a_picture_is_locked_before_the_start() -> None:
    device = FakePicamera2(frames({}))
    camera = PiCamera(SETTINGS, device, clocks=ManualClock())
    camera.close()
    assert device.configuration["controls"] == {
        "AeEnable": False,
        "AwbEnable": False,
        "ExposureTime": 8000,
        "AnalogueGain": 2.0,
        "ColourGains": (2.0, 1.8),
        "AfMode": 0,
        "LensPosition": 4.0,
    }
    assert device.events == ["start", "stop", "close"]


def test_frames_are_dropped_until_they_have_the_settings() -> None:
    device = FakePicamera2(frames({"ExposureTime": 20000}, {"ColourGains": (1.0, 1.0)}, {"LensPosition": 0.0}, {}))
    frame = PiCamera(SETTINGS, device, clocks=ManualClock()).capture()
    assert (frame.sensor_ns, device.released) == (4, 4)
    assert frame.data.startswith(b"\xff\xd8\xff")


def test_settings_that_are_never_taken_are_named() -> None:
    device = FakePicamera2(frames(*[{"AnalogueGain": 1.0}] * 40))
    with pytest.raises(CameraError, match=r"AnalogueGain is 1.0 \(expected 2.0\)"):
        PiCamera(SETTINGS, device, clocks=ManualClock()).capture()
    assert device.released == MOST_DROPPED


def test_a_lens_without_a_motor_is_not_moved() -> None:
    device = FakePicamera2(frames({}))
    PiCamera(CameraConfig(lens_position=-1), device, clocks=ManualClock())
    assert not {"AfMode", "LensPosition"} & set(device.configuration["controls"])


def film(path: Path, shades: list[int]) -> CameraConfig:
    """A video file, which OpenCV opens as it opens a camera: each frame in another shade."""
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 10, (128, 96))
    for shade in shades:
        writer.write(scene(shade))
    writer.release()
    return CameraConfig(kind="opencv", device=str(path), width=128, height=96)


def shade_of(data: bytes) -> int:
    image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    assert image is not None
    return round(float(image.mean()))


def test_pictures_that_waited_in_the_driver_are_not_used(tmp_path: Path) -> None:
    camera = OpenCVCamera(film(tmp_path / "bench.avi", [10, 10, 10, 10, 200, 10]), clocks=ManualClock())
    frame = camera.capture()
    camera.close()
    assert shade_of(frame.data) == pytest.approx(200, abs=3)
    assert frame.name == "20261120T120000000000.jpg"


class Takes:
    """A device that gives these pictures with these sensor times, and is opened and closed."""

    def __init__(self, *takes: tuple[bytes, int | None]) -> None:
        self.takes, self.opened, self.closed = list(takes), 0, 0

    def open(self) -> "Takes":
        self.opened += 1
        return self

    def capture(self) -> Frame:
        data, sensor_ns = self.takes.pop(0)
        return Frame(data, "live.jpg", NOON, 5, sensor_ns)

    def check(self) -> None:
        """It answers."""

    def close(self) -> None:
        self.closed += 1


def test_the_same_bytes_twice_are_stale_and_the_camera_is_opened_again() -> None:
    device = Takes((b"one", None), (b"two", None), (b"one", None), (b"three", None))
    camera = FreshCamera(device.open)
    camera.capture(), camera.capture()
    with pytest.raises(StaleFrame, match="gave the picture 7692c3ad3540 twice") as caught:
        camera.capture()
    assert (caught.value.frame.data, device.closed) == (b"one", 1)
    frame = camera.capture()
    assert frame is not None
    assert (frame.data, device.opened) == (b"three", 2)


@pytest.mark.parametrize("again_ns", [7, 6])
def test_a_sensor_whose_clock_does_not_advance_is_stale(again_ns: int) -> None:
    device = Takes((b"one", 7), (b"two", again_ns), (b"three", 8))
    camera = FreshCamera(device.open)
    camera.capture()
    with pytest.raises(StaleFrame, match=f"stands at {again_ns} ns after 7 ns"):
        camera.capture()
    assert camera.capture() is not None


def test_a_camera_that_wakes_up_with_its_last_picture_is_still_stale() -> None:
    device = Takes((b"one", None), (b"one", None), (b"one", None))
    camera = FreshCamera(device.open)
    camera.capture()
    for _ in range(2):
        with pytest.raises(StaleFrame):
            camera.capture()
    assert (device.opened, device.closed) == (2, 2)


def test_a_camera_that_has_gone_is_opened_again() -> None:
    openings = iter([RuntimeError("Camera frontend has timed out!"), None])

    class Gone(Takes):
        def capture(self) -> Frame:
            trouble = next(openings)
            if trouble:
                raise trouble
            return super().capture()

    device = Gone((b"one", None))
    camera = FreshCamera(device.open)
    with pytest.raises(RuntimeError):
        camera.capture()
    assert camera.capture() is not None
    assert device.opened == 2


def test_a_frozen_video_device_is_stale(tmp_path: Path) -> None:
    config = film(tmp_path / "bench.avi", [90] * 12)
    camera = FreshCamera(lambda: OpenCVCamera(config, clocks=ManualClock()))
    camera.capture()
    with pytest.raises(StaleFrame):
        camera.capture()


def test_a_camera_that_ends_is_opened_again_at_the_next_capture(tmp_path: Path) -> None:
    config = film(tmp_path / "bench.avi", [40] * 6)
    camera = OpenCVCamera(config, clocks=ManualClock())
    camera.capture()
    with pytest.raises(CameraError, match="gave no picture"):
        camera.capture()
    film(tmp_path / "bench.avi", [160] * 6)
    assert shade_of(camera.capture().data) == pytest.approx(160, abs=3)
    camera.close()


def test_a_camera_that_is_not_there_is_named() -> None:
    with pytest.raises(CameraError, match=r"cannot open camera '/dev/video99'"):
        OpenCVCamera(CameraConfig(kind="opencv", device="/dev/video99")).capture()


def test_a_camera_that_waits_can_be_asked_whether_it_is_there(tmp_path: Path) -> None:
    camera = OpenCVCamera(film(tmp_path / "bench.avi", [40] * 2), clocks=ManualClock())
    camera.check(), camera.check()
    with pytest.raises(CameraError, match="gives no picture"):
        camera.check()


def test_a_picamera_that_does_not_start_is_not_left_in_use() -> None:
    device = FakePicamera2([])

    def start() -> None:
        raise RuntimeError("Failed to start camera")

    device.start = start  # type: ignore[method-assign]
    with pytest.raises(RuntimeError):
        PiCamera(SETTINGS, device, clocks=ManualClock())
    assert device.events == ["close"]


@pytest.mark.parametrize("shade", [0, 90, 255])
def test_a_picture_of_one_colour_is_none(shade: int) -> None:
    with pytest.raises(CameraError, match="of one colour"):
        check_whole(np.full((96, 128, 3), shade, np.uint8), None)


def test_a_picture_that_ends_early_is_none() -> None:
    image = scene(90)
    image[80:] = 128
    with pytest.raises(CameraError, match="lowest part of the camera's picture is of one colour, #808080"):
        check_whole(image, None)


@pytest.mark.parametrize("shade", [0, 255])
def test_a_dark_bench_and_a_light_table_are_no_fault(shade: int) -> None:
    image = scene(90)
    image[80:] = shade
    check_whole(image, (128, 96))


def test_a_picture_of_another_size_is_none() -> None:
    with pytest.raises(CameraError, match=r"128 × 96 px \(expected 640 × 480\)"):
        check_whole(scene(90), (640, 480))
