"""docs/reading.md: what can be made from the released model and the code is made here, between markers.

    python -m models.training.reading_page

Figures come from the release's manifest, messages from the code, pictures from renders. Prose between the markers is
written by hand and holds no figure; a test compares the page with what this makes.
"""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import cv2

from edge_agent.config import SHIPPED_MODEL
from edge_agent.vision import load_model
from models.training.reading_pictures import ENDPOINTS, write_pictures
from models.training.refusals import refusals_table
from models.training.tables import (
    agreement_table,
    calibration_table,
    confusion_table,
    found_table,
    refused,
    rivals_table,
    sweep_table,
    temperatures_table,
)

PAGE: Final = Path(__file__).parents[2] / "docs" / "reading.md"
NOT_MEASURED: Final = "Not measured for this release.\n"
_SECTION: Final = re.compile(r"(<!-- made: (?P<name>[a-z0-9-]+) -->\n)(?P<old>.*?)(<!-- end -->)", re.DOTALL)


def filled(page: str, sections: Mapping[str, str]) -> str:
    """The page with every marked section made anew; refused where page and sections do not name the same."""
    named = [match["name"] for match in _SECTION.finditer(page)]
    if sorted(named) != sorted(sections):
        raise ValueError(f"the page marks {sorted(named)} (expected {sorted(sections)}, each once)")
    return _SECTION.sub(lambda match: f"{match[1]}\n{sections[match['name']].strip()}\n\n{match[4]}", page)


def sections(release: Path) -> dict[str, str]:
    """What is made, by name."""
    manifest: dict[str, Any] = json.loads((release / "manifest.json").read_text())
    metrics = manifest["metrics"]
    renders, beyond = metrics.get("held_out_renders", {}), metrics.get("beyond_training", {})
    sweep = metrics.get("sweep", {})
    made = {
        "release": f"Figures below are those of **{manifest['name']} v{manifest['version']}**; the model card beside "
        f"the release, `models/{release.name}/MODEL_CARD.md`, has all of them.",
        "drawn": "Drawn with the endpoints "
        + ", ".join(f"{row} {end}" for row, end in zip("ABCDEFGH", ENDPOINTS, strict=True))
        + ". The number beside each row is the one that was read.",
        "sweep": sweep_table(sweep),
        "titres": _titres(beyond),
        "found": found_table(metrics["photographs"]["found_per_set"]) if metrics.get("photographs") else "",
        "confusion": _confusions(renders.get("calls", {}), sweep, beyond, metrics.get("photographs", {})),
        "calibration": _calibration(renders.get("calls", {}), sweep, beyond),
        "rivals": rivals_table(metrics.get("rivals", {})),
        "int8": agreement_table(metrics.get("int8_against_float", {})),
        "refusals": refusals_table(),
    }
    return {name: text or NOT_MEASURED for name, text in made.items()}


def _titres(beyond: Mapping[str, Any]) -> str:
    if not beyond:
        return ""
    outcomes = beyond["outcomes"]
    why = refused(outcomes)
    names = {
        "all": "all rows",
        "panel_agrees": "9 of 10 readers would agree",
        "high": "graded high",
        "medium": "graded medium",
        "low": "graded low",
    }
    lines = [
        f"{beyond['plates']} whole plates, {outcomes.get('read', 0)} read, the others refused"
        + (f" ({why})." if why else "."),
        "\n| rows | read | without titre | exact | within ±1 |\n|---|---|---|---|---|",
    ]
    for key, words in names.items():
        row = beyond["rows"][key]
        lines.append(
            f"| {words} | {row['rows']} | {row['without_titre']} | {_share(row['exact'])} | {_share(row['within_1'])} |"
        )
    return "\n".join(lines)


def _share(value: float | None) -> str:
    return "–" if value is None else f"{value:.1%}"


def _all(sweep: Mapping[str, Any]) -> Mapping[str, Any]:
    """The figures of all parameters together."""
    figures: Mapping[str, Any] = sweep.get("all", {})
    return figures


def _confusions(
    calls: Mapping[str, Any], sweep: Mapping[str, Any], beyond: Mapping[str, Any], photographs: Mapping[str, Any]
) -> str:
    titration = photographs.get("hi_titration", {}).get("end_to_end")
    tables = (
        ("Renders like those that it learned from, seeds that it never saw", calls.get("confusion")),
        ("One parameter out of its training range, whole plates from JPEG bytes", _all(sweep).get("confusion")),
        ("Everything out of range at once, whole plates from JPEG bytes", beyond.get("confusion")),
        (
            "A photographed titration, from JPEG bytes",
            titration.get("confusion") if isinstance(titration, dict) else None,
        ),
    )
    return "\n".join(f"{title}:\n\n{confusion_table(table)}" for title, table in tables if table)


def _calibration(calls: Mapping[str, Any], sweep: Mapping[str, Any], beyond: Mapping[str, Any]) -> str:
    parts = [temperatures_table(calls.get("temperatures", []))]
    sets = (("One parameter out of its training range", _all(sweep)), ("Everything out of range at once", beyond))
    for title, figures in sets:
        if figures:
            error = figures["calibration_error"]
            parts += [
                f"{title}, whole plates: the expected calibration error is {error}.\n",
                calibration_table(figures["calibration"]),
            ]
    return "\n".join(part for part in parts if part)


def main() -> None:
    """Command line: make sections and pictures anew."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--release", type=Path, default=SHIPPED_MODEL)
    release: Path = parser.parse_args().release
    cv2.setNumThreads(1)
    PAGE.write_text(filled(PAGE.read_text(), sections(release)))
    write_pictures(load_model(release), PAGE.parent / "images")


if __name__ == "__main__":
    main()
