"""The real outbox and the real ingest in the same lives, step for step beside their models: any difference is an error.

So what hundreds of seeds say of the models holds for what runs on a bench and in a laboratory. A crash leaves the real
outbox's file as it lies: it is copied away under the open connection, and the next life opens the copy.
"""

import asyncio
import shutil
from collections.abc import Collection, Iterable, Sequence
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final, TypeVar

from edge_agent.clock import BootClock
from edge_agent.config import KeepConfig
from edge_agent.link.window import Waiting
from edge_agent.outbox.outbox import Outbox as RealOutbox
from protocol.messages import Held, LedgerDay, OutboxDepth, Refusal
from tests.simulation.card import Card, CardOutbox
from tests.simulation.real_table import TwinTable, same
from tests.simulation.run import Life, Report, simulate

# Whatever damages single bits is left out: how much of a row one flipped bit spoils is not the model's to know.
_NOT_MODELLED: Final = ("bit_rot", "damaging_wire")
_Result = TypeVar("_Result")


def real_life(drawn: Life) -> Life:
    """A life small enough for real files."""
    kinds = tuple(kind for kind in drawn.kinds if kind not in _NOT_MODELLED)
    return replace(
        drawn, days=min(drawn.days, 0.2), devices=min(drawn.devices, 2), readings=min(drawn.readings, 15), kinds=kinds
    )


def simulate_real(seed: int, folder: Path | None = None) -> Report:
    """Play one seed with the real outbox and ingest beside their models, in memory where there is such a folder."""
    where = folder or (Path("/dev/shm") if Path("/dev/shm").is_dir() else None)
    with TemporaryDirectory(prefix="wellread-simulation-", dir=where) as name, asyncio.Runner() as runner:
        root = Path(name)
        stores: list[TwinTable] = []

        def new_store() -> TwinTable:
            stores.append(TwinTable(root, runner))
            return stores[-1]

        try:
            return simulate(
                seed,
                life=real_life,
                open_outbox=lambda card, session, clock: TwinOutbox(root, card, session, clock),
                new_store=new_store,
            )
        finally:
            for store in stores:
                store.close()


class TwinOutbox:
    """The real outbox beside its model, for one life of the agent."""

    def __init__(self, root: Path, card: Card, session: str, clock: BootClock) -> None:
        """Open the file of this card; where it is a copy of another card's, that one is copied first."""
        self._root, self.card = root, card
        folder = self._folder()
        source = root / f"card-{card.copied_from}"
        if not folder.exists() and source.exists():
            shutil.copytree(source, folder)
        folder.mkdir(exist_ok=True)
        keep = KeepConfig(free_mb=0)
        self.model = CardOutbox(card, session, clock)
        self.real = RealOutbox(
            folder, session=session, clocks=clock, central_now=clock.central_now, new_epoch=lambda: card.epoch,
            keep=keep, ballast_bytes=4096,
        )  # fmt: skip

    def close(self) -> None:
        """Its process is gone: what lies in the folder now is what the next life finds."""
        left = self._root / f"left-{self.card.number}"
        shutil.copytree(self._folder(), left)
        self.real.close()
        shutil.rmtree(self._folder())
        left.rename(self._folder())

    @property
    def epoch(self) -> str:
        """Names this outbox."""
        return same("epoch", self.model.epoch, self.real.epoch)

    def put(self, document: bytes, photograph: bytes) -> int:
        """Keep a reading; its sequence number."""
        return same("put", self.model.put(document, photograph), self.real.put(document, photograph))

    def due(self, count: int, beside: Collection[str] = ()) -> list[Waiting]:
        """What waits."""
        return same("due", self.model.due(count, beside), self.real.due(count, beside))

    def send(self, ids: Iterable[str]) -> Sequence[Any]:
        """The bytes of these."""
        wanted = list(ids)
        model, real = self.model.send(wanted), self.real.send(wanted)
        same("send", [(one.id, one.document) for one in model], [(one.id, one.document) for one in real])
        return model

    def settle(self, ids: Iterable[str]) -> None:
        """Central has committed these."""
        wanted = list(ids)
        self.model.settle(wanted)
        self.real.settle(wanted)

    def quarantine(self, reading_id: str, code: str, detail: str) -> None:
        """Central will never accept this one."""
        self.model.quarantine(reading_id, code, detail)
        self.real.quarantine(reading_id, code, detail)

    def requeue(self, ids: Iterable[str]) -> list[str]:
        """A person wants these sent again."""
        wanted = list(ids)
        return same("requeue", sorted(self.model.requeue(wanted)), sorted(self.real.requeue(wanted)))

    def ledger(self) -> tuple[LedgerDay, ...]:
        """The account of everything here."""
        return same("ledger", self.model.ledger(), self.real.ledger())

    def reconcile(self, held: Sequence[Held]) -> object:
        """Settle what central has, let wait what it lacks."""
        return same("reconcile", self.model.reconcile(held), self.real.reconcile(held))

    def id_of(self, seq: int) -> str | None:
        """The reading with this number."""
        return same("id_of", self.model.id_of(seq), self.real.id_of(seq))

    def want(self, pictures: Iterable[str]) -> None:
        """Central lacks these pictures."""
        wanted = list(pictures)
        self.model.want(wanted)
        self.real.want(wanted)

    def wanted_pictures(self) -> list[str]:
        """The pictures to upload."""
        return same("wanted", self.model.wanted_pictures()[:100], [one.sha256 for one in self.real.wanted()])

    def mark_uploaded(self, picture: str) -> None:
        """Central has this picture."""
        self.model.mark_uploaded(picture)
        self.real.mark_uploaded(picture)

    def depth(self) -> OutboxDepth:
        """How much is here that central lacks."""
        model, real = self.model.depth(), self.real.depth()
        same("depth", _counts(model), _counts(real))
        return model

    def last_refusal(self) -> Refusal | None:
        """No photograph is refused here."""
        return same("last_refusal", self.model.last_refusal(), self.real.last_refusal())

    def prune(self, keep: timedelta, most_picture_bytes: int) -> list[tuple[str, bool]]:
        """Forget what may be forgotten."""
        gone = self.model.prune(keep, most_picture_bytes)
        self.real.prune(keep, most_picture_bytes)
        rows = self.real.file.rows("SELECT id, picture_state FROM readings ORDER BY seq")
        left = [(row.id, str(row.picture_state)) for row in self.card.rows.values()]
        same("prune", left, [(row["id"], row["picture_state"]) for row in rows])
        return gone

    def _folder(self) -> Path:
        return self._root / f"card-{self.card.number}"


def _counts(depth: OutboxDepth) -> tuple[object, ...]:
    return depth.epoch, depth.last_seq, depth.pending, depth.quarantined, depth.pictures
