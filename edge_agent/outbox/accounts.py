"""The outbox's side of comparing accounts with central: what is here, day by day, and what follows from the answer."""

from collections.abc import Sequence
from itertools import groupby
from typing import Final

from edge_agent.outbox.file import OutboxFile
from edge_agent.outbox.rows import Reconciled
from edge_agent.outbox.steps import Steps
from protocol.delivery import Event, State
from protocol.ledger import Entry, judge, ledger_day
from protocol.messages import Held, LedgerDay

# A damaged row is shown to a person, and no account rests on it. One that came from another outbox is accounted for
# although central may have it under the name of that one: it is sent once more, central notes that it is here too, and
# neither a gap is left nor is it beyond help where central was set back.
# One whose digest or day is none any more is found out when it is sent; it must not spoil the account of the others.
_ACCOUNTED: Final = (
    "rejected_code IS NOT 'damaged'"
    " AND length(digest) = 64 AND digest NOT GLOB '*[^0-9a-f]*'"
    " AND day GLOB '[0-9][0-9][0-9][0-9]-[0-9][0-9]-[0-9][0-9]'"
)


def ledger(file: OutboxFile) -> tuple[LedgerDay, ...]:
    """The account of everything here, day by day."""
    # A day at a time: a month of readings lies in the index in this order, and need not lie in memory.
    with file.lock:
        rows = file.each(f"SELECT seq, digest, state, day FROM readings WHERE {_ACCOUNTED} ORDER BY day, seq")
        days = groupby(rows, key=lambda row: str(row[3]))
        return tuple(ledger_day(day, (_entry(*row[:3]) for row in of_day)) for day, of_day in days)


def reconcile(file: OutboxFile, steps: Steps, held: Sequence[Held], settled_at: str | None) -> Reconciled:
    """Settle what central provably has of these days, and let wait again what it turns out to lack."""
    settled = missed = 0
    for day in held:
        with file.lock:
            rows = file.each(f"SELECT seq, digest, state FROM readings WHERE day = ? AND {_ACCOUNTED}", day.day)
            verdict = judge((_entry(*row) for row in rows), day)
            settled += steps.take("seq", verdict.held, Event.ACCEPTED, {"settled_at": settled_at})
            missed += steps.take("seq", verdict.missed, Event.MISSED, {"settled_at": None})
    return Reconciled(settled, missed)


def _entry(seq: int, digest: object, state: object) -> Entry:
    return Entry(seq, str(digest), state == State.SETTLED)
