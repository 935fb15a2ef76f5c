"""MODEL_CARD.md from manifest.json: the card repeats measured figures, it never holds any of its own."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from models.training.tables import (
    agreement_table,
    calibration_table,
    confusion_table,
    found_table,
    rivals_table,
    sweep_table,
    temperatures_table,
)

_INTENDED = """\
## What it is for

Finding plates and wells in a photograph from above, and naming what lies in each well of a haemagglutination-inhibition
plate: `flowing`, `button`, `partial`, `diffuse` or `empty`. Everything that follows from the calls (endpoints, titres)
is decided elsewhere and can be recomputed.

Not for: plates photographed through the bottom, assays other than HI (the wells are found, the calls mean nothing),
medical decisions without a person who can see the picture.
"""

_DATA = """\
## What it learned from

Rendered pictures only (`models/training/render.py`). No photograph and no weight of anybody else is in it. The
photographs named below were only measured against; the renderer's ranges were chosen by people who had looked at them,
so their figures are development figures, not a held-out estimate.
"""

_LIMITS = """\
## Known limits

- The boundary between a short tear and a button is where readers disagree; the soft labels put it at a height of 1.10
  times the width. Look at confidences and at the measured streak there.
- Tears must run towards the last row of the plate (patches are cut in the plate's frame). A plate tilted the other way
  is misread.
- Residual veil and dried specks can be called `partial` or `button`; neither is flowing.
- Two photographs of HI plates, one camera, is all the evidence from real HI plates that this release has.
"""


def write_card(release: Path) -> None:
    """Write the card beside the manifest."""
    manifest = json.loads((release / "manifest.json").read_text())
    metrics = manifest["metrics"]
    parts = [
        f"# {manifest['name']} v{manifest['version']}\n",
        "Written by `python -m models.training.evaluate` from `manifest.json`; do not edit by hand.\n",
        _INTENDED,
        _networks(release, manifest),
        _DATA,
        _training(manifest["training"]),
        _renders(metrics["held_out_renders"]),
        _sweep(metrics.get("sweep", {})),
        _beyond(metrics.get("beyond_training", {})),
        _titled("int8 against float", agreement_table(metrics.get("int8_against_float", {}))),
        _photographs(metrics.get("photographs", {})),
        _titled("Beside others", rivals_table(metrics.get("rivals", {}))),
        _latency(metrics.get("latency", {})),
        _LIMITS,
    ]
    (release / "MODEL_CARD.md").write_text("\n".join(part for part in parts if part))


def _networks(release: Path, manifest: dict[str, Any]) -> str:
    rows = ["## Networks\n", "| network | file | input | kB | sha256 |", "|---|---|---|---|---|"]
    for name, network in manifest["networks"].items():
        size = (release / network["file"]).stat().st_size / 1000
        shape = " × ".join(str(n) for n in network["input"])
        rows.append(f"| {name} | {network['file']} | {shape} | {size:.0f} | `{network['sha256'][:16]}…` |")
    temperature = manifest["networks"]["calls"]["temperature"]
    total = sum((release / network["file"]).stat().st_size for network in manifest["networks"].values()) / 1e6
    rows.append(f"\nFull int8, input `rgb ^ 0x80`, {total:.2f} MB in all, MIT licence as the program.")
    rows.append(f"Probabilities are softmax(logits / {temperature}).\n")
    return "\n".join(rows)


def _training(training: dict[str, Any]) -> str:
    rows = ["| network | renders | steps | minutes | went on from | taken over from |", "|---|---|---|---|---|---|"]
    notes = [(name, training[name]) for name in ("wells", "calls", "legends") if name in training]
    rows += [
        f"| {name} | {note['renders']} | {note['steps']} | {note['minutes']} | {_start(note)} "
        f"| {note.get('taken_over_from', '–')} |"
        for name, note in notes
    ]
    seeds = ", ".join(f"{name} {seed}" for name, seed in training["seeds"].items())
    versions = ", ".join(f"{name} {number}" for name, number in training["versions"].items())
    return "\n".join([*rows, "", f"Seeds: {seeds}.", f"Versions: {versions}.", ""])


def _start(note: dict[str, Any]) -> str:
    """What a training went on from, and how that had been made where the same release tells."""
    before = note.get("before")
    how = f" ({before['renders']} renders, {before['steps']} steps, {before['minutes']} minutes)" if before else ""
    return f"{note.get('start', 'nothing')}{how}"


def _renders(renders: dict[str, Any]) -> str:
    wells, calls = renders["wells"], renders["calls"]
    rows = [f"## On held-out renders\n\nDetector, {wells['pictures']} pictures:\n"]
    rows += ["| | wells found | detections that are wells | centre error, px at 640 | plates found | plate overlap |"]
    rows += ["|---|---|---|---|---|---|"]
    for kind in ("int8", "float"):
        if kind in wells:
            w = wells[kind]
            rows.append(
                f"| {kind} | {w['wells_found']} | {w['detections_that_are_wells']} | {w['centre_error_px']} "
                f"| {w['plates_found']} | {w['plate_overlap']} |"
            )
    rows += [
        f"\nCalls, {calls['wells']} wells: class right {calls['class_right']}, flowing or not right "
        f"{calls['flowing_right']} (int8)"
        + (
            f"; float {calls['float']['class_right']}, {calls['float']['flowing_right']}; same call in both "
            f"{calls['same_call_as_float']}"
            if "float" in calls
            else ""
        )
        + f"; same call in both runtimes {calls['same_call_in_both_runtimes']}.",
        f"Expected calibration error {calls['calibration_error']}.\n",
        temperatures_table(calls.get("temperatures", [])),
        confusion_table(calls["confusion"]),
        calibration_table(calls["calibration"]),
    ]
    return "\n".join(rows)


def _sweep(sweep: dict[str, Any]) -> str:
    if not sweep:
        return ""
    rows = [
        "## On renders with one parameter outside its training range\n",
        "Whole plates, end to end, everything else as a well-kept bench has it. Rows are those for which 9 of 10",
        "readers would name the same titre (docs/decisions/0017).\n",
        sweep_table(sweep),
        calibration_table(sweep["all"]["calibration"]),
        confusion_table(sweep["all"]["confusion"]),
    ]
    return "\n".join(rows)


def _beyond(beyond: dict[str, Any]) -> str:
    if not beyond:
        return ""
    outcomes = ", ".join(f"{count} {outcome}" for outcome, count in beyond["outcomes"].items())
    rows = ["## On renders with everything out of range at once\n"]
    rows += [f"{beyond['plates']} whole plates, end to end: {outcomes}.\n"]
    rows += ["| rows | read | without titre | titre exact | within ±1 |", "|---|---|---|---|---|"]
    names = {"all": "all", "panel_agrees": "9 of 10 readers would agree"}
    rows += [
        f"| {names.get(name, f'graded {name}')} | {r['rows']} | {r['without_titre']} | {r['exact']} | {r['within_1']} |"
        for name, r in beyond["rows"].items()
    ]
    rows += [f"\nExpected calibration error {beyond['calibration_error']} over {beyond['wells']} wells.\n"]
    rows += [calibration_table(beyond["calibration"])]
    rows += [confusion_table(beyond["confusion"])] if "confusion" in beyond else []
    rows += ["| column | wells | wrong as flowing or not | class wrong |", "|---|---|---|---|"]
    rows += [
        f"| {r['column']} | {r['wells']} | {r['flowing_wrong']} | {r['class_wrong']} |" for r in beyond["by_column"]
    ]
    return "\n".join([*rows, ""])


def _titled(title: str, table: str) -> str:
    return f"## {title}\n\n{table}" if table else ""


def _latency(latency: dict[str, Any]) -> str:
    if not latency:
        return ""
    rows = [f"## Time\n\nMedian milliseconds, {latency['picture']}, {latency['machine']}, other work beside it.\n"]
    rows += ["| runtime | threads | detector | 96 calls | whole reading |", "|---|---|---|---|---|"]
    rows += [
        f"| {r['runtime']} | {r['threads']} | {r['detector_ms']} | {r['calls_ms']} | {r['reading_ms']} |"
        for r in latency["rows"]
    ]
    return "\n".join([*rows, ""])


def _photographs(photographs: dict[str, Any]) -> str:
    if not photographs:
        return ""
    titration, three = photographs["hi_titration"], photographs["hi_three_wells"]
    rows = ["## On photographs", ""]
    rows.append(f"A full HI titration, {titration['wells_unambiguous']} unambiguous wells, 8 rows:\n")
    rows += ["| | flowing or not right | class right | rows exact | rows within ±1 |", "|---|---|---|---|---|"]
    for name in ("corners_given", "end_to_end"):
        t = titration[name]
        if isinstance(t, str):
            rows.append(f"| {name.replace('_', ' ')} | {t} | | | |")
            continue
        rows.append(
            f"| {name.replace('_', ' ')} | {t['flowing_right']} | {t['class_right']} | {t['rows_exact']} "
            f"| {t['rows_within_1']} |"
        )
    for name in ("corners_given", "end_to_end"):
        if not isinstance(titration[name], str):
            rows += ["", f"{name.replace('_', ' ').capitalize()}:", "", confusion_table(titration[name]["confusion"])]
    rows += [f"An almost empty plate ({three['wells_empty']} empty wells, {three['wells_with_cells']} with cells):\n"]
    rows += [f"- {name.replace('_', ' ')}: {three[name]}" for name in ("corners_given", "end_to_end")]
    rows += ["\nPlates of other assays and cameras, before the limits of quality, which refuse some of these:\n"]
    rows += [found_table(photographs["found_per_set"])]
    return "\n".join([*rows, ""])
