"""A bad line between devices and their broker: a TCP proxy that knows where MQTT packets begin and end.

`Weather` says what the line does now; it may change at any moment, by hand or by a script made from a seed. The proxy
lives on an event loop in a thread of its own, and writes down what it did.
"""

import asyncio
import random
import socket
import struct
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from threading import Event as ThreadEvent
from threading import Thread
from time import monotonic
from typing import Final

PUBLISH: Final = 3
PUBACK: Final = 4
_DUPLICATE: Final = 0x08


@dataclass(frozen=True)
class Weather:
    """What the line does. `double` and `drop_puback` are chances per packet; `bytes_per_s` 0 is as fast as it goes.

    `half_open`: connections are accepted and stay, and nothing comes through. `down`: they are reset at once.
    """

    half_open: bool = False
    down: bool = False
    bytes_per_s: int = 0
    dribble: bool = False
    delay_s: float = 0.0
    double: float = 0.0
    drop_puback: float = 0.0


CLEAR: Final = Weather()


class Proxy:
    """One port of loopback that leads to another one."""

    def __init__(self, to_port: int, seed: int) -> None:
        self.to_port, self.weather = to_port, CLEAR
        self.done: Counter[str] = Counter()
        self.connections = 0
        self.closed_by_client_s: list[float] = []
        self._chance = random.Random(seed)
        self._lines: set[asyncio.StreamWriter] = set()
        self.port = 0

    def cut(self, *, reset: bool = False) -> None:
        """Close every connection: politely, or with a reset."""
        self._loop.call_soon_threadsafe(self._cut, reset)

    def _cut(self, reset: bool) -> None:
        self.done["resets" if reset else "cuts"] += 1
        for line in list(self._lines):
            _end(line, reset)

    async def serve(self, started: ThreadEvent) -> None:
        """Carry until `stop`; `started` once the port is open."""
        self._loop, self._stopped = asyncio.get_running_loop(), asyncio.Event()
        server = await asyncio.start_server(self._connect, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        started.set()
        await self._stopped.wait()
        server.close()
        self._cut(reset=False)
        await asyncio.sleep(0.1)

    def stop(self) -> None:
        """End `serve`."""
        self._loop.call_soon_threadsafe(self._stopped.set)

    async def _connect(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        if self.weather.down:
            _end(writer, reset=True)
            return
        try:
            there, out = await asyncio.open_connection("127.0.0.1", self.to_port)
        except OSError:
            _end(writer, reset=True)
            return
        self._lines |= {writer, out}
        try:
            await asyncio.gather(self._pump(reader, out, from_client=True), self._pump(there, writer))
        finally:
            self._lines -= {writer, out}

    async def _pump(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, from_client: bool = False
    ) -> None:
        """Carry packets one way, as the weather has it, until either end closes."""
        with suppress(OSError, asyncio.IncompleteReadError):
            while True:
                packet = await read_packet(reader)
                for copy in self._fate(packet):
                    await self._write(writer, copy)
        if from_client:
            self.closed_by_client_s.append(monotonic())
        _end(writer, reset=False)

    def _fate(self, packet: bytes) -> list[bytes]:
        """What becomes of a packet: nothing, itself, or two of it."""
        kind, weather = packet[0] >> 4, self.weather
        if weather.half_open:
            self.done["packets swallowed"] += 1
            return []
        if kind == PUBACK and self._chance.random() < weather.drop_puback:
            self.done["PUBACKs dropped"] += 1
            return []
        if kind == PUBLISH and self._chance.random() < weather.double:
            self.done["messages doubled"] += 1
            return [packet, bytes([packet[0] | _DUPLICATE]) + packet[1:]]
        return [packet]

    async def _write(self, writer: asyncio.StreamWriter, packet: bytes) -> None:
        weather = self.weather
        if weather.delay_s:
            await asyncio.sleep(weather.delay_s * self._chance.random())
        step = 1 if weather.dribble else max(1, weather.bytes_per_s // 20) if weather.bytes_per_s else len(packet)
        for start in range(0, len(packet), step):
            writer.write(packet[start : start + step])
            await writer.drain()
            if weather.bytes_per_s and not weather.dribble:
                await asyncio.sleep(step / weather.bytes_per_s)
            elif weather.dribble:
                await asyncio.sleep(0)


async def read_packet(reader: asyncio.StreamReader) -> bytes:
    """One whole MQTT control packet (MQTT 5, §2.1: a byte, a length of one to four bytes, the rest)."""
    head = bytearray(await reader.readexactly(1))
    length = shift = 0
    while True:
        (byte,) = await reader.readexactly(1)
        head.append(byte)
        length |= (byte & 0x7F) << shift
        shift += 7
        if not byte & 0x80:
            return bytes(head) + await reader.readexactly(length)


def _end(writer: asyncio.StreamWriter, reset: bool) -> None:
    if reset:
        with suppress(OSError):
            raw: socket.socket = writer.get_extra_info("socket")
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        writer.transport.abort()
    else:
        writer.close()


@contextmanager
def proxy(to_port: int, seed: int = 1) -> Iterator[Proxy]:
    """A proxy that runs."""
    made, started = Proxy(to_port, seed), ThreadEvent()
    thread = Thread(target=lambda: asyncio.run(made.serve(started)), name="proxy", daemon=True)
    thread.start()
    if not started.wait(10):
        raise RuntimeError("the proxy did not start within 10 s")
    try:
        yield made
    finally:
        made.stop()
        thread.join(10)


def storms(seed: int) -> Iterator[tuple[str, Weather, float]]:
    """Weather without end: its name, what it is, for how long (s); every second one is a calm."""
    chance = random.Random(seed)
    kinds: list[tuple[str, Weather]] = [
        ("cut", CLEAR),
        ("reset", CLEAR),
        ("half open", Weather(half_open=True)),
        ("down", Weather(down=True)),
        ("64 kbit/s", Weather(bytes_per_s=8000)),
        ("byte by byte", Weather(dribble=True)),
        ("doubling", Weather(double=0.3)),
        ("without PUBACKs", Weather(drop_puback=0.3)),
        ("late", Weather(delay_s=0.3)),
    ]
    while True:
        chance.shuffle(kinds)
        for name, weather in kinds:
            yield name, weather, chance.uniform(0.3, 4.0)
            yield "calm", CLEAR, chance.uniform(0.3, 3.0)
