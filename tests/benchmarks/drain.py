"""A reader that comes home after weeks offline: its backlog drains while plates are still being read at the bench.

    python -m tests.benchmarks.drain --readings 100000 [--database URL] [--folder DIR]

The outbox, the broker, central, its database and the line between them are the real ones, as processes of their own;
only the camera is missing. Readings are put as the bench puts them, full documents with every well measured. One live
reading is put every second during the drain and timed until the API shows it. Prints one JSON line.
"""

import argparse
import json
import multiprocessing
import os
import random
import resource
import statistics
import time
from contextlib import ExitStack, closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Event, Thread
from typing import Any

import httpx
import msgspec

from edge_agent.clock import BootClock, read_clocks
from edge_agent.link import sync
from edge_agent.link.conversation import Conversation
from edge_agent.link.enrol import load_access
from edge_agent.outbox.outbox import Outbox
from protocol import codec
from protocol.messages import Picture, PlateReading, Streak
from provisioning.processes import Central, module_command, run_once, running_central
from tests.central.postgres import postgres_server
from tests.make import make_reading, make_reading_id, make_wells
from tests.system.conftest import PASSWORD, Bench, add_admin, sign_in

LIVE_EVERY_S = 1.0
# Looking costs central too: the delay of a live reading is known to this.
LOOK_EVERY_S = 0.1
_REPEATED = 'wellread_central_ingest_total{result="repeated"}'
PHOTOGRAPH = b"\xff\xd8\xff\xe0 a photograph"


def readings(count: int, device_id: str, started_at: datetime) -> Any:
    """Documents that are as large and as varied as real ones: every well placed, called and measured."""
    chance = random.Random(count)
    picture = Picture(codec.digest(PHOTOGRAPH), len(PHOTOGRAPH), 1600, 1200, "image/jpeg", "p.jpg")
    plates = [_measured(chance) for _ in range(64)]
    for number in range(1, count + 1):
        yield make_reading(
            number,
            id=make_reading_id(number),
            device_id=device_id,
            captured_at=started_at + timedelta(seconds=26 * number),
            wells=plates[number % len(plates)],
            picture=picture,
        )


def _measured(chance: random.Random) -> Any:
    def two(low: float, high: float) -> float:
        return round(chance.uniform(low, high), 2)

    def streak() -> Streak:
        return Streak("streams", two(1, 3), two(1, 3), two(1, 2), two(0.2, 0.9), two(20, 30), two(30, 45), two(0.5, 1))

    return {
        name: msgspec.structs.replace(
            well,
            confidence=round(chance.uniform(0.9, 0.9999), 4),
            streak=streak(),
            centre_px=(two(9, 999), two(9, 999)),
        )
        for name, well in make_wells(chance.randrange(12)).items()
    }


def fill(state: Path, count: int, device_id: str) -> dict[str, Any]:
    """Put the backlog; how long that took and how large it is."""
    begun = time.monotonic()
    started_at = datetime.now(UTC) - timedelta(seconds=26 * count)
    with closing(Outbox(state, session="weeks-ago")) as outbox:
        for reading in readings(count, device_id, started_at):
            outbox.put(codec.encode_reading(reading), PHOTOGRAPH)
    size = sum(path.stat().st_size for path in state.rglob("*") if path.is_file())
    return {"fill_s": round(time.monotonic() - begun, 1), "bytes_per_reading": round(size / max(count, 1))}


def reader(state: Path, seconds: float, ready: Any, out: Any) -> None:
    """The agent's process: the line to central, and a live reading every second."""
    begun = time.monotonic()
    outbox = Outbox(state, session="now")
    access = load_access(state, "")
    assert access is not None
    device_id = access.enrolment.device_id
    chance = random.Random(7)

    def jitter() -> float:
        return chance.uniform(-1, 1)

    conversation = Conversation(
        outbox, device_id, None, clocks=read_clocks, jitter=jitter, boot_clock=BootClock("boot")
    )
    stop, sessions = Event(), (f"drain-{number}" for number in range(1_000_000))
    thread = Thread(target=sync.run, args=(conversation, lambda: access, sessions, jitter, stop), daemon=True)
    ready.put(round(time.monotonic() - begun, 2))
    thread.start()
    drained_s, number = None, 10_000_000
    while time.monotonic() - begun < seconds:
        number += 1
        reading = _live(number, device_id)
        outbox.put(codec.encode_reading(reading), PHOTOGRAPH)
        out.put(("live", reading.id, time.time()))
        time.sleep(LIVE_EVERY_S)
        if outbox.depth().pending <= 1:
            drained_s = time.monotonic() - begun
            break
    stop.set()
    thread.join(10)
    outbox.close()
    used = resource.getrusage(resource.RUSAGE_SELF)
    cpu_s = used.ru_utime + used.ru_stime
    out.put(("done", drained_s and round(drained_s, 1), round(used.ru_maxrss / 1024), round(cpu_s, 1)))


def _live(number: int, device_id: str) -> PlateReading:
    plate = _measured(random.Random(number))
    picture = Picture(codec.digest(PHOTOGRAPH), len(PHOTOGRAPH), 1600, 1200, "image/jpeg", "p.jpg")
    return make_reading(
        number, id=make_reading_id(number), device_id=device_id, captured_at=datetime.now(UTC), wells=plate,
        picture=picture,
    )  # fmt: skip


def watch(central: Central, out: Any, seconds: float) -> dict[str, Any]:
    """Time each live reading from its put until the API shows it; what the reader said at its end."""
    waiting: dict[str, float] = {}
    delays: list[float] = []
    done: dict[str, Any] = {}
    deadline = time.monotonic() + seconds
    with sign_in(central) as api:
        while time.monotonic() < deadline and not (done and not waiting):
            while not out.empty():
                kind, *rest = out.get()
                if kind == "live":
                    waiting[rest[0]] = rest[1]
                else:
                    done = {"drained_s": rest[0], "reader_peak_mb": rest[1], "reader_cpu_s": rest[2]}
            for reading_id in list(waiting):
                if _visible(api, reading_id):
                    delays.append(time.time() - waiting.pop(reading_id))
            time.sleep(LOOK_EVERY_S)
    cuts = statistics.quantiles(delays, n=100) if len(delays) > 1 else delays * 99
    return done | {
        "live": len(delays), "live_missing": len(waiting), "live_p50_s": round(cuts[49], 3),
        "live_p99_s": round(cuts[98], 3),
    }  # fmt: skip


def _visible(api: httpx.Client, reading_id: str) -> bool:
    return api.get(f"/api/v1/runs/{reading_id}").status_code == httpx.codes.OK


def drain(count: int, database: str, folder: Path, seconds: float) -> dict[str, Any]:
    """Fill, start, drain; the figures."""
    bench = Bench(folder)
    extra = {"WELLREAD_DATABASE_URL": database} if database else {}
    with running_central(folder / "central", extra=extra) as central:
        add_admin_with(folder / "central", extra)
        bench.enrol(central)
        access = load_access(bench.state, "")
        assert access is not None
        figures = {"readings": count} | fill(bench.state, count, access.enrolment.device_id)
        context = multiprocessing.get_context("spawn")
        ready, out = context.Queue(), context.Queue()
        agent = context.Process(target=reader, args=(bench.state, seconds, ready, out))
        agent.start()
        figures["ready_s"] = ready.get(timeout=60)
        figures |= watch(central, out, seconds + 30)
        agent.join(30)
        with sign_in(central) as api:
            figures |= {"runs": _metric(api, "wellread_central_runs"), "repeated": _metric(api, _REPEATED)}
        figures |= _process(central.process.pid)
    if figures.get("drained_s"):
        figures["readings_per_s"] = round(count / figures["drained_s"])
    return figures


def _process(pid: int) -> dict[str, Any]:
    """Central's peak of resident memory and the processor time it has used."""
    status = Path(f"/proc/{pid}/status").read_text()
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    cpu_s = (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    return {"central_peak_mb": int(status.split("VmHWM:")[1].split()[0]) // 1024, "central_cpu_s": round(cpu_s, 1)}


def _metric(api: httpx.Client, name: str) -> int:
    lines = [line for line in api.get("/metrics").text.splitlines() if line.startswith(f"{name} ")]
    return int(float(lines[0].split()[-1]))


def add_admin_with(data_dir: Path, extra: dict[str, str]) -> None:
    """The administrator that `sign_in` uses, in whichever database this central has."""
    if not extra:
        add_admin(data_dir)
        return
    command = module_command("central", "user", "add", "admin", "--role", "admin", "--password-stdin")
    run_once(command, stdin=PASSWORD + "\n", extra={"WELLREAD_DATA_DIR": str(data_dir), **extra})


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--readings", type=int, default=5000)
    parser.add_argument("--database", default="postgresql", help="postgresql: one of our own; sqlite; or a URL")
    parser.add_argument("--folder", type=Path, help="where everything is kept; without it a temporary folder")
    parser.add_argument("--seconds", type=float, default=900.0, help="longest wait for the drain")
    chosen = parser.parse_args()
    with ExitStack() as stack:
        folder = chosen.folder or Path(stack.enter_context(TemporaryDirectory(prefix="wellread-drain-")))
        database = chosen.database
        if database == "postgresql":
            database = stack.enter_context(postgres_server(durable=True)).new_database()
        figures = drain(chosen.readings, "" if database == "sqlite" else database, folder, chosen.seconds)
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
