"""Live cameras: fresh pictures with the settings that were asked for, or an error; never the plate before this one."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import pytest

from edge_agent.camera import CameraError
from edge_agent.config import CameraConfig
from edge_agent.live_camera import OpenCVCamera, PiCamera
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
            get_metadata=lambda: metadata, make_array=lambda _: np.zeros((64, 64, 3), np.uint8), release=release
        )


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
    assert device.released == PiCamera.MOST_DROPPED


def test_a_sensor_that_stands_still_is_an_error() -> None:
    device = FakePicamera2(frames({"SensorTimestamp": 7}, {"SensorTimestamp": 7}))
    camera = PiCamera(SETTINGS, device, clocks=ManualClock())
    camera.capture()
    with pytest.raises(CameraError, match="the sensor's clock stands at 7 ns"):
        camera.capture()


def test_a_lens_without_a_motor_is_not_moved() -> None:
    device = FakePicamera2(frames({}))
    PiCamera(CameraConfig(lens_position=-1), device, clocks=ManualClock())
    assert not {"AfMode", "LensPosition"} & set(device.configuration["controls"])


def film(path: Path, shades: list[int]) -> CameraConfig:
    """A video file of plain frames, which OpenCV opens as it opens a camera."""
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 10, (128, 96))
    for shade in shades:
        writer.write(np.full((96, 128, 3), shade, np.uint8))
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


def test_a_frozen_camera_is_an_error(tmp_path: Path) -> None:
    camera = OpenCVCamera(film(tmp_path / "bench.avi", [90] * 12), clocks=ManualClock())
    camera.capture()
    with pytest.raises(CameraError, match="same picture twice"):
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
