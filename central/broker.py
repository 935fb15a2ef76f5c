"""Mosquitto: run as a child of central, or reached by URL. Its accounts are written here, from the devices table."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from sqlalchemy.ext.asyncio import AsyncEngine

from central.fleet import BrokerAddress
from central.settings import Settings


class Broker:
    """The broker in use. `address` is for devices, `password` is that of the user `central`."""

    address: BrokerAddress
    password: str

    async def refresh(self) -> None:
        """Give the broker the accounts that the devices table has now; returns once they are in force."""
        raise NotImplementedError


@asynccontextmanager
async def running(settings: Settings, engine: AsyncEngine) -> AsyncIterator[Broker]:
    """The broker, for as long as this context is open; a child that dies is started again on its port.

    Accounts are refreshed every two seconds too, for changes made by the command line or by another central.
    """
    raise NotImplementedError
    yield
