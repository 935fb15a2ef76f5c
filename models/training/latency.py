"""How long the networks and a whole reading take, by runtime and threads, on the machine at hand."""

from __future__ import annotations

import platform
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from time import perf_counter
from typing import Any

import cv2
import numpy as np

from edge_agent.cameras.frame import Frame
from edge_agent.vision import ModelMismatch, load_model, read_plate
from edge_agent.vision.detector import RUNTIMES
from models.training.render import PlateSpec, render_plate
from protocol.plate import Seat
from protocol.profiles import profile_named

REPEATS = 15
WELLS = 96


def measure_latency(folder: Path) -> dict[str, Any]:
    """Median milliseconds of the detector, of 96 calls, and of a reading from JPEG bytes."""
    image, _ = render_plate(1, PlateSpec(size_px=(1700, 1200)))
    data = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, 92])[1].tobytes()
    frame = Frame(data, "render.jpg", datetime(2026, 1, 1, tzinfo=UTC), 0)
    patches = np.full((WELLS, 64, 64, 3), 120, np.uint8)
    profile = profile_named("hi-96")
    rows: list[dict[str, str | int | float]] = []
    for runtime in RUNTIMES:
        for threads in (1, 2):
            try:
                model = load_model(folder, threads=threads, runtime=runtime)
            except ModelMismatch:
                continue  # not installed here
            row = {
                "detector_ms": _median_ms(partial(model.detect, image)),
                "calls_ms": _median_ms(partial(model.call_logits, patches)),
                "reading_ms": _median_ms(partial(read_plate, frame, profile, model=model, seat=Seat.TOP_LEFT)),
            }
            rows.append({"runtime": model.runtime, "threads": threads, **row})
    return {"machine": f"{platform.machine()}, {platform.system()}", "picture": "1700 × 1200 JPEG", "rows": rows}


def _median_ms(work: Callable[[], object]) -> float:
    work()
    laps = []
    for _ in range(REPEATS):
        start = perf_counter()
        work()
        laps.append((perf_counter() - start) * 1000)
    return round(float(np.median(laps)), 1)
