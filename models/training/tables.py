"""A manifest's figures as Markdown tables: the model card and the page about reading show the same ones. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

_SETS: Final = {
    "titration": "a photographed titration",
    "varied": "renders as hard as in training",
    "beyond": "renders with everything out of range at once",
}
_DETECTIONS: Final = {
    "score_as_probability": "its score as a probability",
    "from_half_on": "only what scores 0.5 or more",
    "half_of_one_plus_score": "(1 + score) / 2 as a probability",
}


def confusion_table(table: Mapping[str, Mapping[str, int]]) -> str:
    """Counts by true class, then by called class."""
    names = list(next(iter(table.values())))
    rows = [f"| true \\ called | {' | '.join(names)} |", "|---" * (len(names) + 1) + "|"]
    rows += [f"| {true} | {' | '.join(str(called[name]) for name in names)} |" for true, called in table.items()]
    return "\n".join([*rows, ""])


def calibration_table(bands: list[Mapping[str, Any]]) -> str:
    """How sure the network was, how often the panel agreed, per band of confidence."""
    rows = ["| confidence | panel agreed | wells |", "|---|---|---|"]
    return "\n".join([*rows, *(f"| {b['confidence']} | {b['agreed']} | {b['wells']} |" for b in bands), ""])


def temperatures_table(rows: Sequence[Mapping[str, float]]) -> str:
    """What a temperature does inside the training range and with everything outside: none, one fitted inside, ours."""
    if not rows:
        return ""
    names = ("none", "fitted inside the training range", "in use, fitted inside and outside")
    head = ["| temperature | | calibration error inside the training range | everything outside |", "|---|---|---|---|"]
    lines = [
        f"| {name} | {r['temperature']} | {r['inside']} | {r['outside']} |" for name, r in zip(names, rows, strict=True)
    ]
    return "\n".join([*head, *lines, ""])


def sweep_table(sweep: Mapping[str, Any]) -> str:
    """One parameter at a time outside its training range: in all, then every parameter in the order of the ranges.

    A row without a titre is not exact among all rows; the shares after that are of the titres that were given.
    """
    if not sweep:
        return ""
    head = [
        "| out of range | plates | read | refused | rows | without titre | exact of all rows | titres exact "
        "| titres within ±1 | graded high, exact | calibration error |",
        "|---" * 11 + "|",
    ]
    lines = [_swept("**in all**", sweep["all"])]
    lines += [_swept(name.replace("_", " "), figures) for name, figures in sweep["parameters"].items()]
    return "\n".join([*head, *lines, ""])


def _swept(name: str, figures: Mapping[str, Any]) -> str:
    rows, high, error = figures["rows"], figures["high"], figures["calibration_error"]
    sure = f"{_percent(high['exact'])} of {high['rows']}" if high["rows"] else "–"
    outcomes = figures["outcomes"]
    cells = [name, figures["plates"], outcomes.get("read", 0), refused(outcomes) or "–"]
    cells += [rows["rows"], rows["without_titre"], _percent(exact_of_all(rows), digits=2)]
    cells += [_percent(rows["exact"], digits=2), _percent(rows["within_1"], digits=2), sure]
    cells += ["–" if error is None else f"{error:.3f}"]
    return f"| {' | '.join(str(cell) for cell in cells)} |"


def refused(outcomes: Mapping[str, int]) -> str:
    """How many plates were refused and why, in words; nothing where all were read."""
    return ", ".join(
        f"{count} {name.removeprefix('refused_').replace('_', ' ')}"
        for name, count in outcomes.items()
        if name != "read"
    )


def exact_of_all(rows: Mapping[str, Any]) -> float | None:
    """The share of all rows whose titre was given and is exact; None without rows."""
    if not rows["rows"]:
        return None
    return float((rows["exact"] or 0.0) * (rows["rows"] - rows["without_titre"]) / rows["rows"])


def _percent(value: float | None, digits: int = 1) -> str:
    return "–" if value is None else f"{value:.{digits}%}"


def found_table(sets: Mapping[str, Mapping[str, float]]) -> str:
    """Plates of other assays and cameras, found or not, by set; releases before v2 counted outcomes alone."""
    if all("labelled" in figures for figures in sets.values()):
        keys = (
            *("labelled", "found", "wrong", "pictures_read", "pictures_read_wrong"),
            *("centre_error_median", "centre_error_p95"),
        )
        head = [
            "| set | plates | found | wrong | pictures read | read wrong | centre error, pitches | p95 |",
            "|---" * 8 + "|",
        ]
        lines = [
            f"| {name} | " + " | ".join(str(figures.get(key, "–")) for key in keys) + " |"
            for name, figures in sets.items()
        ]
        return "\n".join([*head, *lines])
    lines = [
        f"| {name} | {', '.join(f'{count} {outcome}' for outcome, count in outcomes.items())} |"
        for name, outcomes in sets.items()
    ]
    return "\n".join(["| set | outcomes |", "|---|---|", *lines])


def rivals_table(report: Mapping[str, Any]) -> str:
    """Every judge on every set, the almost empty plate, and another detector's plate."""
    if not report:
        return ""
    rows = [
        "| | wells flowing or not | class | rows exact | within ±1 | graded high, exact | calibration error |",
        "|---|---|---|---|---|---|---|",
    ]
    sets = {"titration": report.get("titration", {}), **report["renders"]}
    for name, judges in sets.items():
        if not judges:
            continue
        some = next(iter(judges.values()))
        rows.append(f"| **{_SETS[name]}**: {some['wells']} wells, {some['rows']} rows | | | | | | |")
        rows += [_judge_row(judge, figures) for judge, figures in judges.items()]
        if name == "titration":
            rows += [_quoted_row(judge, figures) for judge, figures in report["quoted"].items()]
    parts = [
        "\n".join(rows),
        _almost_empty(report.get("almost_empty", {})),
        _detections(report.get("other_detector", {})),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _judge_row(name: str, figures: Mapping[str, Any]) -> str:
    rows, high = figures["rows"], figures["rows_high"]
    cells = (
        f"{figures['flowing_right']:.2%}",
        "–" if figures["class_right"] is None else f"{figures['class_right']:.2%}",
        _of(figures["rows_exact"], rows),
        _of(figures["rows_within_1"], rows),
        "–" if high is None else _of_many(figures["rows_high_exact"], high),
        "–" if figures["calibration_error"] is None else f"{figures['calibration_error']:.3f}",
    )
    return f"| {name} | {' | '.join(cells)} |"


def _quoted_row(name: str, figures: Mapping[str, Any]) -> str:
    classes = "–" if figures["class_right"] is None else f"{figures['class_right']:.2%}"
    return (
        f"| *{name}* | {figures['flowing_right']:.2%} | {classes} | {_of(figures['rows_exact'], 8)} | 8 of 8 | – | – |"
    )


def _of(part: int, whole: int) -> str:
    if whole <= 20:
        return f"{part} of {whole}"
    return f"{part / whole:.1%}"


def _of_many(part: int, whole: int) -> str:
    return _of(part, whole) if whole <= 20 else f"{_of(part, whole)} of {whole}"


def _almost_empty(judges: Mapping[str, Mapping[str, int | None]]) -> str:
    if not judges:
        return ""
    empty = next(iter(judges.values()))["empty_wells"]
    rows = [
        f"A photographed plate with {empty} empty wells and cells in the others:\n",
        "| | called empty | called flowing | wells with cells found | rows given a titre | rows graded high |",
        "|---|---|---|---|---|---|",
    ]
    keys = ("called_empty", "called_flowing", "cells_found", "rows_with_a_titre", "rows_graded_high")
    for name, figures in judges.items():
        rows.append(f"| {name} | " + " | ".join("–" if figures[k] is None else str(figures[k]) for k in keys) + " |")
    return "\n".join(rows)


def _detections(figures: Mapping[str, int]) -> str:
    if not figures:
        return ""
    rows = [
        "An earlier detector, on its own plate, with our endpoint rules on its detections (its picture is not among "
        "ours, so right is what all its detections together say):\n",
        "| its detections read as | rows exact |",
        "|---|---|",
    ]
    rows += [f"| {words} | {_of(figures[key], figures['rows'])} |" for key, words in _DETECTIONS.items()]
    return "\n".join(rows)


def agreement_table(report: Mapping[str, Any]) -> str:
    """Titres and calls that differ between the float networks and what they became as int8."""
    if not report:
        return ""
    rows = [
        "| | plates | read by one alone | rows | titres that differ | wells | calls that differ |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, figures in report.items():
        rows.append(
            f"| {name.replace('_', ' ')} | {figures['plates']} | {figures['read_by_one']} | {figures['rows']} "
            f"| {figures['titres_differ']} ({_share(figures['titres_differ'], figures['rows'])}) | {figures['wells']} "
            f"| {figures['calls_differ']} ({_share(figures['calls_differ'], figures['wells'])}) |"
        )
    return "\n".join([*rows, ""])


def _share(part: int, whole: int) -> str:
    return f"{part / whole:.2%}" if whole else "–"
