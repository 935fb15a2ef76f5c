"""A broker that carries badly: it drops, doubles, delays, reorders, refuses, forgets everything, and is cut off.

What MQTT promises is kept as far as it goes: on one connection the messages of one topic arrive in order, unless the
wire of this simulation is `jumbled`. Nothing else is promised: after its own PUBACK a broker may lose what it has.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Protocol

from edge_agent.link.conversation import NO_MATCHING_SUBSCRIBERS, Message
from tests.simulation.world import World

QUOTA_EXCEEDED = 0x97
# Half-open lines are noticed by the keepalive after this long at most.
NOTICED_S = 25.0


class End(Protocol):
    """Whoever holds a line."""

    def received(self, topic: str, payload: bytes, *, retained: bool) -> None:
        """A message arrived; `retained`: the broker kept it and repeats it."""

    def lost(self) -> None:
        """The line is gone."""


@dataclass(frozen=True)
class Wire:
    """How badly messages are carried: shares of them, and the mean time they take."""

    delay_s: float = 0.02
    drop: float = 0.0
    double: float = 0.0
    refuse: float = 0.0
    damage: float = 0.0
    slow: float = 0.0
    """Share that takes up to a minute."""
    jumbled: bool = False


@dataclass
class Line:
    """One connection. `deaf`: nothing gets through any more, and neither side has noticed."""

    broker: "Broker"
    client: str
    end: End
    will: Message | None
    filters: tuple[str, ...] = ()
    is_open: bool = True
    deaf: bool = False
    _not_before_s: dict[str, float] = field(default_factory=dict)

    def subscribe(self, filters: Iterable[str]) -> None:
        """Ask for topics, and for what is retained of them."""
        self.filters = tuple(filters)
        self.carry("subscribe", lambda: self.broker.repeat_retained(self))

    def publish(self, message: Message, answered: Callable[[int], None]) -> None:
        """Send a message; `answered` hears the broker's own word on it, if that comes through."""
        self.carry(f"up {message.topic}", lambda: self.broker.take(self, message, answered))

    def carry(self, lane: str, action: Callable[[], None]) -> None:
        """Let something cross this line, in order within its lane, if the line is still there by then."""
        if not self.is_open or self.deaf:
            return
        world, wire = self.broker.world, self.broker.wire
        delay_s = world.between(5, 60) if world.chance(wire.slow) else world.around(wire.delay_s)
        at_s = world.now_s + delay_s
        if not wire.jumbled:
            at_s = max(at_s, self._not_before_s.get(lane, 0.0))
            self._not_before_s[lane] = at_s
        world.after(at_s - world.now_s, lambda: action() if self.is_open and not self.deaf else None)

    def close(self, *, goodbye: bool) -> None:
        """Close it from the client's side; without a goodbye the broker speaks the will, once it notices."""
        if self.is_open:
            self.broker.closed(self, speak_will=not goodbye)

    def cut(self) -> None:
        """Nothing gets through any more, and nobody is told: both sides find out for themselves."""
        if self.is_open and not self.deaf:
            self.deaf = True
            self.broker.world.after(self.broker.world.between(12, NOTICED_S), self.broken)

    def broken(self) -> None:
        """Both sides learn that the line is gone."""
        if self.is_open:
            self.broker.closed(self, speak_will=True)
            self.end.lost()


class Broker:
    """One broker of the list."""

    def __init__(self, world: World, name: str, wire: Wire) -> None:
        """Nothing retained, nobody connected."""
        self.world, self.name, self.wire = world, name, wire
        self.is_up = True
        self.retained: dict[str, bytes] = {}
        self.lines: dict[str, Line] = {}
        self.unreachable_until_s: dict[str, float] = {}

    def connect(self, client: str, end: End, will: Message | None) -> Line | None:
        """A line for this client, or None where there is no way to the broker. An older line of it ends."""
        if not self.is_up or self.unreachable_until_s.get(client, 0.0) > self.world.now_s:
            return None
        older = self.lines.get(client)
        if older is not None:
            older.broken()
        line = self.lines[client] = Line(self, client, end, will)
        return line

    def closed(self, line: Line, *, speak_will: bool) -> None:
        """A line ended. Its will may be late."""
        line.is_open = False
        if self.lines.get(line.client) is line:
            del self.lines[line.client]
        will = line.will
        if speak_will and will is not None:
            late_s = self.world.between(0, 120) if self.world.chance(0.3) else 0.0
            self.world.after(late_s, lambda: self._spread(will))

    def take(self, line: Line, message: Message, answered: Callable[[int], None]) -> None:
        """A message has arrived here: answer, and pass it on, or lose it."""
        if self.world.chance(self.wire.refuse):
            line.carry("down puback", lambda: answered(QUOTA_EXCEEDED))
            return
        found = self._spread(message)
        line.carry("down puback", lambda: answered(0 if found else NO_MATCHING_SUBSCRIBERS))

    def repeat_retained(self, line: Line) -> None:
        """What is retained goes to a new subscriber."""
        for topic, payload in list(self.retained.items()):
            if matches(line.filters, topic):
                self._pass_on(line, topic, payload, retained=True)

    def restart(self, *, keep_retained: bool) -> None:
        """Everything on its way is gone, and every line; perhaps what was retained, too. No will is spoken."""
        if not keep_retained:
            self.retained.clear()
        for line in list(self.lines.values()):
            line.is_open = False
            self.world.after(self.world.between(0, 5), line.end.lost)
        self.lines.clear()

    def cut_off(self, client: str, until_s: float) -> None:
        """No way to a client until then."""
        self.unreachable_until_s[client] = max(until_s, self.unreachable_until_s.get(client, 0.0))
        if client in self.lines:
            self.lines[client].cut()

    def _spread(self, message: Message) -> bool:
        if not self.is_up:
            return False
        if message.retain:
            self.retained[message.topic] = message.payload
        found = [line for line in self.lines.values() if matches(line.filters, message.topic)]
        for line in found:
            if self.world.chance(self.wire.drop):
                continue
            copies = 2 if self.world.chance(self.wire.double) else 1
            for _ in range(copies):
                self._pass_on(line, message.topic, message.payload, retained=False)
        return bool(found)

    def _pass_on(self, line: Line, topic: str, payload: bytes, *, retained: bool) -> None:
        if self.world.chance(self.wire.damage):
            at = self.world.random.randrange(len(payload))
            payload = payload[:at] + bytes([payload[at] ^ 1 << self.world.random.randrange(8)]) + payload[at + 1 :]
        line.carry(f"down {topic}", lambda: line.end.received(topic, payload, retained=retained))


@lru_cache(maxsize=1000)
def matches(filters: tuple[str, ...], topic: str) -> bool:
    """Whether a topic is one of these filters; `+` stands for any one segment."""
    segments = topic.split("/")
    return any(
        len(wanted) == len(segments) and all(one in ("+", other) for one, other in zip(wanted, segments, strict=True))
        for wanted in (each.split("/") for each in filters)
    )
