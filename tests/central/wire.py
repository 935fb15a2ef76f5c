"""Messages as devices send them, and devices that are enrolled: for tests of ingest, fleet and broker."""

from typing import Any

from sqlalchemy.ext.asyncio import AsyncEngine

from central.fleet.devices import BrokerAddress, create_claim, redeem
from central.intake.plan import Delivery
from protocol.codec import encode, envelope
from protocol.messages import Enrolment, EnrolmentRequest
from protocol.topics import topic
from tests.make import NOON, make_document

ADDRESS = BrokerAddress("127.0.0.1", 1883)
EPOCH = "epoch-1"


def make_delivery(
    number: int = 1, *, seq: int | None = None, epoch: str = EPOCH, device_id: str = "bench-1", **fields: Any
) -> Delivery:
    """Reading `number` of a device on its way, at sequence number `seq` (by default its number)."""
    document = make_document(number, device_id=device_id, **fields)
    sent = envelope(document, device_id=device_id, epoch=epoch, seq=seq or number, historical=False)
    return Delivery(topic(device_id, "reading"), encode(sent))


async def enrol(engine: AsyncEngine, device_id: str = "bench-1", address: BrokerAddress = ADDRESS) -> Enrolment:
    """A device with fresh credentials."""
    claim = await create_claim(engine, f"Bench {device_id}", by="anna", now=NOON)
    return await redeem(engine, EnrolmentRequest(claim.code, device_id, "0.1.0"), address, now=NOON)
