"""Which titres would change? Two releases read the same pictures, and every difference is printed.

    python -m models.training.compare models/hi-wells-v2 models/hi-wells-v3 PICTURES [--profile hi-96] [--seat top-left]

The exit status is 1 if any titre changed, or if one release reads a picture that the other refuses.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

import cv2

from edge_agent.cameras.frame import Frame
from edge_agent.vision import Model, Refused, load_model, read_plate
from protocol.assay import AssayProfile
from protocol.endpoint import seen_endpoints, titre_text
from protocol.plate import Seat, parse_seat
from protocol.profiles import profile_named

SUFFIXES = (".jpg", ".jpeg", ".png")
PLATE = "plate"  # the row under which a refusal of the whole picture is listed


def titres(model: Model, picture: Path, profile: AssayProfile, seat: Seat | None) -> dict[str, str]:
    """The titre of every row as reports print it; a picture that is not read has one entry, the reason."""
    frame = Frame(picture.read_bytes(), picture.name, datetime.fromtimestamp(picture.stat().st_mtime, UTC), 0)
    try:
        view = read_plate(frame, profile, model=model, seat=seat)
    except Refused as refused:
        return {PLATE: f"refused: {refused.reason}"}
    found = {}
    for row, endpoint in seen_endpoints(view.plate, view.wells, profile).items():
        reported = endpoint.reported(profile)
        found[row] = "none" if reported is None else titre_text(reported, profile)
    return found


def changes(old: Mapping[str, str], new: Mapping[str, str]) -> list[tuple[str, str, str]]:
    """Row, old and new titre of every row that differs; a row that one of them lacks is "not read" there."""
    if set(old) == {PLATE} == set(new):
        return []  # refused by both: no titre changed, whatever the reasons
    rows = sorted(set(old) | set(new))
    pairs = [(row, old.get(row, "not read"), new.get(row, "not read")) for row in rows]
    return [pair for pair in pairs if pair[1] != pair[2]]


def compare(releases: tuple[Path, Path], folder: Path, profile: AssayProfile, seat: Seat | None) -> int:
    """Print the table of changes; how many there are."""
    old, new = (load_model(release) for release in releases)
    pictures = sorted(path for path in folder.iterdir() if path.suffix.lower() in SUFFIXES)
    if not pictures:
        raise ValueError(f"no pictures in {folder} (expected {', '.join(SUFFIXES)})")
    total = 0
    print(f"{'picture':<40} {'row':<6} {releases[0].name:<24} {releases[1].name}")
    for picture in pictures:
        differing = changes(titres(old, picture, profile, seat), titres(new, picture, profile, seat))
        for row, before, after in differing:
            print(f"{picture.name:<40} {row:<6} {before:<24} {after}")
        total += len(differing)
    print(f"{total} changes in {len(pictures)} pictures")
    return total


def main(arguments: Sequence[str] | None = None) -> int:
    """Command line; the exit status says whether anything changed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("old", type=Path, help="folder of the release that reads today")
    parser.add_argument("new", type=Path, help="folder of the release that would take its place")
    parser.add_argument("pictures", type=Path, help="folder of photographs")
    parser.add_argument("--profile", default="hi-96")
    parser.add_argument("--seat", type=parse_seat, default=Seat.TOP_LEFT, help="where A1 lies, or unknown")
    chosen = parser.parse_args(arguments)
    cv2.setNumThreads(1)
    changed = compare((chosen.old, chosen.new), chosen.pictures, profile_named(chosen.profile), chosen.seat)
    return 1 if changed else 0


if __name__ == "__main__":
    sys.exit(main())
