"""The folder camera: in order, complete files only, each file once over restarts, the same picture again if renamed."""

import os
from pathlib import Path

import pytest

from edge_agent.cameras.camera import FolderCamera, load_picamera2, open_camera
from edge_agent.cameras.frame import MAX_PHOTO_BYTES, CameraError
from edge_agent.config import CameraConfig
from tests.edge_agent.bench import make_photograph
from tests.make import NOON
from tests.standins import ManualClock


class Memory:
    """Remembers captured files, as the outbox does."""

    def __init__(self) -> None:
        self.keys: set[str] = set()

    def camera(self, folder: Path, clock: ManualClock | None = None, *, watch: bool = True) -> FolderCamera:
        return FolderCamera(folder, self.keys.__contains__, watch=watch, clocks=clock or ManualClock())

    def take(self, camera: FolderCamera) -> list[str]:
        """Names of everything that the camera gives now, each remembered as kept."""
        names: list[str] = []
        while (frame := camera.capture()) is not None:
            assert frame.key is not None
            assert len(names) < 20, f"{names} and still more"
            self.keys.add(frame.key)
            names.append(frame.name)
        return names


def show(folder: Path, name: str, *, age_s: float = 3600, data: bytes = b"picture") -> Path:
    path = folder / name
    path.write_bytes(data)
    at = NOON.timestamp() - age_s
    os.utime(path, (at, at))
    return path


def test_photographs_come_in_the_order_of_names_with_their_very_bytes(tmp_path: Path) -> None:
    photograph = make_photograph()
    for name in ("b.jpg", "a.jpg", "c.png"):
        show(tmp_path, name, data=photograph)
    frame = Memory().camera(tmp_path).capture()
    assert frame is not None
    assert (frame.name, frame.data, frame.captured_at) == ("a.jpg", photograph, NOON)
    memory = Memory()
    assert memory.take(memory.camera(tmp_path)) == ["a.jpg", "b.jpg", "c.png"]


def test_a_restart_does_not_read_a_file_again(tmp_path: Path) -> None:
    memory = Memory()
    show(tmp_path, "a.jpg")
    memory.take(memory.camera(tmp_path))
    show(tmp_path, "b.jpg")
    assert memory.take(memory.camera(tmp_path)) == ["b.jpg"]


def test_the_same_photograph_under_another_name_is_read_again(tmp_path: Path) -> None:
    memory = Memory()
    camera = memory.camera(tmp_path)
    show(tmp_path, "a.jpg")
    assert memory.take(camera) == ["a.jpg"]
    show(tmp_path, "a-again.jpg")
    assert memory.take(camera) == ["a-again.jpg"]


def test_a_file_whose_reading_could_not_be_kept_comes_again(tmp_path: Path) -> None:
    camera = Memory().camera(tmp_path)
    show(tmp_path, "a.jpg")
    first, second = camera.capture(), camera.capture()
    assert first is not None
    assert second is not None
    assert first.key == second.key


def test_a_file_that_still_grows_is_not_read(tmp_path: Path) -> None:
    clock, memory = ManualClock(), Memory()
    camera = memory.camera(tmp_path, clock)
    for size in range(1, 5):
        show(tmp_path, "a.jpg", age_s=-0.9 * size, data=b"x" * size)
        assert memory.take(camera) == []
        clock.advance(0.9)
    clock.advance(1.1)
    assert memory.take(camera) == ["a.jpg"]


def test_a_file_dated_in_the_future_is_read_once_it_stands_still(tmp_path: Path) -> None:
    clock, memory = ManualClock(), Memory()
    camera = memory.camera(tmp_path, clock)
    show(tmp_path, "a.jpg", age_s=-1_000_000)
    assert memory.take(camera) == []
    clock.advance(1.1)
    assert memory.take(camera) == ["a.jpg"]


@pytest.mark.parametrize("name", [".hidden.jpg", "a.jpg.part", ".a.jpg.part", "b.tmp", "c.jpg.crdownload"])
def test_unfinished_and_hidden_files_are_left_alone(tmp_path: Path, name: str) -> None:
    show(tmp_path, name)
    (tmp_path / "folder").mkdir()
    assert Memory().camera(tmp_path).capture() is None


def test_without_watching_later_files_are_left_alone(tmp_path: Path) -> None:
    memory = Memory()
    show(tmp_path, "a.jpg")
    camera = memory.camera(tmp_path, watch=False)
    show(tmp_path, "b.jpg")
    assert memory.take(camera) == ["a.jpg"]


def test_an_enormous_file_is_not_taken_into_memory_whole(tmp_path: Path) -> None:
    path = show(tmp_path, "a.jpg")
    os.truncate(path, MAX_PHOTO_BYTES * 4)
    os.utime(path, (0, 0))
    frame = Memory().camera(tmp_path).capture()
    assert frame is not None
    assert len(frame.data) == MAX_PHOTO_BYTES + 1


def test_a_file_that_cannot_be_read_does_not_hold_up_the_others(tmp_path: Path) -> None:
    show(tmp_path, "b.jpg")
    (tmp_path / "a.jpg").symlink_to("/proc/self/mem")
    clock, memory = ManualClock(), Memory()
    camera = memory.camera(tmp_path, clock)
    camera.capture()
    clock.advance(2)
    assert memory.take(camera) == ["b.jpg"]


def test_a_name_in_a_foreign_encoding_becomes_text(tmp_path: Path) -> None:
    show(tmp_path, os.fsdecode(b"pl\xe4te.jpg"))
    frame = Memory().camera(tmp_path).capture()
    assert frame is not None
    assert frame.name == "pl\N{REPLACEMENT CHARACTER}te.jpg"


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(CameraError, match=r"no folder of photographs at .*/nowhere \(expected a directory\)"):
        open_camera(CameraConfig(folder=tmp_path / "nowhere"), lambda _: False)


def test_a_folder_that_vanishes_is_the_worlds_fault(tmp_path: Path) -> None:
    (tmp_path / "stick").mkdir()
    camera = Memory().camera(tmp_path / "stick")
    (tmp_path / "stick").rmdir()
    with pytest.raises(CameraError, match="cannot list"):
        camera.capture()


def test_without_picamera2_the_package_to_install_is_named() -> None:
    with pytest.raises(CameraError, match="sudo apt install python3-picamera2"):
        load_picamera2()


def test_what_is_no_photograph_and_not_called_one_is_left_alone(tmp_path: Path) -> None:
    show(tmp_path, "a.json", data=b'{"wells": 96}')
    show(tmp_path, "b.jpg", data=b"meant as a photograph")
    show(tmp_path, "c.dat", data=make_photograph())
    show(tmp_path, "notes", data=b"")
    memory = Memory()
    camera = memory.camera(tmp_path)
    assert memory.take(camera) == ["b.jpg", "c.dat"]
    assert {key.split("|")[0] for key in memory.keys} == {"b.jpg", "c.dat"}


def test_a_file_written_anew_under_its_name_is_read_again(tmp_path: Path) -> None:
    clock, memory = ManualClock(), Memory()
    camera = memory.camera(tmp_path, clock)
    path = show(tmp_path, "a.jpg")
    assert memory.take(camera) == ["a.jpg"]
    with path.open("r+b") as file:
        file.write(b"another")
    os.utime(path, (1, 1))
    clock.advance(1.1)
    assert memory.take(camera) == ["a.jpg"]


def test_ten_thousand_files_that_are_done_are_not_looked_at_again_and_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(10_000):
        (tmp_path / f"{number:05d}.jpg").touch()
    os.utime(tmp_path, (0, 0))
    clock, memory, listings = ManualClock(), Memory(), list[object]()
    list_folder = os.listdir

    def counted(folder: Path) -> list[str]:
        # The time that it takes on a slow card.
        listings.append(folder)
        clock.advance(0.1)
        return list_folder(folder)

    monkeypatch.setattr(os, "listdir", counted)
    camera = FolderCamera(tmp_path, lambda _: True, clocks=clock)
    for _ in range(100):
        assert camera.capture() is None
        clock.advance(0.2)
    assert len(listings) <= 5
    assert memory.keys == set()


def test_a_backlog_of_photographs_costs_one_listing_not_one_each(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(300):
        show(tmp_path, f"{number:05d}.jpg")
    os.utime(tmp_path, (0, 0))
    clock, memory, listings = ManualClock(), Memory(), list[object]()
    list_folder = os.listdir
    monkeypatch.setattr(os, "listdir", lambda folder: listings.append(folder) or list_folder(folder))
    camera, names = memory.camera(tmp_path, clock), list[str]()
    while (frame := camera.capture()) is not None:
        assert frame.key is not None
        memory.keys.add(frame.key)
        names.append(frame.name)
    assert (len(names), names == sorted(names), len(listings)) == (300, True, 1)


def test_a_folder_that_is_there_passes_the_check(tmp_path: Path) -> None:
    camera = Memory().camera(tmp_path)
    camera.check()
    tmp_path.rmdir()
    with pytest.raises(CameraError, match="cannot list"):
        camera.check()
