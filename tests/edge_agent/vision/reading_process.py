"""A process of its own that reads photographs: what it holds in memory, and that it writes the same bytes every time.

`python -m tests.edge_agent.vision.reading_process [--threads N] [--opencv-threads N] [--repeats N] FILE…` prints one
line of JSON per file. The first file is read once before anything is counted.
"""

import argparse
import json
import re
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2

from edge_agent.config import SHIPPED_MODEL
from edge_agent.vision import Model, Refused, load_model, read_plate
from protocol.codec import digest, encode_reading
from protocol.plate import Seat
from tests.edge_agent.vision.conftest import frame
from tests.make import HI, make_reading


def outcome(model: Model, content: bytes) -> str:
    """SHA-256 of the reading's own bytes with a fixed id and clock, or the reason of its refusal."""
    try:
        view = read_plate(frame(content), HI, model=model, seat=Seat.TOP_LEFT)
    except Refused as refused:
        return str(refused)
    return digest(encode_reading(make_reading(1, plate=view.plate, wells=view.wells, quality=view.quality)))


def peak_mb() -> float:
    """The most memory that this process ever held (`VmHWM`): its own, where `ru_maxrss` begins with its parent's."""
    found = re.search(r"VmHWM:\s*(\d+) kB", Path("/proc/self/status").read_text(encoding="ascii"))
    assert found is not None
    return int(found[1]) / 1024


def read_apart(files: Sequence[Path], *options: str) -> list[dict[str, Any]]:
    """The lines of such a process, started afresh."""
    command = [sys.executable, "-m", __name__, *options, *map(str, files)]
    done = subprocess.run(command, check=True, capture_output=True, text=True, cwd=Path(__file__).parents[3])
    return [json.loads(line) for line in done.stdout.splitlines()]


def main() -> None:
    """Read every file so often and print what came of it."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--opencv-threads", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=1)
    parser.add_argument("files", nargs="+", type=Path)
    asked = parser.parse_args()
    cv2.setNumThreads(asked.opencv_threads)
    model = load_model(SHIPPED_MODEL, threads=asked.threads)
    outcome(model, asked.files[0].read_bytes())
    usual_mb = peak_mb()
    for file in asked.files:
        started = time.perf_counter()
        outcomes = sorted({outcome(model, file.read_bytes()) for _ in range(asked.repeats)})
        took_s = (time.perf_counter() - started) / asked.repeats
        line = {"file": file.name, "outcomes": outcomes, "usual_mb": usual_mb, "peak_mb": peak_mb(), "s": took_s}
        print(json.dumps(line))


if __name__ == "__main__":
    main()
