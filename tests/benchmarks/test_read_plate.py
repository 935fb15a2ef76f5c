"""What reading a plate costs: time beside YOLO11n in the same run, by stage; memory; the same bytes every time."""

import statistics
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import cv2
import numpy as np
import pytest

from edge_agent.cameras.frame import Frame
from edge_agent.config import SHIPPED_MODEL
from edge_agent.vision import Model, load_model, read_plate
from edge_agent.vision.detector import RUNTIMES, Runtime
from models.training.render import PlateSpec, render_plate
from protocol.endpoint import plate_endpoints
from protocol.plate import Seat
from tests.edge_agent.vision.odd_files import large_files
from tests.edge_agent.vision.reading_process import read_apart
from tests.make import HI

pytestmark = pytest.mark.benchmark

ROUNDS = 25
REPEATS = 1000


@pytest.fixture(scope="module")
def photograph(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A rendered plate of 1700 × 1200 pixels, as a camera writes it."""
    picture, _ = render_plate(7, PlateSpec(size_px=(1700, 1200)))
    path = tmp_path_factory.mktemp("photograph") / "plate.jpg"
    cv2.imwrite(str(path), picture, [cv2.IMWRITE_JPEG_QUALITY, 92])
    return path


def bare_pass(interpreter: object) -> Callable[[], None]:
    """One pass of a network over noise that is already in its input."""
    details = interpreter.get_input_details()[0]  # type: ignore[attr-defined]
    noise = np.random.default_rng(0).integers(-100, 100, details["shape"]).astype(details["dtype"])

    def run() -> None:
        interpreter.set_tensor(details["index"], noise)  # type: ignore[attr-defined]
        interpreter.invoke()  # type: ignore[attr-defined]

    return run


def whole_reading(model: Model, content: bytes, stages: list[dict[str, float]]) -> Callable[[], None]:
    """Everything from the bytes of a JPEG to the endpoints; notes what each stage took."""
    frame = Frame(content, "plate.jpg", datetime.now(UTC), 0)

    def run() -> None:
        view = read_plate(frame, HI, model=model, seat=Seat.TOP_LEFT)
        plate_endpoints(view.wells, HI)
        stages.append(view.timings_ms)

    return run


Clock = Callable[[], float]
CLOCKS: dict[str, Clock] = {"processor": time.process_time, "wall": time.perf_counter}


def in_turn(ways: dict[str, Callable[[], None]]) -> dict[str, dict[str, list[float]]]:
    """Milliseconds of every way by each clock, A B C A B C …, so that a machine that slows down slows all.

    Wall time on a busy machine depends on who else is working; processor time counts the work of all threads.
    """
    taken: dict[str, dict[str, list[float]]] = {clock: {name: [] for name in ways} for clock in CLOCKS}
    for turn in range(ROUNDS + 2):
        for name, way in ways.items():
            started = [clock() for clock in CLOCKS.values()]
            way()
            ended = [clock() for clock in CLOCKS.values()]
            if turn >= 2:
                for clock, start, end in zip(CLOCKS, started, ended, strict=True):
                    taken[clock][name].append((end - start) * 1000)
    return taken


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("runtime", RUNTIMES)
def test_milliseconds_beside_yolo11n(photograph: Path, yolo11n: Path, runtime: Runtime, threads: int) -> None:
    interpreters = pytest.importorskip(RUNTIMES[runtime])
    cv2.setNumThreads(threads)
    model = load_model(SHIPPED_MODEL, runtime=runtime, threads=threads)
    peer = interpreters.Interpreter(model_path=str(yolo11n), num_threads=threads)
    peer.allocate_tensors()
    stages: list[dict[str, float]] = []
    taken = in_turn(
        {
            "YOLO11n int8 640 alone": bare_pass(peer),
            "our detector alone": bare_pass(model.wells_interpreter),
            "JPEG to endpoints": whole_reading(model, photograph.read_bytes(), stages),
        }
    )
    kilobytes = photograph.stat().st_size // 1024
    print(f"\n1700 × 1200 JPEG of {kilobytes} kB, {runtime}, {threads} threads, medians of {ROUNDS}")
    for clock, ways in taken.items():
        beside = next(iter(ways.values()))
        for name, times in ways.items():
            ratio = statistics.median(ours / peers for ours, peers in zip(times, beside, strict=True))
            spread = f"{statistics.median(times):7.1f} ms  ({min(times):.1f} … {max(times):.1f})"
            print(f"  {clock:<10}{name:<24}{spread}  {ratio:5.2f} ×")
    medians = {stage: statistics.median(one[stage] for one in stages[2:]) for stage in stages[0]}
    print("  of it: " + " · ".join(f"{stage} {median:.1f}" for stage, median in medians.items()))


def test_memory_and_seconds_of_large_files(photograph: Path) -> None:
    (line,) = read_apart([photograph], "--repeats", "20")
    print(f"\nmost memory held over 20 readings of 1700 × 1200: {line['peak_mb']:.0f} MB")
    for name, content in large_files(cv2.imread(str(photograph))).items():
        file = photograph.parent / name
        file.write_bytes(content)
        line = read_apart([photograph, file])[1]
        outcome = line["outcomes"][0] if ":" in line["outcomes"][0] else "read"
        print(f"  {name:<28}+{line['peak_mb'] - line['usual_mb']:4.0f} MB {line['s']:5.2f} s  {outcome[:70]}")


@pytest.mark.parametrize("threads", ["1", "4"])
def test_a_thousand_repeats(photograph: Path, threads: str) -> None:
    options = ("--repeats", str(REPEATS), "--threads", threads, "--opencv-threads", threads)
    (line,) = read_apart([photograph], *options)
    print(f"\n{REPEATS} readings, {threads} threads: {len(line['outcomes'])} outcome, {line['outcomes'][0][:16]}…")
    assert len(line["outcomes"]) == 1
