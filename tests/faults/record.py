"""What a run of a fault test found, as a file in docs/faults: only figures that this very run counted.

A test calls `record` at its end. Files are written only by the full runs (`make faults` sets FAULTS_FULL=1): the short
ones inside `make test` leave the repository as it was.
"""

import os
import platform
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import msgspec

FOLDER: Final = Path(__file__).parents[2] / "docs" / "faults"


class Result(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One row of the table in docs/reliability.md.

    `id` is the proof's ("E1"), `part` tells several runs of one proof apart, `faults` says how often which fault was
    made. `acked` are the readings that a bench was shown as saved, or that central acknowledged; the next four are of
    those. `worst_latency_s` is that of what `latency_of` names.
    """

    id: str
    part: str = ""
    title: str
    counts: Mapping[str, int] = {}
    seeds: str = ""
    faults: Mapping[str, int] = {}
    acked: int
    lost: int
    doubled: int
    altered: int
    misattributed: int = 0
    worst_latency_s: float | None = None
    latency_of: str = ""
    seconds: float
    notes: str = ""
    full: bool
    date: str = ""
    machine: str = ""

    @property
    def clean(self) -> bool:
        """Nothing lost, doubled, altered or given to another."""
        return not (self.lost or self.doubled or self.altered or self.misattributed)


# Times are goals of a machine that does nothing else; a test allows a busy one so many times that. The table says how
# long it was.
PATIENCE: Final = 4


def is_full_run() -> bool:
    """Whether the long counts were asked for (`make faults`)."""
    return os.environ.get("FAULTS_FULL") == "1"


def times(short: int, full: int) -> int:
    """How often to do something: in `make test`, and by `make faults`. FAULTS_SCALE=0.1 shortens a full run."""
    if not is_full_run():
        return short
    return max(short, int(full * _scale()))


def _scale() -> float:
    return float(os.environ.get("FAULTS_SCALE", "1"))


def record(result: Result) -> None:
    """Keep the result of a full run, replacing the one before; of a short run nothing is kept."""
    if not is_full_run():
        return
    whole = result.full and _scale() >= 1
    dated = msgspec.structs.replace(result, full=whole, date=f"{datetime.now(UTC):%Y-%m-%d}", machine=machine())
    FOLDER.mkdir(parents=True, exist_ok=True)
    name = "-".join(filter(None, (result.id, result.part))).lower()
    document = msgspec.json.format(msgspec.json.encode(dated, order="deterministic"), indent=2)
    (FOLDER / f"{name}.json").write_bytes(document + b"\n")


def results(folder: Path = FOLDER) -> list[Result]:
    """What has been recorded, in the order of the proofs."""
    found = [msgspec.json.decode(path.read_bytes(), type=Result) for path in folder.glob("*.json")]
    return sorted(found, key=lambda one: (one.id[0] != "E", one.id[0], int(one.id[1:]), one.part))


def machine() -> str:
    """What the figures were counted on, without its name."""
    kernel = platform.release().partition("-")[0]
    cores, python = os.cpu_count(), platform.python_version()
    return f"{cores} cores, {platform.machine()}, {platform.system()} {kernel}, Python {python}"
