"""E5: single bits of the outbox, its log, its pictures and the model turn over. No altered reading leaves the bench,
what is damaged is named, and the bench goes on with the rest."""

import random
import shutil
import sqlite3
import time
from collections import Counter
from contextlib import closing
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path

import httpx
import pytest
from structlog.testing import capture_logs

from edge_agent.config import SHIPPED_MODEL, load_config
from edge_agent.link.enrol import Access
from edge_agent.link.uploads import Outcome, upload
from edge_agent.outbox.file import OutboxError
from edge_agent.outbox.rows import WantedPicture
from edge_agent.vision.detector import ModelMismatch, load_model
from protocol.messages import BrokerAccess, Enrolment
from tests.faults.life import Bench, Table, picture_of, plate_text
from tests.faults.oracle import Follower, Oracle
from tests.faults.record import Result, is_full_run, record, times

PLATES = 12
ANSWERED = 5
NEW_PLATE = 99
LEFT_BY = {"stopped": "a clean stop", "cut off": "a cut"}
# The agent's loops try again after the world's trouble.
TRIES = 3
TROUBLES = (OutboxError, sqlite3.Error, OSError)

pytestmark = [pytest.mark.system, pytest.mark.proof("E5")]


@dataclass
class Template:
    """An outbox as a power cut leaves it, some of it answered: its folder, and what the oracle knows of it."""

    left_by: str
    folder: Path
    oracle: Path
    table: Table


@pytest.fixture(params=LEFT_BY)
def template(request: pytest.FixtureRequest, tmp_path: Path) -> Template:
    """Left behind by a clean stop, or as a cut leaves it: then what was written last is in the log only."""
    kept = Template(request.param, tmp_path / "kept", tmp_path / "kept-oracle", Table())
    oracle = Oracle(kept.oracle)
    bench = Bench(tmp_path / "bench", oracle, kept.table, "life-1")
    for number in range(1, ANSWERED + 1):
        bench.capture(number)
    bench.send()
    for number in range(ANSWERED + 1, PLATES + 1):
        bench.capture(number)
    if request.param == "stopped":
        bench.close()
        shutil.copytree(tmp_path / "bench", kept.folder)
    else:
        shutil.copytree(tmp_path / "bench", kept.folder)
        bench.close()
    oracle.close()
    return kept


def rotten(path: Path, chance: random.Random) -> None:
    """Turn one bit of a file over."""
    content = bytearray(path.read_bytes())
    content[chance.randrange(len(content))] ^= 1 << chance.randrange(8)
    path.write_bytes(content)


@dataclass
class Seen:
    """What a bench made of a flip."""

    facts: Follower
    noticed: list[str] = field(default_factory=list)
    went_on: bool = False
    crashed: str = ""


def relive(template: Template, folder: Path, ledger: Path) -> Seen:
    """Start on a damaged folder, photograph one more plate, send everything."""
    shutil.copyfile(template.oracle, ledger)
    oracle, seen = Oracle(ledger), Seen(Follower(ledger))
    table = Table(dict(template.table.held), set(template.table.refused))
    with capture_logs() as logs:
        try:
            for _ in range(TRIES):
                if _lived(folder, oracle, table, seen):
                    break
        except Exception as error:  # noqa: BLE001  our bug: the thread it happens in would start again for ever
            seen.crashed = f"{type(error).__name__}: {error}"
    oracle.close()
    seen.noticed += [str(entry["event"]) for entry in logs if entry["log_level"] in ("warning", "error", "critical")]
    seen.facts.read_on()
    new = plate_text(NEW_PLATE)
    seen.went_on = any(fact.plate == new for fact in seen.facts.events["arrived"])
    return seen


def _lived(folder: Path, oracle: Oracle, table: Table, seen: Seen) -> bool:
    """Whether a life went through; the world's trouble is noted, and tried again as the agent's loops do."""
    try:
        bench = Bench(folder, oracle, table, "life-2")
    except TROUBLES as error:
        seen.noticed.append(f"{type(error).__name__}: {error}")
        return False
    with closing(bench):
        for _ in range(TRIES):
            try:
                bench.capture(NEW_PLATE)
                _send_all(bench, seen)
            except TROUBLES as error:
                seen.noticed.append(f"{type(error).__name__}: {error}")
            else:
                return True
    return False


def _send_all(bench: Bench, seen: Seen) -> None:
    for _ in range(4):
        bench.send()
    for wanted in bench.outbox.wanted():
        if sha256(wanted.path.read_bytes()).hexdigest() != wanted.sha256:
            seen.noticed.append("a picture that is not what its reading says")
    if bench.outbox.depth().quarantined:
        seen.noticed.append("set aside")


def test_a_flipped_bit_in_the_outbox_alters_nothing_and_is_noticed(
    template: Template, memory_folder: Path, tmp_path: Path
) -> None:
    number, seed, started_s = times(120, 4_000), 21, time.monotonic()
    chance, ledger, folder = random.Random(seed), memory_folder / "oracle", memory_folder / "bench"
    whole = relive(template, _copied(template.folder, folder), ledger)
    assert whole.noticed == []
    assert len(whole.facts.events["arrived"]) == PLATES + 1
    found: Counter[str] = Counter()
    bad: list[str] = []
    for place in range(number):
        damaged = _copied(template.folder, folder)
        target = chance.choice([path for path in damaged.glob("outbox.db*") if path.stat().st_size])
        rotten(target, chance)
        seen = relive(template, damaged, ledger)
        verdict = seen.facts.verdict()
        missing = verdict.lost
        found["flips"] += 1
        found["noticed"] += bool(seen.noticed)
        found["went on"] += seen.went_on
        found["readings of the damaged file kept back"] += len(missing)
        found["altered"] += bool(verdict.altered or verdict.strange or verdict.doubled)
        found["under another name"] += bool(verdict.misattributed)
        found["gone without a word"] += len(missing) if not seen.noticed else 0
        if verdict.altered or verdict.misattributed or verdict.strange or verdict.doubled:
            bad.append(f"flip {place} in {target.name}: {verdict}")
        if missing and not seen.noticed:
            bad.append(f"flip {place} in {target.name}: {missing} gone without a word")
        if seen.crashed or not seen.went_on:
            bad.append(f"flip {place} in {target.name}: the bench stopped: {seen.crashed} {seen.noticed}")
    print(dict(found), *bad[:20], sep="\n")
    record(
        Result(
            id="E5", part=f"outbox-{template.left_by.replace(' ', '-')}", counts=dict(found), seeds=f"{seed}",
            title=f"Single bits turned over in the outbox and its log, as {LEFT_BY[template.left_by]} leaves them",
            faults={"bits": number}, acked=number * PLATES, lost=found["gone without a word"], doubled=0,
            altered=found["altered"], misattributed=found["under another name"],
            seconds=time.monotonic() - started_s, full=is_full_run(),
        )
    )  # fmt: skip
    assert not bad


def _copied(source: Path, target: Path) -> Path:
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(source, target)
    return target


def test_a_day_or_digest_that_is_none_does_not_spoil_the_account_of_the_others(tmp_path: Path) -> None:
    oracle = Oracle(tmp_path / "oracle")
    bench = Bench(tmp_path / "bench", oracle, Table(), "life-1")
    for number in (1, 2, 3):
        bench.capture(number)
    bench.close()
    with closing(sqlite3.connect(tmp_path / "bench" / "outbox.db", isolation_level=None)) as file:
        file.execute("UPDATE readings SET digest = replace(digest, substr(digest, 1, 1), 'é') WHERE seq = 1")
        file.execute("UPDATE readings SET day = '20v6-11-21' WHERE seq = 2")
    again = Bench(tmp_path / "bench", oracle, Table(), "life-2")
    assert [day.ranges for day in again.outbox.ledger()] == [((3, 3),)]
    again.send()
    assert again.outbox.depth().quarantined == 2
    again.close()


def test_a_flipped_bit_in_a_picture_keeps_it_back(tmp_path: Path) -> None:
    number, chance, started_s = times(60, 1_000), random.Random(22), time.monotonic()
    picture = picture_of(1)
    digest, path = sha256(picture).hexdigest(), tmp_path / "picture.jpg"
    access = Access("http://central.invalid", Enrolment("bench-1", "Bench", BrokerAccess("h", 1, "u", "p"), "token"))
    asked: list[httpx.Request] = []

    def refuse(request: httpx.Request) -> httpx.Response:
        asked.append(request)
        return httpx.Response(500)

    with httpx.Client(transport=httpx.MockTransport(refuse)) as client:
        for _ in range(number):
            path.write_bytes(picture)
            rotten(path, chance)
            assert upload(WantedPicture(digest, path, "image/jpeg"), access, client) is Outcome.LOST
    assert asked == []
    record(
        Result(
            id="E5", part="pictures", title="Single bits turned over in a picture before it is uploaded", seeds="22",
            faults={"bits": number}, acked=number, lost=0, doubled=0, altered=len(asked),
            seconds=time.monotonic() - started_s, full=is_full_run(),
        )
    )  # fmt: skip


@pytest.mark.parametrize(
    "name",
    [
        "model.tflite",
        "calls.tflite",
        "legends.tflite",
        "manifest.json",
        "manifest.sha256",
    ],
)
def test_a_flipped_bit_in_the_model_is_refused(tmp_path: Path, name: str) -> None:
    number, chance, started_s = times(15, 125), random.Random(23), time.monotonic()
    folder = tmp_path / "model"
    shutil.copytree(SHIPPED_MODEL, folder)
    taken = 0
    for _ in range(number):
        shutil.copyfile(SHIPPED_MODEL / name, folder / name)
        rotten(folder / name, chance)
        try:
            load_model(folder)
        except ModelMismatch:
            continue
        taken += 1
    record(
        Result(
            id="E5", part=f"model-{name.replace('.', '-')}", title=f"Single bits turned over in {name}", seeds="23",
            faults={"bits": number}, acked=number, lost=0, doubled=0, altered=taken,
            seconds=time.monotonic() - started_s, full=is_full_run(),
        )
    )  # fmt: skip
    assert taken == 0


def test_a_flipped_bit_in_the_configuration_changes_nothing_that_decides_what_is_read(tmp_path: Path) -> None:
    """A text that people write has no digest. What a reading says must not depend on a bit of it all the same."""
    number, chance, started_s = times(500, 5_000), random.Random(24), time.monotonic()
    text = 'seat = "bottom-right"\nprofile = "hi-96"\nthreads = 2\n[camera]\nkind = "picamera2"\n[keep]\ndays = 35\n'
    path = tmp_path / "agent.toml"
    path.write_text(text)
    right = load_config(path, {})
    found: Counter[str] = Counter()
    for _ in range(number):
        path.write_text(text)
        rotten(path, chance)
        try:
            read = load_config(path, {})
        except ValueError:
            found["refused by name"] += 1
            continue
        found["taken as the same" if read == right else "another number, shown by `config show`"] += 1
        assert (read.parsed_seat, read.profile, read.camera.kind) == (
            right.parsed_seat,
            right.profile,
            right.camera.kind,
        )
    record(
        Result(
            id="E5", part="configuration", title="Single bits turned over in agent.toml", counts=dict(found),
            seeds="24",
            faults={"bits": number}, acked=number, lost=0, doubled=0, altered=0,
            seconds=time.monotonic() - started_s, full=is_full_run(),
        )
    )  # fmt: skip
