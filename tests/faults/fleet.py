"""Readers that need no camera: real outboxes and the real conversation over real MQTT, each in a thread of its own."""

import itertools
import os
import random
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from threading import Event, Thread
from typing import Any

import httpx
import msgspec

from edge_agent.clock import BootClock, read_clocks, reading_id
from edge_agent.link import sync
from edge_agent.link.conversation import Conversation
from edge_agent.link.enrol import Access, device_id, enrol
from edge_agent.outbox.outbox import Outbox
from protocol import codec
from protocol.messages import Picture
from provisioning.processes import Central, wait_for
from tests.faults.life import picture_of
from tests.faults.oracle import Fact, Oracle
from tests.make import make_code, make_document
from tests.system.conftest import sign_in


class Reader:
    """One reader: its outbox, what the oracle heard of it, and its line to the broker while `talking`."""

    def __init__(self, folder: Path, oracle: Oracle, seed: int = 0) -> None:
        self.folder, self._oracle = folder, oracle
        self.device_id = device_id(folder, random.Random(seed).randbytes if seed else os.urandom)
        self.outbox = Outbox(folder, session=f"life-{os.urandom(3).hex()}")
        self.access: Access | None = None
        self._chance = random.Random(f"{seed} {folder}")
        self._sessions = (f"s-{number}" for number in itertools.count(1))

    def close(self) -> None:
        """Release the outbox."""
        self.outbox.close()

    def enrol(self, central: Central, *, port: int | None = None) -> None:
        """Make it a device of central; `port` leads to the broker by another way, such as a proxy."""
        with sign_in(central) as api:
            claim = api.post("/api/v1/claims", json={"name": "Bench"}).raise_for_status().json()["claim_code"]
        with httpx.Client(timeout=20) as client:
            access = enrol(central.url, claim, self.folder, self.device_id, client)
        self.access = access if port is None else self.through(access, port)

    @staticmethod
    def through(access: Access, port: int) -> Access:
        """The same access by way of another port of this machine."""
        broker = msgspec.structs.replace(access.enrolment.broker, host="127.0.0.1", port=port)
        return Access(access.central_url, msgspec.structs.replace(access.enrolment, broker=broker))

    def capture(self, number: int) -> Fact:
        """Keep a reading of plate `number`, as the bench does, and tell the oracle."""
        picture, moment = picture_of(number), read_clocks()
        described = Picture(sha256(picture).hexdigest(), len(picture), 1600, 1200, "image/jpeg", f"plate-{number}.jpg")
        text = f"S-{self.device_id},NDV,{number}"
        document = make_document(
            number, id=reading_id(moment.at, os.urandom(10)), captured_at=moment.at, device_id=self.device_id,
            picture=described,
            code=make_code(f"S-{self.device_id}", plate_number=str(number), text=text),
        )  # fmt: skip
        identity = codec.decode_reading(document).id
        fact = Fact(identity, codec.digest(document), self.device_id, text, self.outbox.epoch)
        self._oracle.say("begun", fact)
        fact = msgspec.structs.replace(fact, seq=self.outbox.put(document, picture))
        self._oracle.say("saved", fact)
        return fact

    @contextmanager
    def talking(self) -> Iterator[None]:
        """Its line to the broker, for as long as this is open."""
        stop = Event()
        conversation = Conversation(
            self.outbox, self.device_id, "hi-wells-v1", clocks=read_clocks, jitter=self._jitter,
            boot_clock=BootClock("boot-1"),
        )  # fmt: skip
        thread = Thread(
            target=sync.run, args=(conversation, lambda: self.access, self._sessions, self._jitter, stop), daemon=True
        )
        thread.start()
        try:
            yield
        finally:
            stop.set()
            thread.join(20)
            assert not thread.is_alive(), "the line did not close within 20 s"

    def waits(self) -> int:
        """Readings that central has not answered."""
        depth = self.outbox.depth()
        return depth.pending + depth.quarantined

    def _jitter(self) -> float:
        return self._chance.uniform(-1, 1)


def all_answered(readers: Sequence[Reader], within_s: float) -> None:
    """Return once every reading of these readers is answered."""
    wait_for("an answer to every reading", lambda: True if not any(one.waits() for one in readers) else None, within_s)


def facts_of_runs(rows: Sequence[dict[str, Any]]) -> list[Fact]:
    """Central's rows as the oracle knows them."""
    return [
        Fact(row["id"], row["digest"], row["device_id"], f"{row['submission']},{row['test']},{row['plate_number']}",
             row["epoch"], row["seq"])
        for row in rows
    ]  # fmt: skip
