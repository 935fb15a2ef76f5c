"""A reader that comes home after weeks offline: its backlog drains while plates are still being read at the bench.

    python -m tests.benchmarks.drain --readings 100000 [--database URL] [--folder DIR]

The outbox, the broker, central, its database and the line between them are the real ones, as processes of their own;
only the camera is missing. Readings are put as the bench puts them, full documents with every well measured. One live
reading is put every second during the drain and timed until the API shows it. Prints one JSON line.
"""

import argparse
import asyncio
import json
import multiprocessing
import os
import random
import resource
import statistics
import time
from collections.abc import Mapping
from contextlib import ExitStack, closing, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Event, Thread
from typing import Any

import asyncpg  # type: ignore[import-untyped]
import httpx
import msgspec
from sqlalchemy import make_url

from edge_agent.clock import BootClock, read_clocks
from edge_agent.link import sync
from edge_agent.link.conversation import Conversation
from edge_agent.link.enrol import load_access
from edge_agent.outbox.outbox import Outbox
from protocol import codec
from protocol.messages import Picture, PlateCode, PlateReading, Streak
from provisioning.processes import Central, module_command, run_once, running_central
from tests.central.postgres import postgres_server
from tests.make import make_code, make_reading, make_reading_id, make_wells
from tests.system.conftest import PASSWORD, Bench, add_admin, sign_in

LIVE_EVERY_S = 1.0
# Looking costs central too: the delay of a live reading is known to this.
LOOK_EVERY_S = 0.1
_REPEATED = 'wellread_central_ingest_total{result="repeated"}'
# Of so many readings one is of the plate before it, which was put in once more.
AGAIN_EVERY = 50
TESTS = ("NDV", "IBD", "AI")
PLATES_OF_TEST = 4
_TICKS = os.sysconf("SC_CLK_TCK")


def photograph(number: int) -> bytes:
    """What stands for the photograph of a reading: no two plates look the same."""
    return b"\xff\xd8\xff\xe0 photograph %d" % number


def readings(count: int, device_id: str, started_at: datetime) -> Any:
    """Documents as large and as varied as real ones: every well placed, called and measured, a code for each plate."""
    chance = random.Random(count)
    plates = [_measured(chance) for _ in range(64)]
    for number in range(1, count + 1):
        yield make_reading(
            number,
            id=make_reading_id(number),
            device_id=device_id,
            captured_at=started_at + timedelta(seconds=26 * number),
            code=_code("S", number),
            wells=plates[number % len(plates)],
            picture=_picture(number),
        )


def _code(prefix: str, number: int) -> PlateCode:
    """Submissions of some tests, of some plates each."""
    plate = number - number // AGAIN_EVERY
    submission, place = divmod(plate, len(TESTS) * PLATES_OF_TEST)
    return make_code(f"{prefix}-{submission}", TESTS[place // PLATES_OF_TEST], str(place % PLATES_OF_TEST + 1))


def _picture(number: int) -> Picture:
    content = photograph(number)
    return Picture(codec.digest(content), len(content), 1600, 1200, "image/jpeg", "p.jpg")


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
        for number, reading in enumerate(readings(count, device_id, started_at), 1):
            outbox.put(codec.encode_reading(reading), photograph(number))
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
        outbox.put(codec.encode_reading(reading), photograph(number))
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
    return make_reading(
        number, id=make_reading_id(number), device_id=device_id, captured_at=datetime.now(UTC),
        code=_code("LIVE", number), wells=_measured(random.Random(number)), picture=_picture(number),
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
    """Fill, start, drain; the figures. Processor times are those of the drain alone, without what came before."""
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
        parts = {"central": central.process.pid, "postgresql": asyncio.run(_postmaster(database)) if database else None}
        before = processor_s(parts)
        figures |= watch(central, out, seconds + 30)
        agent.join(30)
        used = {part: round(at - before[part], 1) for part, at in processor_s(parts).items()}
        figures["cpu_s"] = {"reader": figures.pop("reader_cpu_s", None)} | used
        with sign_in(central) as api:
            figures |= {"runs": _metric(api, "wellread_central_runs"), "repeated": _metric(api, _REPEATED)}
        status = Path(f"/proc/{central.process.pid}/status").read_text()
        figures["central_peak_mb"] = int(status.split("VmHWM:")[1].split()[0]) // 1024
    if figures.get("drained_s"):
        figures["readings_per_s"] = round(count / figures["drained_s"])
    figures["load"] = os.getloadavg()[0]
    return figures


def processor_s(parts: Mapping[str, int | None]) -> dict[str, float]:
    """Processor time so far of these processes, and of their children under the children's names.

    A PostgreSQL is the sum of its processes, those that ended included; a central's broker stands beside it.
    """
    used = {name: 0.0 for name, pid in parts.items() if pid is not None} | {
        "mosquitto": 0.0,
        "this": time.process_time(),
    }
    for path in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            pid, (name, fields) = int(path.parent.name), _stat(path)
            parent, ticks = int(fields[1]), [int(field) for field in fields[11:15]]
            for part, known in parts.items():
                if known == pid or (known == parent and part == "postgresql"):
                    used[part] += sum(ticks if part == "postgresql" and known == pid else ticks[:2]) / _TICKS
                elif known == parent and name in used:
                    used[name] += sum(ticks[:2]) / _TICKS
    return used


def _stat(path: Path) -> tuple[str, list[str]]:
    """The name of a process, and what stands behind it, from its state on (proc(5))."""
    before, _, after = path.read_text().rpartition(")")
    return before.partition("(")[2], after.split()


async def _postmaster(database: str) -> int:
    """The process of the PostgreSQL that has this database, on this machine."""
    connection = await asyncpg.connect(make_url(database).set(drivername="postgresql").render_as_string(False))
    try:
        return int(_stat(Path(f"/proc/{await connection.fetchval('SELECT pg_backend_pid()')}/stat"))[1][1])
    finally:
        await connection.close()


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
