"""Mosquitto: run as a child of central, or reached by URL. Its accounts are written here, from the devices table.

The child listens on loopback only, on a port that is chosen once and kept, because devices remember it.
"""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import structlog
from sqlalchemy.ext.asyncio import AsyncEngine

from central.db import DATABASE_ERRORS, reading
from central.files import write_durably
from central.fleet.broker_child import BrokerChild, BrokerError, alone_in, cancelled, find_mosquitto
from central.fleet.devices import BrokerAddress, broker_credentials
from central.fleet.mosquitto import new_password, password_file, password_hash
from central.settings import Settings
from protocol.topics import CENTRAL

_REFRESH_EVERY_S: Final = 2.0

_log: Final = structlog.get_logger(__name__)


class Broker:
    """The broker in use. `address` is for devices, `password` is that of the user `central`."""

    def __init__(
        self,
        engine: AsyncEngine,
        address: BrokerAddress,
        password: str,
        passwords: Path | None,
        child: BrokerChild | None,
        *,
        others: tuple[BrokerAddress, ...] = (),
    ) -> None:
        """`passwords` is the file of accounts to keep up to date, where there is one; `others` have the same."""
        self.address = address
        self.others = others
        self.password = password
        self._engine = engine
        self._passwords = passwords
        self._child = child
        self._own_hash = password_hash(password)
        self._refreshing = asyncio.Lock()

    async def refresh(self) -> None:
        """Give the broker the accounts that the devices table has now; returns once they are in force."""
        if self._passwords is None:
            return
        async with self._refreshing:
            async with reading(self._engine) as connection:
                accounts = await broker_credentials(connection)
            text = password_file(accounts | {CENTRAL: self._own_hash})
            if not self._passwords.is_file() or self._passwords.read_text() != text:
                await asyncio.to_thread(write_durably, self._passwords, text.encode())
                if self._child is not None:
                    await self._child.reload()

    async def keep_fresh(self) -> None:
        """Refresh for ever: the command line and other centrals change devices too."""
        while True:
            await asyncio.sleep(_REFRESH_EVERY_S)
            try:
                await self.refresh()
            except DATABASE_ERRORS as error:
                _log.warning("broker_accounts_not_refreshed", error=str(error)[:200])


@asynccontextmanager
async def running(settings: Settings, engine: AsyncEngine) -> AsyncIterator[Broker]:
    """The broker, for as long as this context is open; a child that dies is started again on its port.

    Accounts are refreshed every two seconds too, for changes made by the command line or by another central.
    """
    if settings.broker_url:
        passwords = Path(settings.broker_password_file) if settings.broker_password_file else None
        address, *others = (parse_broker_url(url) for url in (settings.broker_url, *settings.other_brokers))
        broker = Broker(engine, address, settings.broker_password, passwords, None, others=tuple(others))
        async with _kept_fresh(broker):
            yield broker
        return
    if settings.other_brokers:
        raise BrokerError("other brokers without a first one (expected WELLREAD_BROKER_URL to be set too)")
    folder = (settings.data_dir / "broker").resolve()
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    port = _kept_port(folder, settings.broker_port)
    child = BrokerChild(folder, port, find_mosquitto())
    broker = Broker(engine, BrokerAddress("127.0.0.1", port), new_password(), folder / "passwords", child)
    with alone_in(folder):
        async with _kept_fresh(broker), child.kept_running():
            yield broker


@asynccontextmanager
async def _kept_fresh(broker: Broker) -> AsyncIterator[None]:
    await broker.refresh()
    keeping = asyncio.create_task(broker.keep_fresh())
    try:
        yield
    finally:
        await cancelled(keeping)


def parse_broker_url(url: str) -> BrokerAddress:
    """`mqtt://host:port`, or `mqtts://` for TLS."""
    wrong = f"not a broker: {url!r} (expected mqtt://host:port or mqtts://host:port)"
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise BrokerError(wrong) from error
    if parts.scheme not in ("mqtt", "mqtts") or not parts.hostname:
        raise BrokerError(wrong)
    tls = parts.scheme == "mqtts"
    return BrokerAddress(parts.hostname, port or (8883 if tls else 1883), tls)


def _kept_port(folder: Path, wanted: int) -> int:
    """The port asked for; else the one that was used before; else a free one, written down."""
    note = folder / "port"
    if wanted:
        return wanted
    if note.is_file():
        return int(note.read_text())
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = int(free.getsockname()[1])
    write_durably(note, str(port).encode())
    return port
