"""Networks that a release takes over from an earlier one, byte for byte, and what its manifest says of them."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Collection
from pathlib import Path
from typing import Any, Final

# The networks of a release and their files.
FILES: Final = {"wells": "model.tflite", "calls": "calls.tflite", "legends": "legends.tflite"}


def take_over(source: Path, release: Path, networks: Collection[str]) -> None:
    """Copy the files of these networks, each whole or not at all."""
    for network in networks:
        with tempfile.TemporaryDirectory(dir=release) as folder:
            copy = Path(shutil.copyfile(source / FILES[network], Path(folder) / FILES[network]))
            os.replace(copy, release / FILES[network])


def training_notes(data: Path, source: Path | None, taken_over: Collection[str]) -> dict[str, Any]:
    """How each network was made: from the note that its training left in `data`, or from the release it comes from.

    One that was taken over before still names the release that trained it.
    """
    earlier = json.loads((source / "manifest.json").read_text())["training"] if source else {}
    notes: dict[str, Any] = {}
    for network in FILES:
        if source is not None and network in taken_over:
            notes[network] = {"taken_over_from": source.name, **earlier[network]}
        else:
            notes[network] = json.loads((data / f"{network}.json").read_text())
    return notes
