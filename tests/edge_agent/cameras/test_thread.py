"""A camera that hangs is left behind, told of, and opened anew; a picture that comes late is nobody's."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Event

import pytest

from edge_agent.cameras import thread
from edge_agent.cameras.frame import CameraError, Frame
from edge_agent.cameras.thread import MOST_LEFT_BEHIND, ThreadedCamera
from edge_agent.progress import Progress
from tests.make import NOON


def photograph(name: str) -> Frame:
    return Frame(name.encode(), name, NOON, 5)


class Device:
    """Gives a picture, or does what the test says first."""

    def __init__(self, name: str, first: Callable[[], None] = lambda: None) -> None:
        self.name, self._first, self.closed = name, first, Event()

    def capture(self) -> Frame:
        self._first()
        return photograph(self.name)

    def check(self) -> None:
        self._first()

    def close(self) -> None:
        self.closed.set()


class Shop:
    """Opens these devices, one after the other; `healed` lets all go that hang."""

    def __init__(self, *devices: Device) -> None:
        self.devices, self.opened = list(devices), list[Device]()
        self.told, self.waited, self.progress = list[str](), list[int](), Progress()

    def open(self) -> Device:
        self.opened.append(self.devices.pop(0))
        return self.opened[-1]

    @contextmanager
    def camera(self, patience_s: float = 0.3) -> Iterator[ThreadedCamera]:
        camera = ThreadedCamera(
            self.open,
            self.progress,
            tell=self.told.append,
            waiting=lambda: self.waited.append(1),
            patience_s=patience_s,
        )
        try:
            yield camera
        finally:
            camera.close()


@pytest.fixture
def healed() -> Iterator[Event]:
    event = Event()
    yield event
    event.set()


def hanging(name: str, healed: Event) -> Device:
    def hang() -> None:
        healed.wait()

    return Device(name, hang)


def test_a_device_is_opened_once_asked_often_and_closed_by_its_own_thread() -> None:
    device = Device("a")
    shop = Shop(device)
    with shop.camera() as camera:
        assert [frame.name for frame in (camera.capture(), camera.capture()) if frame] == ["a", "a"]
        camera.check()
    assert (len(shop.opened), device.closed.is_set()) == (1, True)


def test_a_hanging_device_is_left_behind_and_the_next_picture_comes_from_a_new_one(healed: Event) -> None:
    shop = Shop(hanging("old", healed), Device("new"))
    with shop.camera() as camera:
        with pytest.raises(CameraError, match="the camera gave nothing for 0 s and is opened again"):
            camera.capture()
        frame = camera.capture()
        healed.set()
        assert shop.opened[0].closed.wait(5)
        again = camera.capture()
    assert frame is not None
    assert again is not None
    # The picture of the device that woke up is nobody's.
    assert (frame.name, again.name) == ("new", "new")


def test_a_person_hears_of_a_slow_camera_before_it_is_given_up(healed: Event, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(thread, "SHOWN_AFTER_OPENING_S", 0.1)
    monkeypatch.setattr(thread, "_SLICE_S", 0.05)
    shop = Shop(hanging("slow", healed))
    with shop.camera(1.0) as camera, pytest.raises(CameraError):
        camera.capture()
    assert shop.told == [
        "the camera has given nothing for 0.1 s: look at its cable; if that is right, start the reader anew"
    ]
    assert len(shop.waited) >= 3


def test_drivers_that_hang_for_good_are_not_left_behind_without_end(healed: Event) -> None:
    shop = Shop(*(hanging(f"{number}", healed) for number in range(MOST_LEFT_BEHIND)), Device("new"))
    with shop.camera(0.05) as camera:
        for _ in range(MOST_LEFT_BEHIND + 3):
            with pytest.raises(CameraError):
                camera.capture()
        assert len(shop.opened) == MOST_LEFT_BEHIND
        # From here on the watchdog hears nothing, until the camera answers.
        assert list(shop.progress.late()) == ["camera"]
        camera.close()
        assert list(shop.progress.late()) == ["camera"]
        healed.set()
        assert all(device.closed.wait(5) for device in shop.opened)
        frame = _in_the_end(camera)
        assert (frame.name, shop.progress.late()) == ("new", {})


def _in_the_end(camera: ThreadedCamera) -> Frame:
    for _ in range(100):
        try:
            frame = camera.capture()
        except CameraError:
            continue
        assert frame is not None
        return frame
    raise AssertionError("the camera gave nothing in 100 tries")


def test_a_device_in_use_by_a_driver_that_hangs_is_for_the_watchdog_in_the_end(
    healed: Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    def busy() -> None:
        raise CameraError("device or resource busy")

    shop = Shop(hanging("old", healed), Device("busy", busy))
    with shop.camera(0.05) as camera:
        for _ in range(2):
            with pytest.raises(CameraError):
                camera.capture()
        assert shop.progress.late() == {}
        monkeypatch.setattr(thread, "DEAF_S", 0.0)
        with pytest.raises(CameraError, match="busy"):
            camera.capture()
        assert list(shop.progress.late()) == ["camera"]


def test_whatever_a_driver_raises_the_camera_is_what_failed() -> None:
    def gone() -> None:
        raise IndexError("list index out of range")

    failed = "the camera's driver failed: IndexError: list index out of range"
    with Shop(Device("a", gone)).camera() as camera, pytest.raises(CameraError, match=failed):
        camera.capture()


def test_a_device_that_cannot_be_closed_is_only_logged() -> None:
    class Stuck(Device):
        def close(self) -> None:
            super().close()
            raise RuntimeError("already closed")

    device = Stuck("a")
    with Shop(device).camera() as camera:
        camera.check()
    assert device.closed.wait(5)


def test_a_device_that_does_not_open_is_tried_again() -> None:
    shop = Shop(Device("a"))
    openings = iter([CameraError("no camera")])

    def open_device() -> Device:
        for error in openings:
            raise error
        return shop.open()

    camera = ThreadedCamera(open_device, shop.progress, tell=shop.told.append)
    with pytest.raises(CameraError, match="no camera"):
        camera.check()
    camera.check()
    camera.close()
