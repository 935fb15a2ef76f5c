"""The outbox as a bench uses it; between any two of its steps the agent may die, or the disk fail."""

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Protocol

from edge_agent.clock import BootClock
from edge_agent.link.conversation import Outgoing
from edge_agent.link.window import Waiting
from protocol.messages import Held, LedgerDay, OutboxDepth, Refusal
from tests.simulation.card import Card


class KilledError(Exception):
    """The agent's process ended here."""


class Outbox(Protocol):
    """What a bench does with its outbox: the model's or the real one."""

    @property
    def epoch(self) -> str: ...
    def put(self, document: bytes, photograph: bytes) -> int: ...
    def due(self, count: int, beside: Collection[str] = ()) -> Sequence[Waiting]: ...
    def send(self, ids: Iterable[str]) -> Sequence[Outgoing]: ...
    def settle(self, ids: Iterable[str]) -> None: ...
    def quarantine(self, reading_id: str, code: str, detail: str) -> None: ...
    def requeue(self, ids: Iterable[str]) -> list[str]: ...
    def ledger(self) -> Sequence[LedgerDay]: ...
    def reconcile(self, held: Sequence[Held]) -> object: ...
    def id_of(self, seq: int) -> str | None: ...
    def want(self, pictures: Iterable[str]) -> None: ...
    def wanted_pictures(self) -> list[str]: ...
    def mark_uploaded(self, picture: str) -> None: ...
    def depth(self) -> OutboxDepth: ...
    def last_refusal(self) -> Refusal | None: ...
    def prune(self, keep: timedelta, most_picture_bytes: int) -> list[tuple[str, bool]]: ...
    def close(self) -> None: ...


OpenOutbox = Callable[[Card, str, BootClock], Outbox]


@dataclass
class Frailty:
    """Shares of the agent's steps at which it is killed, or its disk fails."""

    kill: float = 0.0
    disk_error: float = 0.0


class Bench(Protocol):
    """Whose outbox it is, as far as a step of it is concerned."""

    def may_die(self) -> None: ...
    def may_fail(self) -> None: ...
    def after_step(self, name: str, values: tuple[Any, ...], result: Any) -> None: ...


class Frail:
    """An outbox between any two steps of which the agent may die, and whose disk may fail."""

    def __init__(self, outbox: Outbox, reader: "Bench") -> None:
        self._outbox, self._reader = outbox, reader

    @property
    def epoch(self) -> str:
        """As the outbox's."""
        return self._outbox.epoch

    def __getattr__(self, name: str) -> Callable[..., Any]:
        step = getattr(self._outbox, name)

        def taken(*values: Any, **named: Any) -> Any:
            self._reader.may_die()
            self._reader.may_fail()
            result = step(*values, **named)
            self._reader.after_step(name, values, result)
            self._reader.may_die()
            return result

        return taken
