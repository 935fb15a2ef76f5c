"""Where the time of `read_plate` goes, by stage and runtime, beside the bare detector network in the same run."""

import statistics
import time
from datetime import UTC, datetime

import cv2
import numpy as np
import pytest

from edge_agent.config import SHIPPED_MODEL
from edge_agent.frame import Frame
from edge_agent.vision import Model, load_model, read_plate
from edge_agent.vision.detector import RUNTIMES, Runtime
from models.training.render import PlateSpec, render_plate
from protocol.plate import Seat
from protocol.profiles import PROFILES

pytestmark = pytest.mark.benchmark

ROUNDS = 15


def photograph() -> Frame:
    picture, _ = render_plate(7, PlateSpec(size_px=(1700, 1200)))
    done, encoded = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, 92])
    assert done
    return Frame(data=np.asarray(encoded).tobytes(), name="plate.jpg", captured_at=datetime.now(UTC), monotonic_ns=0)


def bare_detector_ms(model: Model) -> float:
    """One pass of the detector over a prepared picture: the least that any reading must cost."""
    picture = np.zeros(model.manifest.networks.wells.input[1:], np.uint8)
    times = []
    for _ in range(ROUNDS):
        started = time.perf_counter()
        model.detect(picture)
        times.append((time.perf_counter() - started) * 1000)
    return statistics.median(times)


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("runtime", RUNTIMES)
def test_milliseconds_by_stage(runtime: Runtime, threads: int) -> None:
    pytest.importorskip(RUNTIMES[runtime].split(".")[0])
    model = load_model(SHIPPED_MODEL, runtime=runtime, threads=threads)
    frame, profile = photograph(), PROFILES["hi-96"]
    views = [read_plate(frame, profile, model=model, seat=Seat.TOP_LEFT) for _ in range(ROUNDS + 1)][1:]
    bare_ms = bare_detector_ms(model)
    print(f"\nread_plate, 1700 × 1200 JPEG, {runtime}, {threads} threads (bare detector pass {bare_ms:.1f} ms)")
    for stage in views[0].timings_ms:
        taken = [view.timings_ms[stage] for view in views]
        median = statistics.median(taken)
        print(f"  {stage:<10} {median:8.1f} ms  ({min(taken):.1f} … {max(taken):.1f})   {median / bare_ms:6.2f} ×")
