"""Centrals that deliver, and are killed: one or more replicas on one database, each a process of its own.

    python -m tests.faults.centrals DATABASE_URL DATA_DIR --port P [--port P …] --kills N --seed S

It imports everything once and forks a central for each port: the real web server and the real worker of deliveries,
without a broker. Half of them are killed at a moment of chance, most of these once they have begun to deliver; half
kill themselves at a step of chance: before or after rendering, bringing, renaming, calling, writing down,
acknowledging. At each kill everybody's clock is put forward by more than a lease: so the next one takes over at once,
and a replica that goes on finds that its leases ran out under it. After the kills one line of JSON says what was done,
and centrals run undisturbed until standard input ends.
"""

import argparse
import asyncio
import ctypes
import mmap
import os
import random
import select
import signal
import struct
import sys
import time
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import msgspec
import uvicorn
from litestar import Litestar

from central.app import create_app
from central.deliveries import editing, outbox, running
from central.deliveries.running import deliveries_running
from central.deliveries.targets import folder, sftp, webhook
from central.settings import Settings

# Steps of a delivery: what a worker calls for it.
STEPS: Final[dict[str, tuple[Any, str]]] = {
    "rendering": (running, "generate"),
    "bringing a file": (folder.Folder, "_prepare"),
    "naming a file": (folder.Folder, "_finish"),
    "renaming": (os, "rename"),
    "bringing over SFTP": (sftp.Sftp, "prepare"),
    "naming over SFTP": (sftp.Sftp, "finish"),
    "calling": (webhook.Webhook, "_call"),
    "writing down a step": (outbox, "_move"),
    "asking whether it was taken": (folder.Folder, "_taken"),
    "acknowledging": (outbox, "_acknowledged"),
    "acknowledging by API": (editing, "acknowledge"),
}
# A central that has not come to its step by then is killed all the same.
LONGEST_LIFE_S: Final = 5.0
LONGEST_START_S: Final = 20.0
# At a kill; more than a lease.
FORWARD: Final = outbox.LEASE + timedelta(seconds=10)

_PR_SET_PDEATHSIG: Final = 1


class Counts(msgspec.Struct):
    """What was done."""

    killed: int = 0
    by_step: dict[str, int] = {}
    seconds: float = 0.0


class Clock:
    """The time of every central: the system's, and what it was put forward."""

    def __init__(self) -> None:
        self._shared = mmap.mmap(-1, 8)

    def __call__(self) -> datetime:
        """Now."""
        return datetime.now(UTC) + timedelta(seconds=self._forward())

    def put_forward(self, by: timedelta) -> None:
        """For everybody, at once."""
        self._shared[:8] = struct.pack("d", self._forward() + by.total_seconds())

    def _forward(self) -> float:
        return float(struct.unpack("d", self._shared[:8])[0])


class Plan(msgspec.Struct, frozen=True):
    """A central that kills itself at the `call`-th time that it comes to a step, before it or after."""

    step: str
    call: int
    after: bool

    @classmethod
    def by(cls, chance: random.Random) -> "Plan":
        """Any."""
        return cls(chance.choice(list(STEPS)), chance.randint(1, 2), chance.random() < 0.5)

    def die(self) -> None:
        """Let this process do so."""
        holder, name = STEPS[self.step]
        sound, left = getattr(holder, name), [self.call]

        def now() -> None:
            left[0] -= 1
            if left[0] == 0:
                os.kill(os.getpid(), signal.SIGKILL)

        async def then(done: Any) -> Any:
            result = await done
            now()
            return result

        def spoilt(*arguments: Any, **named: Any) -> Any:
            if not self.after:
                now()
            done = sound(*arguments, **named)
            if self.after and asyncio.iscoroutine(done):
                return then(done)
            if self.after:
                now()
            return done

        setattr(holder, name, spoilt)


async def serve(app: Litestar, port: int, clock: Clock, begun: int) -> None:
    """One central, as long as it lasts; on the descriptor `begun` it says that it begins to deliver."""
    server = uvicorn.Server(uvicorn.Config(app, port=port, log_level="critical"))
    serving = asyncio.create_task(server.serve())
    while not server.started:
        await asyncio.sleep(0.005)
    async with deliveries_running(app.state.parts.desk, clock):
        os.write(begun, b"1")
        await serving


class Replica:
    """One port, and the central that has it now."""

    def __init__(self, app: Litestar, port: int, clock: Clock) -> None:
        self._app, self._port, self._clock = app, port, clock
        self._pid, self._wait, self._longest_cpu_s = 0, False, 0.0
        self._begun = os.open(os.devnull, os.O_RDONLY)
        self._plan: Plan | None = None

    def start(self, chance: random.Random | None = None) -> None:
        """A new central; with a chance it dies at a moment or at a step of it."""
        os.close(self._begun)
        self._plan = None if chance is None or chance.random() < 0.5 else Plan.by(chance)
        self._wait = chance is None or chance.random() < 0.8
        # In processor time: on a busy machine a central comes as far as on an idle one.
        self._longest_cpu_s = LONGEST_LIFE_S if chance is None or self._plan else chance.uniform(0.0, 0.25)
        self._begun, begun = os.pipe()
        self._pid = os.fork()
        if self._pid:
            os.close(begun)
            return
        try:
            os.dup2(2, 1)  # what it logs is no line of ours
            ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
            if self._plan is not None:
                self._plan.die()
            asyncio.run(serve(self._app, self._port, self._clock, begun))
        finally:
            os._exit(70)

    def died(self) -> bool:
        """Whether it is dead, by SIGKILL; RuntimeError where it ended in another way."""
        pid, status = os.waitpid(self._pid, os.WNOHANG)
        if pid and not os.WIFSIGNALED(status):
            raise RuntimeError(f"a central ended by itself with {os.waitstatus_to_exitcode(status)}")
        return bool(pid)

    def end(self) -> str:
        """Wait for its end, or end it: at which step it was."""
        if self._wait:
            select.select([self._begun], [], [], LONGEST_START_S)
        clock = (~self._pid << 3) | 2  # Linux: the processor time of another process
        until_cpu_s, until_s = time.clock_gettime(clock) + self._longest_cpu_s, time.monotonic() + LONGEST_LIFE_S
        while not (dead := self.died()) and time.monotonic() < until_s and time.clock_gettime(clock) < until_cpu_s:
            time.sleep(0.005)
        if not dead:
            os.kill(self._pid, signal.SIGKILL)
            os.waitpid(self._pid, 0)
            return "a moment of chance"
        assert self._plan is not None, "a central died that nobody killed"
        return self._plan.step


def kill_again_and_again(replicas: Sequence[Replica], clock: Clock, kills: int, seed: int) -> Counts:
    """`kills` centrals die, one after the other; then each replica has one that lives."""
    chance, by_step, started_s = random.Random(seed), Counter[str](), time.monotonic()
    for replica in replicas:
        replica.start(chance)
    while by_step.total() < kills:
        victim = chance.choice(replicas)
        by_step[victim.end()] += 1
        clock.put_forward(FORWARD)
        victim.start(chance)
    for replica in replicas:
        by_step[replica.end()] += 1
        replica.start()
    return Counts(by_step.total(), dict(sorted(by_step.items())), time.monotonic() - started_s)


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("url")
    parser.add_argument("data_dir", type=Path)
    parser.add_argument("--port", type=int, action="append", required=True)
    parser.add_argument("--kills", type=int, required=True)
    parser.add_argument("--seed", type=int, required=True)
    given = parser.parse_args()
    clock = Clock()
    settings = Settings(
        data_dir=given.data_dir,
        database_url=given.url,
        public_url=f"http://127.0.0.1:{given.port[0]}",
        delivery_folders=str(given.data_dir.parent),
        delivery_networks="127.0.0.0/8",
    )
    app = create_app(settings, with_ingest=False, now=clock)
    replicas = [Replica(app, port, clock) for port in given.port]
    counts = kill_again_and_again(replicas, clock, given.kills, given.seed)
    print(msgspec.json.encode(counts).decode(), flush=True)
    while not select.select([sys.stdin], [], [], 0.5)[0]:
        clock.put_forward(FORWARD / 4)
        if any(replica.died() for replica in replicas):
            raise RuntimeError("a central died undisturbed")


if __name__ == "__main__":
    main()
