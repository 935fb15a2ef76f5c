"""The demo's photographs: three submissions, several plates, one plate put in twice, one picture without a plate."""

import os
import shutil
import threading
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from models.training.render import PlateSpec, render_plate, render_stage


@dataclass(frozen=True, slots=True)
class Photograph:
    """A file to appear: a rendered plate, the same file again, or the empty stage."""

    name: str
    code: str | None
    seed: int
    again: str | None = None


DEMO_PHOTOGRAPHS: tuple[Photograph, ...] = (
    Photograph("01-S-1001-NDV-1.jpg", "S-1001,NDV,1", 11),
    Photograph("02-S-1001-NDV-2.jpg", "S-1001,NDV,2", 12),
    Photograph("03-empty-stage.jpg", None, 13),
    Photograph("04-S-1002-NDV-1.jpg", "S-1002,NDV,1", 14),
    Photograph("05-S-1002-AIV-H5-1.jpg", "S-1002,AIV-H5,1", 15),
    Photograph("06-S-1001-NDV-1-again.jpg", "S-1001,NDV,1", 11, again="01-S-1001-NDV-1.jpg"),
    Photograph("07-S-1003-IB-1.jpg", "S-1003,IB,1", 16),
)


def render_photographs(inbox: Path, stopped: threading.Event) -> None:
    """Write the demo's photographs into `inbox`, one by one; a reader never sees half a file."""
    for photograph in DEMO_PHOTOGRAPHS:
        if stopped.is_set():
            return
        if (inbox / photograph.name).exists():
            continue
        part = inbox / f".{photograph.name}.part"
        if photograph.again is not None:
            shutil.copyfile(inbox / photograph.again, part)
        else:
            part.write_bytes(_jpeg(photograph))
        os.replace(part, inbox / photograph.name)


def _jpeg(photograph: Photograph) -> bytes:
    if photograph.code is None:
        picture = render_stage(photograph.seed)
    else:
        picture, _ = render_plate(photograph.seed, PlateSpec(code=photograph.code))
    done, encoded = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, 92])
    if not done:
        raise RuntimeError(f"OpenCV could not encode {photograph.name}")
    return np.asarray(encoded).tobytes()
