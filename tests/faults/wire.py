"""Readings on their way to central as the oracle knows them, and what central's database holds of them."""

from pathlib import Path

from sqlalchemy import select

from central.db import make_engine, reading
from central.intake.plan import Delivery
from central.tables import runs
from protocol.codec import decode, open_envelope
from protocol.messages import ReadingEnvelope
from tests.central.wire import make_delivery
from tests.faults.oracle import Fact, Verdict, facts, judge
from tests.make import make_code


def delivery(number: int) -> Delivery:
    """Reading `number` of bench-1 on its way, of a plate of its own."""
    return make_delivery(number, code=make_code(plate_number=str(number), text=f"S-1001,NDV,{number}"))


def fact_of(sent: Delivery) -> Fact:
    """What the oracle is to know of a message."""
    envelope = decode(sent.payload, ReadingEnvelope)
    found, _ = open_envelope(envelope)
    plate = found.code.text if found.code else ""
    return Fact(found.id, envelope.digest, envelope.device_id, plate, envelope.epoch, envelope.seq)


async def arrived(url: str) -> list[Fact]:
    """Every run in a database."""
    engine = make_engine(url)
    columns = (runs.c.id, runs.c.digest, runs.c.device_id, runs.c.submission, runs.c.test, runs.c.plate_number)
    try:
        async with reading(engine) as connection:
            rows = (await connection.execute(select(*columns, runs.c.epoch, runs.c.seq))).all()
    finally:
        await engine.dispose()
    return [Fact(row[0], row[1], row[2], ",".join(row[3:6]), row[6], row[7]) for row in rows]


async def verdict_of(url: str, oracle: Path) -> Verdict:
    """The oracle's judgement on what a database holds."""
    saved = facts(oracle, "saved")
    return judge(facts(oracle, "begun") or saved, saved, await arrived(url))
