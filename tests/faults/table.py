"""The table in docs/reliability.md, made from docs/faults; a test compares. `make docs` renews it."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from tests.faults.record import Result, results

PAGE: Final = Path(__file__).parents[2] / "docs" / "reliability.md"
BEGIN: Final = "<!-- made from docs/faults by `make docs`: do not edit -->"
END: Final = "<!-- end -->"

_HEAD: Final = (
    "| proof | what was done | acknowledged | lost | doubled | altered | worst | took | on |\n"
    "|---|---|---|---|---|---|---|---|---|"
)


def with_table(page: str, rows: Sequence[Result]) -> str:
    """The page with its table made anew."""
    before, found, rest = page.partition(BEGIN)
    _, closed, after = rest.partition(END)
    if not found or not closed:
        raise ValueError(f"no table in the page (expected the lines {BEGIN!r} and {END!r})")
    return f"{before}{BEGIN}\n{table(rows)}\n{END}{after}"


def table(rows: Sequence[Result]) -> str:
    """The results as Markdown, one row each, and the machines they ran on."""
    machines = sorted({row.machine for row in rows})
    lines = [_HEAD, *(_row(row) for row in rows), "", *(f"Machine: {machine}." for machine in machines)]
    return "\n".join(lines)


def _row(row: Result) -> str:
    name = row.id if not row.part else f"{row.id} {row.part}"
    done = [row.title, _counted(row.counts), _counted(row.faults)]
    done += [f"seeds {row.seeds}"] if row.seeds else []
    done += [row.notes] if row.notes else []
    done += [] if row.full else ["not the full count"]
    wrong = f"{row.altered}" + (f" ({row.misattributed} misattributed)" if row.misattributed else "")
    worst = f"{row.worst_latency_s:.2f} s {row.latency_of}".strip() if row.worst_latency_s is not None else ""
    cells = [name, "; ".join(filter(None, done)), f"{row.acked:,}", f"{row.lost}", f"{row.doubled}", wrong, worst]
    return f"| {' | '.join([*cells, _duration(row.seconds), row.date])} |"


def _counted(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{number:,} {name}" for name, number in counts.items())


def _duration(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} min"


if __name__ == "__main__":
    PAGE.write_text(with_table(PAGE.read_text(), results()))
