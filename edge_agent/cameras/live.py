"""The cameras that see the bench: V4L2 or GStreamer through OpenCV, and the Raspberry Pi's through picamera2.

A frozen camera would read the plate before this one again, so a picture that is not new is refused; one taken with
other settings than those asked for is an error. `picamera2` comes from the system's packages and is imported only when
used. No driver is trusted to give a whole picture: one that no lens can have made is an error too.
"""

from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from hashlib import sha256
from types import ModuleType
from typing import TYPE_CHECKING, Any, Final

from edge_agent.cameras.frame import Camera, CameraError, Frame, StaleFrame
from edge_agent.clock import Moment, read_clocks
from edge_agent.config import CameraConfig

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

# The control values that a frame's metadata must show, with the step to which a sensor may round each:
# exposure moves in lines of the sensor, some 30 microseconds.
_STEPS: Final = {"ExposureTime": 50, "AnalogueGain": 0.02, "ColourGains": 0.02, "LensPosition": 0.05}

# Controls take effect some frames after they are set.
MOST_DROPPED: Final = 30
# Pictures arrive from the top; what did not arrive is filled with one colour. A sixteenth is less than a row of wells.
_LOWEST_SHARE: Final = 1 / 16


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
        with self._closed_on_trouble() as device:
            frame = device.capture()
            if frame is not None:
                self._check_new(frame)
        return frame

    def check(self) -> None:
        """Whether the device answers; after trouble it is opened again."""
        with self._closed_on_trouble() as device:
            device.check()

    def close(self) -> None:
        """Release the device; the next capture opens it again."""
        device, self._device = self._device, None
        if device is not None:
            device.close()

    @contextmanager
    def _closed_on_trouble(self) -> Iterator[Camera]:
        try:
            self._device = self._device or self._open_device()
            yield self._device
        except (CameraError, OSError, RuntimeError):
            # RuntimeError is what libcamera says of a camera that has gone.
            self.close()
            raise

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
        self._size_px: tuple[int, int] | None = None

    def capture(self) -> Frame:
        """A new picture, encoded as JPEG of quality 95."""
        device = self._opened()
        for _ in range(self.STALE_BUFFERS):
            device.grab()
        found, image = device.read()
        now = self._clocks()
        if not found or image is None:
            self.close()
            raise CameraError(f"camera {self._config.device!r} gave no picture (is it still plugged in?)")
        check_whole(image, self._size_px)
        data = encode_jpeg(image)
        return Frame(data, f"{now.at:%Y%m%dT%H%M%S%f}.jpg", now.at, now.monotonic_ns)

    def check(self) -> None:
        """Whether the device still gives pictures; this one is not looked at."""
        if not self._opened().grab():
            self.close()
            raise CameraError(f"camera {self._config.device!r} gives no picture (is it still plugged in?)")

    def close(self) -> None:
        """Release the device; the next capture opens it again."""
        if self._device is not None:
            self._device.release()
            self._device = None

    def _opened(self) -> Any:
        if self._device is None:
            self._device = self._open()
        return self._device

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
        # What the device took, which need not be what it was asked for; from now on every picture is of that size.
        width, height = int(device.get(cv2.CAP_PROP_FRAME_WIDTH)), int(device.get(cv2.CAP_PROP_FRAME_HEIGHT))
        self._size_px = (width, height) if width > 0 and height > 0 else None
        return device


class PiCamera:
    """A Raspberry Pi camera with everything that changes a colour or an edge locked.

    Controls take effect some frames after they are set, so frames are dropped until their own metadata say what was
    asked for.
    """

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
        self._size_px = (config.width, config.height)
        self._camera = picamera2.Picamera2()
        try:
            self._camera.configure(
                self._camera.create_still_configuration(
                    main={"size": self._size_px, "format": "RGB888"}, controls=self._controls
                )
            )
            self._camera.start()
        except BaseException:
            # Left open, it would be in use for ever.
            self._camera.close()
            raise

    def capture(self) -> Frame:
        """The first frame whose metadata equal the locked controls."""
        for _ in range(MOST_DROPPED):
            request = self._camera.capture_request()
            try:
                metadata = request.get_metadata()
                if not self._differences(metadata):
                    return self._frame(request.make_array("main"), metadata)
            finally:
                request.release()
        wrong = ", ".join(self._differences(metadata))
        raise CameraError(f"the camera did not take its settings in {MOST_DROPPED} frames: {wrong}")

    def check(self) -> None:
        """Whether the camera still gives frames; this one is not looked at."""
        self._camera.capture_request().release()

    def close(self) -> None:
        """Stop and release the camera."""
        try:
            self._camera.stop()
        finally:
            self._camera.close()

    def _differences(self, metadata: dict[str, Any]) -> list[str]:
        return [
            f"{name} is {metadata.get(name)} (expected {self._controls[name]})"
            for name, step in _STEPS.items()
            if name in self._controls and not _close(metadata.get(name), self._controls[name], step)
        ]

    def _frame(self, image: "NDArray[np.uint8]", metadata: dict[str, Any]) -> Frame:
        now = self._clocks()
        check_whole(image, self._size_px)
        sensor_ns = int(metadata["SensorTimestamp"])
        # libcamera's RGB888 is blue, green, red in memory: what OpenCV expects.
        return Frame(encode_jpeg(image), f"{now.at:%Y%m%dT%H%M%S%f}.jpg", now.at, now.monotonic_ns, sensor_ns)


def check_whole(image: "NDArray[np.uint8]", size_px: tuple[int, int] | None) -> None:
    """CameraError for a picture that no lens can have made.

    That is one of another size, one of a single colour, or one whose lowest part is of a single colour that is neither
    black nor white: those two a dark or a very bright bench has.
    """
    height, width = image.shape[:2]
    if size_px is not None and (width, height) != size_px:
        raise CameraError(f"the camera gave a picture of {width} × {height} px (expected {size_px[0]} × {size_px[1]})")
    if _is_one_colour(image):
        raise CameraError(f"the camera gave a picture of one colour, {_colour(image)} (expected what it sees)")
    lowest = image[height - max(2, int(height * _LOWEST_SHARE)) :]
    if _is_one_colour(lowest) and int(lowest[0, 0].max()) > 0 and int(lowest[0, 0].min()) < 255:
        raise CameraError(
            f"the lowest part of the camera's picture is of one colour, {_colour(lowest)} (expected a whole picture)"
        )


def _is_one_colour(image: "NDArray[np.uint8]") -> bool:
    first = image[0, 0]
    # Most pictures differ within a few pixels of each other; only what does not is looked at as a whole.
    return bool((image[:, ::64] == first).all() and (image == first).all())


def _colour(image: "NDArray[np.uint8]") -> str:
    blue, green, red = (int(value) for value in image[0, 0])
    return f"#{red:02x}{green:02x}{blue:02x}"


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
