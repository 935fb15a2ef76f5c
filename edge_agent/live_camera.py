"""The cameras that see the bench: V4L2 or GStreamer through OpenCV, and the Raspberry Pi's through picamera2.

A frozen camera would read the plate before this one again, so a picture that is not new is refused; one taken with
other settings than those asked for is an error. `picamera2` comes from the system's packages and is imported only when
used.
"""

from collections import deque
from collections.abc import Callable
from hashlib import sha256
from types import ModuleType
from typing import TYPE_CHECKING, Any, Final

from edge_agent.clock import Moment, read_clocks
from edge_agent.config import CameraConfig
from edge_agent.frame import Camera, CameraError, Frame, StaleFrame

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

# The control values that a frame's metadata must show, with the step to which a sensor may round each:
# exposure moves in lines of the sensor, some 30 microseconds.
_STEPS: Final = {"ExposureTime": 50, "AnalogueGain": 0.02, "ColourGains": 0.02, "LensPosition": 0.05}


class FreshCamera:
    """A live camera of which every picture is a new one; after any trouble its device is opened again.

    What was seen before outlives the reopening: a driver that wakes up with its last picture is caught too.
    """

    # Drivers hold a handful of buffers; a frozen one may hand them out in turn.
    REMEMBERED: Final = 16

    def __init__(self, open_device: Callable[[], Camera]) -> None:
        """Opens nothing yet: a camera that is unplugged now may be there at the first capture."""
        self._open_device = open_device
        self._device: Camera | None = None
        self._last_sensor_ns: int | None = None
        self._digests: deque[bytes] = deque(maxlen=self.REMEMBERED)

    def capture(self) -> Frame | None:
        """A picture that this camera has not given before; StaleFrame otherwise."""
        try:
            self._device = self._device or self._open_device()
            frame = self._device.capture()
            if frame is not None:
                self._check_new(frame)
        except (CameraError, OSError, RuntimeError):
            # RuntimeError is what libcamera says of a camera that has gone.
            self.close()
            raise
        return frame

    def close(self) -> None:
        """Release the device; the next capture opens it again."""
        device, self._device = self._device, None
        if device is not None:
            device.close()

    def _check_new(self, frame: Frame) -> None:
        last_ns, now_ns = self._last_sensor_ns, frame.sensor_ns
        if last_ns is not None and now_ns is not None and now_ns <= last_ns:
            raise StaleFrame(
                frame,
                f"the sensor's clock stands at {now_ns} ns after {last_ns} ns (expected a newer picture): "
                "the camera is opened again, photograph the plate once more",
            )
        digest = sha256(frame.data).digest()
        if digest in self._digests:
            raise StaleFrame(
                frame,
                f"the camera gave the picture {digest.hex()[:12]} twice (expected a new one): "
                "it is opened again, photograph the plate once more",
            )
        self._last_sensor_ns = now_ns
        self._digests.append(digest)


class OpenCVCamera:
    """A V4L2 camera, by number or path, or a GStreamer pipeline ending in `appsink` (Jetson)."""

    # V4L2 drivers queue up to four pictures; the first ones show the bench before the plate was put down.
    STALE_BUFFERS: Final = 4

    def __init__(self, config: CameraConfig, *, clocks: Callable[[], Moment] = read_clocks) -> None:
        """Opens nothing yet: a camera that is unplugged now may be there at the first capture."""
        self._config, self._clocks = config, clocks
        self._device: Any = None

    def capture(self) -> Frame:
        """A new picture, encoded as JPEG of quality 95."""
        if self._device is None:
            self._device = self._open()
        for _ in range(self.STALE_BUFFERS):
            self._device.grab()
        found, image = self._device.read()
        now = self._clocks()
        if not found or image is None:
            self.close()
            raise CameraError(f"camera {self._config.device!r} gave no picture (is it still plugged in?)")
        data = encode_jpeg(image)
        return Frame(data, f"{now.at:%Y%m%dT%H%M%S%f}.jpg", now.at, now.monotonic_ns)

    def close(self) -> None:
        """Release the device; the next capture opens it again."""
        if self._device is not None:
            self._device.release()
            self._device = None

    def _open(self) -> Any:
        import cv2

        name, api = self._config.device, cv2.CAP_ANY
        if "!" in name:
            api = cv2.CAP_GSTREAMER
        device = cv2.VideoCapture(int(name) if name.isdecimal() else name, api)
        if not device.isOpened():
            device.release()
            raise CameraError(f"cannot open camera {name!r} (expected a number, a /dev/video path or a pipeline)")
        if "!" not in name:
            device.set(cv2.CAP_PROP_FRAME_WIDTH, self._config.width)
            device.set(cv2.CAP_PROP_FRAME_HEIGHT, self._config.height)
        return device


class PiCamera:
    """A Raspberry Pi camera with everything that changes a colour or an edge locked.

    Controls take effect some frames after they are set, so frames are dropped until their own metadata say what was
    asked for.
    """

    MOST_DROPPED: Final = 30
    # What libcamera calls AfModeEnum.Manual.
    AF_MANUAL: Final = 0

    def __init__(
        self, config: CameraConfig, picamera2: ModuleType | Any, *, clocks: Callable[[], Moment] = read_clocks
    ) -> None:
        """Configure and start; the controls stand in the configuration, before the first frame."""
        self._clocks = clocks
        self._controls: dict[str, Any] = {
            "AeEnable": False,
            "AwbEnable": False,
            "ExposureTime": config.exposure_us,
            "AnalogueGain": config.gain,
            "ColourGains": tuple(config.colour_gains),
        }
        if config.lens_position >= 0:
            self._controls |= {"AfMode": self.AF_MANUAL, "LensPosition": config.lens_position}
        self._camera = picamera2.Picamera2()
        self._camera.configure(
            self._camera.create_still_configuration(
                main={"size": (config.width, config.height), "format": "RGB888"}, controls=self._controls
            )
        )
        self._camera.start()

    def capture(self) -> Frame:
        """The first frame whose metadata equal the locked controls."""
        for _ in range(self.MOST_DROPPED):
            request = self._camera.capture_request()
            try:
                metadata = request.get_metadata()
                if not self._differences(metadata):
                    return self._frame(request.make_array("main"), metadata)
            finally:
                request.release()
        wrong = ", ".join(self._differences(metadata))
        raise CameraError(f"the camera did not take its settings in {self.MOST_DROPPED} frames: {wrong}")

    def close(self) -> None:
        """Stop and release the camera."""
        self._camera.stop()
        self._camera.close()

    def _differences(self, metadata: dict[str, Any]) -> list[str]:
        return [
            f"{name} is {metadata.get(name)} (expected {self._controls[name]})"
            for name, step in _STEPS.items()
            if name in self._controls and not _close(metadata.get(name), self._controls[name], step)
        ]

    def _frame(self, image: "NDArray[np.uint8]", metadata: dict[str, Any]) -> Frame:
        now = self._clocks()
        sensor_ns = int(metadata["SensorTimestamp"])
        # libcamera's RGB888 is blue, green, red in memory: what OpenCV expects.
        return Frame(encode_jpeg(image), f"{now.at:%Y%m%dT%H%M%S%f}.jpg", now.at, now.monotonic_ns, sensor_ns)


def encode_jpeg(image: "NDArray[np.uint8]") -> bytes:
    """JPEG of quality 95 of a blue-green-red image."""
    import cv2

    done, data = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, 95])
    if not done:
        raise CameraError(f"cannot encode a picture of shape {image.shape}")
    return data.tobytes()


def _close(found: Any, asked: Any, step: float) -> bool:
    """Sensors round exposure and gain to their own steps: within 2 %, or one step."""
    if found is None:
        return False
    if isinstance(asked, tuple):
        return len(found) == len(asked) and all(
            _close(one, other, step) for one, other in zip(found, asked, strict=True)
        )
    return bool(abs(found - asked) <= max(0.02 * abs(asked), step))
