"""`wellread-agent read PHOTO…`: plates as text or JSON, with no broker, central, enrolment or configuration.

The JSON is public and stable: one object per photograph and line. Exit status: 0 all read, 3 some refused, 2 usage.
Nothing is kept or sent.
"""

import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeVar

import click
import cv2
import msgspec

from edge_agent import config
from edge_agent.cameras.frame import MAX_PHOTO_BYTES, Frame
from edge_agent.clock import read_clocks
from edge_agent.plate_text import plate_text
from edge_agent.vision import Model, ModelMismatch, PlateView, Refused, load_model, read_plate
from edge_agent.vision.annotate import annotate
from protocol.assay import AssayProfile
from protocol.endpoint import RowEndpoint, result_text, seen_endpoints
from protocol.messages import ModelUsed, Well
from protocol.plate import Seat, parse_seat
from protocol.profiles import profile_named
from protocol.soundness import parse_profile

SOME_REFUSED: Final = 3
# Fewer photographs than this are read before a progress bar has been drawn.
MANY: Final = 4

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Reader:
    """Everything that a photograph is read with, settled once."""

    model: Model
    profile: AssayProfile
    seat: Seat | None


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.argument(
    "photos", nargs=-1, required=True, metavar="PHOTO…", type=click.Path(exists=True, dir_okay=False, path_type=Path)
)
@click.option("--json", "as_json", is_flag=True, help="One JSON object per photograph and line, for programs.")
@click.option("--seat", metavar="CORNER", help="Corner of the picture where A1 is: top-left, top-right, … or unknown.")
@click.option(
    "--profile",
    metavar="NAME|FILE",
    help="Assay profile that the plates are read with, or its JSON file.  [default: hi-96]",
)
@click.option(
    "--model",
    "model_dir",
    type=click.Path(path_type=Path),
    help="Folder of a model release.",
)
@click.option(
    "--annotate",
    "picture",
    metavar="FILE|DIR",
    type=click.Path(path_type=Path),
    help="Write each photograph with its calls drawn in.",
)
@click.option("--threads", type=click.IntRange(1, 64), help="Processor cores that the model may use.  [default: 2]")
def read(
    photos: tuple[Path, ...],
    *,
    as_json: bool,
    seat: str | None,
    profile: str | None,
    model_dir: Path | None,
    picture: Path | None,
    threads: int | None,
) -> None:
    """Read plates from photographs and print them. Nothing is kept or sent.

    Exits with 0 if every photograph was read, 3 if some were refused, 2 if the command was wrong.
    """
    targets = _targets(photos, picture)
    reader = _reader(seat, profile, model_dir, threads)
    refused = 0
    with _progress(photos) as paths:
        for path in paths:
            refused += not _read_one(path, reader, targets.get(path), as_json=as_json)
    if refused:
        raise SystemExit(SOME_REFUSED)


def _reader(seat: str | None, profile: str | None, model_dir: Path | None, threads: int | None) -> Reader:
    """Options over the bench's configuration over the defaults."""
    bench = _usage(lambda: config.load_config(None))
    if seat is None:
        seat = bench.seat
        if not _is_configured():
            click.echo(f"seat {seat} assumed: A1 at the {seat.replace('-', ' ')} (say --seat otherwise)", err=True)
    folder = model_dir or bench.model_folder
    try:
        model = load_model(folder, threads=threads or bench.threads)
    except ModelMismatch as error:
        raise click.UsageError(f"not a model release: {error}") from error
    chosen = profile or bench.profile
    return Reader(model, _usage(lambda: _profile(chosen)), _usage(lambda: parse_seat(seat)))


def _profile(name: str) -> AssayProfile:
    """A shipped profile by its name, or a laboratory's own by its file."""
    if not name.endswith(".json"):
        return profile_named(name)
    try:
        return parse_profile(Path(name).read_bytes())
    except OSError as error:
        raise ValueError(f"--profile {name}: {error.strerror} (expected a readable file)") from error


def _is_configured() -> bool:
    """Whether somebody said how this bench is set up, so that its seat is not an assumption."""
    return config.CONFIG_FILE.is_file() or not os.environ.keys().isdisjoint(
        {f"{config.PREFIX}SEAT", f"{config.PREFIX}CONFIG"}
    )


def _usage(value: Callable[[], T]) -> T:
    """What `value` gives; a refused value is the caller's mistake and ends with exit status 2."""
    try:
        return value()
    except (ValueError, KeyError) as error:
        raise click.UsageError(str(error.args[0])) from error


def _targets(photos: Sequence[Path], picture: Path | None) -> dict[Path, Path]:
    """Where each annotated picture goes: one file, or a folder with a name per photograph."""
    if picture is None:
        return {}
    if picture.suffix.lower() in {".jpg", ".jpeg", ".png"} and not picture.is_dir():
        if len(photos) > 1:
            raise click.UsageError(f"--annotate {picture}: {len(photos)} photographs for one file (expected a folder)")
        targets = {photos[0]: picture}
    else:
        picture.mkdir(parents=True, exist_ok=True)
        targets = {}
        for path in photos:
            taken = sum(other.stem == path.stem for other in targets)
            targets.setdefault(path, picture / f"{path.stem}{f'-{taken + 1}' if taken else ''}.read.jpg")
    originals = {path.resolve() for path in photos}
    for target in targets.values():
        if target.resolve() in originals:
            raise click.UsageError(f"--annotate {target}: is one of the photographs (expected another file)")
    return targets


@contextmanager
def _progress(photos: Sequence[Path]) -> Iterator[Any]:
    """The photographs, with a bar where it is seen and nothing else is printed there."""
    if len(photos) < MANY or not sys.stderr.isatty() or sys.stdout.isatty():
        yield photos
        return
    with click.progressbar(photos, label="Reading", file=sys.stderr) as bar:
        yield bar


def _read_one(path: Path, reader: Reader, target: Path | None, *, as_json: bool) -> bool:
    """Read, print and draw one photograph; whether it was read."""
    photo = os.fsencode(path).decode("utf-8", "replace")
    moment = read_clocks()
    with path.open("rb") as file:
        frame = Frame(file.read(MAX_PHOTO_BYTES + 1), path.name, moment.at, moment.monotonic_ns)
    try:
        view = read_plate(frame, reader.profile, model=reader.model, seat=reader.seat)
    except Refused as refused:
        document = _refused_document(photo, refused, reader.model.used)
        _echo(_line(document) if as_json else f"{photo}: refused, {refused.reason}: {refused.detail}\n")
        return False
    endpoints = seen_endpoints(view.plate, view.wells, reader.profile)
    document = _document(photo, view, endpoints, reader)
    _echo(_line(document) if as_json else plate_text(photo, view.plate, view.wells, endpoints, reader.profile))
    if target is not None:
        _draw(target, view, endpoints)
    return True


def _document(photo: str, view: PlateView, endpoints: Mapping[str, RowEndpoint], reader: Reader) -> dict[str, object]:
    """The public JSON of a photograph that was read."""
    plate = view.plate
    return {
        "photo": photo,
        "status": "read",
        "reason": None,
        "detail": None,
        "plate": {
            "format": plate.format,
            "rows": plate.rows,
            "columns": plate.columns,
            "rotation_degrees": plate.rotation_degrees,
            "mirrored": plate.mirrored,
            "a1_from": plate.a1_from,
        },
        "wells": {
            name: {
                "call": well.call,
                "confidence": well.confidence,
                "flags": well.flags,
                "candidates": well.candidates,
                "centre_px": well.centre_px,
                "streak": msgspec.to_builtins(well.streak),
                **_measured(well),
            }
            for name, well in view.wells.items()
        },
        "endpoints": {row: _endpoint(row, endpoint, reader.profile) for row, endpoint in endpoints.items()},
        "model": msgspec.to_builtins(reader.model.used),
        "timings_ms": view.timings_ms,
    }


def _measured(well: Well) -> dict[str, object]:
    """What an assay other than HI measured in a well, under the names that the reading has for it."""
    figures = {"colour": well.colour, "growth": well.growth}
    return {name: msgspec.to_builtins(value) for name, value in figures.items() if value is not msgspec.UNSET}


def _endpoint(row: str, endpoint: RowEndpoint, profile: AssayProfile) -> dict[str, object]:
    """One row by both rules, and what is reported of it; where nothing flows, the result in the assay's own words."""
    rest = {"step_fit": endpoint.step_fit, "grade": endpoint.grade, "flags": endpoint.flags}
    if profile.reports == "serum_titre":
        return {"last_flowing": endpoint.last_flowing, **rest, "reported": endpoint.reported(profile)}
    return {"by_rule": endpoint.by_rule, **rest, "result": result_text(row, endpoint.reported(profile), profile)}


def _refused_document(photo: str, refused: Refused, model: ModelUsed) -> dict[str, object]:
    """The public JSON of a photograph that was refused: the same keys, nothing seen."""
    return {
        "photo": photo,
        "status": "refused",
        "reason": refused.reason,
        "detail": refused.detail,
        "plate": None,
        "wells": {},
        "endpoints": {},
        "model": msgspec.to_builtins(model),
        "timings_ms": {},
    }


def _line(document: Mapping[str, object]) -> str:
    return msgspec.json.encode(document).decode() + "\n"


def _echo(text: str) -> None:
    click.echo(text, nl=False)


def _draw(target: Path, view: PlateView, endpoints: Mapping[str, RowEndpoint]) -> None:
    photograph = view.photograph
    drawn = annotate(photograph.image_bgr, photograph.scale, view.wells, endpoints, view.plate.pitch_px)
    _, encoded = cv2.imencode(target.suffix.lower(), drawn)
    target.write_bytes(encoded.tobytes())
