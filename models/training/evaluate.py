"""Measure a release and write the figures where they belong: manifest.json and MODEL_CARD.md.

    python -m models.training.evaluate --release models/hi-wells-v3 --plates ../shared/plates
    python -m models.training.evaluate --only photographs,rivals

Held-out renders have seeds that training never saw; what calibrates the calls is fitted on one part of them and judged
on another. Photographs are measured where they are present, int8 is compared with the float networks where export left
them (`--floats`), and figures of parts that are not measured stay as they were. Runs with the edge runtime alone, on
all cores.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from time import perf_counter
from typing import Any, Final

import cv2

from edge_agent.config import SHIPPED_MODEL
from edge_agent.vision import load_model
from models.training.agreement import (
    VARIED_SEED,
    agreement,
    photographs_twice,
    read_beyond_twice,
    read_swept_twice,
    read_varied_twice,
)
from models.training.beyond import BEYOND_SEED, summarise_beyond
from models.training.card import write_card
from models.training.held_out import measure_calls, measure_wells
from models.training.latency import measure_latency
from models.training.manifest import save_manifest
from models.training.photographs import measure_photographs
from models.training.ranges import GROUPS
from models.training.rivals import measure_rivals
from models.training.sweep import PLATES_EACH, SWEEP_SEED, summarise_sweep
from models.training.workers import over_seeds


@dataclass(frozen=True, slots=True)
class Measuring:
    """What to measure, with what, and how much of it."""

    release: Path
    plates: Path
    floats: Path
    network: Path | None
    beyond: int
    swept_each: int = PLATES_EACH
    pictures: int = 150
    held_out: int = 120
    rivals: int = 150

    @property
    def has_photographs(self) -> bool:
        """Whether there are labelled photographs."""
        return (self.plates / "hi").is_dir()


Measure = Callable[[Measuring], dict[str, Any]]


def _calls(what: Measuring) -> dict[str, Any]:
    calls, temperature = measure_calls(what.release, what.floats, what.held_out)
    manifest = _manifest(what.release)
    manifest["networks"]["calls"]["temperature"] = temperature
    save_manifest(what.release, manifest)
    return {"held_out_renders": _renders(manifest) | {"calls": calls}}


def _wells(what: Measuring) -> dict[str, Any]:
    wells = measure_wells(what.release, what.floats, what.pictures)
    return {"held_out_renders": _renders(_manifest(what.release)) | {"wells": wells}}


def _renders(manifest: dict[str, Any]) -> dict[str, Any]:
    return dict(manifest["metrics"].get("held_out_renders", {}))


def _photographs(what: Measuring) -> dict[str, Any]:
    if not what.has_photographs:
        print(f"no labelled photographs in {what.plates}: their figures are left as they were")
        return {}
    return {"photographs": measure_photographs(load_model(what.release), what.plates)}


def _rivals(what: Measuring) -> dict[str, Any]:
    """Figures of photographs that are not present stay as they were."""
    earlier = _manifest(what.release)["metrics"].get("rivals", {})
    return {"rivals": earlier | measure_rivals(what.release, what.plates, what.rivals, what.network)}


def _latency(what: Measuring) -> dict[str, Any]:
    return {"latency": measure_latency(what.release)}


def _sweep(what: Measuring) -> dict[str, Any]:
    """Whole plates read end to end, one parameter at a time out of its range; and int8 against float over them."""
    seeds = range(SWEEP_SEED, SWEEP_SEED + what.swept_each * len(GROUPS))
    read = over_seeds(partial(read_swept_twice, what.release, what.floats), seeds)
    figures = {"sweep": summarise_sweep([(name, plate) for name, plate, _ in read])}
    both = [seen for _, _, seen in read if seen is not None]
    if not both:
        print(f"no float networks in {what.floats}: int8 against float is left as it was")
        return figures
    return figures | _agreements(what, {"one_parameter_out_of_range": agreement(both)})


def _agreements(what: Measuring, kinds: dict[str, dict[str, int]]) -> dict[str, Any]:
    """int8 against float over these kinds of plates; other kinds stay as they were."""
    return {"int8_against_float": _manifest(what.release)["metrics"].get("int8_against_float", {}) | kinds}


def _beyond(what: Measuring) -> dict[str, Any]:
    """Whole plates read end to end; and int8 against float over them, over training's own kind and photographs."""
    seeds = range(BEYOND_SEED, BEYOND_SEED + what.beyond)
    read = over_seeds(partial(read_beyond_twice, what.release, what.floats), seeds)
    beyond = {"beyond_training": summarise_beyond([plate for plate, _ in read])}
    both = [seen for _, seen in read if seen is not None]
    if not both:
        print(f"no float networks in {what.floats}: int8 against float is left as it was")
        return beyond
    varied_seeds = range(VARIED_SEED, VARIED_SEED + max(what.beyond // 4, 1))
    varied = over_seeds(partial(read_varied_twice, what.release, what.floats), varied_seeds)
    kinds = {
        "everything_out_of_range_at_once": agreement(both),
        "as_hard_as_in_training": agreement([seen for seen in varied if seen is not None]),
    }
    if what.has_photographs:
        kinds["photographs"] = agreement(photographs_twice(what.release, what.floats, what.plates))
    return beyond | _agreements(what, kinds)


def _manifest(release: Path) -> dict[str, Any]:
    manifest: dict[str, Any] = json.loads((release / "manifest.json").read_text())
    return manifest


# In the order in which they are measured: what calibrates the calls is fitted first.
PARTS: Final[Mapping[str, Measure]] = {
    "calls": _calls,
    "wells": _wells,
    "sweep": _sweep,
    "beyond": _beyond,
    "photographs": _photographs,
    "rivals": _rivals,
    "latency": _latency,
}


def parts_named(text: str) -> tuple[str, ...]:
    """The parts of a comma-separated list, in the order in which they are measured."""
    wanted = [part.strip() for part in text.split(",")]
    unknown = [part for part in wanted if part not in PARTS]
    if unknown:
        raise argparse.ArgumentTypeError(f"not a part: {unknown[0]!r} (expected some of {', '.join(PARTS)})")
    return tuple(part for part in PARTS if part in wanted)


def evaluate(what: Measuring, parts: Mapping[str, Measure]) -> None:
    """Measure these parts; the manifest is written after each, so that an interruption loses one."""
    for name, measure in parts.items():
        start = perf_counter()
        figures = measure(what)
        manifest = _manifest(what.release)
        save_manifest(what.release, manifest | {"metrics": manifest["metrics"] | figures})
        print(f"{name}: {perf_counter() - start:.0f} s", flush=True)


def main(arguments: Sequence[str] | None = None) -> None:
    """Command line: measure, then write the card."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--release", type=Path, default=SHIPPED_MODEL)
    parser.add_argument("--plates", type=Path, default=Path("../shared/plates"), help="labelled photographs, if any")
    parser.add_argument("--floats", type=Path, default=Path("train-data"), help="where export left the float networks")
    parser.add_argument("--network", type=Path, help="somebody else's patch network, for the rivals' table")
    parser.add_argument("--beyond", type=int, default=1000, help="plates outside the training range to read")
    parser.add_argument("--swept", type=int, default=PLATES_EACH, help="plates to read per parameter out of its range")
    parser.add_argument("--only", type=parts_named, default=tuple(PARTS), help=f"some of {','.join(PARTS)}")
    chosen = parser.parse_args(arguments)
    cv2.setNumThreads(1)
    what = Measuring(
        chosen.release, chosen.plates, chosen.floats, chosen.network, chosen.beyond, swept_each=chosen.swept
    )
    evaluate(what, {part: PARTS[part] for part in chosen.only})
    write_card(what.release)


if __name__ == "__main__":
    main()
