"""Somebody with every right on the database, and what he does to the trail: each way names where it must be found.

A `Trail` is the three tables as plain rows and the heads in the files; a way takes one apart with a seeded `Random`
and returns the number that the first finding must have.
"""

import random
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, Final

from central.audit.chain import BEFORE_THE_FIRST, hash_of
from central.audit.verify import Head, Tip

Row = tuple[Any, ...]

NUMBER, AT, OLD, PREVIOUS, HASH = 0, 1, 9, 13, 14
TEXTS: Final = tuple(range(2, 15))
NEVER_NULL: Final = frozenset({2, 3, 6, 7, 8, 13, 14})


@dataclass(frozen=True)
class Trail:
    """Everything that there is to take apart."""

    rows: tuple[Row, ...]
    tip: Tip
    heads: tuple[Head, ...]
    files: tuple[Head, ...]

    def with_rows(self, rows: list[Row]) -> "Trail":
        return replace(self, rows=tuple(sorted(rows, key=lambda row: row[NUMBER])))

    @property
    def last(self) -> int:
        return len(self.rows)

    def head_from(self, number: int) -> int:
        """The first head that covers this entry."""
        return min(head.number for head in self.files if head.number >= number)


Way = Callable[[Trail, random.Random], tuple[Trail, int]]


def put(row: Row, column: int, value: Any) -> Row:
    return (*row[:column], value, *row[column + 1 :])


def made_anew(trail: Trail, start: int) -> Trail:
    """Every hash from the row at this index on, as central would make it; and the tip too."""
    rows = list(trail.rows)
    for at in range(start, len(rows)):
        row = put(rows[at], NUMBER, at + 1)
        row = put(row, PREVIOUS, rows[at - 1][HASH] if at else BEFORE_THE_FIRST)
        rows[at] = put(row, HASH, hash_of(row))
    return replace(trail, rows=tuple(rows), tip=Tip(len(rows), rows[-1][HASH] if rows else BEFORE_THE_FIRST))


def another_text(value: str | None, chance: random.Random, *, nullable: bool) -> str | None:
    text = value or ""
    at = chance.randrange(len(text) + 1)
    ways = [
        text[:at] + chance.choice("abcXYZ019 é{}\"'\\\n") + text[at:],
        text + " ",
        text[:at] + text[at + 1 :],
        text.swapcase(),
        text[::-1],
        "",
        "0" * 64,
        None if nullable else "x",
    ]
    return chance.choice([other for other in ways if other != value])


def edit(trail: Trail, chance: random.Random) -> tuple[Trail, int]:
    """One field of one entry gets another value."""
    at, column = chance.randrange(trail.last), chance.choice((AT, *TEXTS))
    row, rows = trail.rows[at], list(trail.rows)
    if column == AT:
        moment: datetime = row[AT]
        value: Any = moment + timedelta(microseconds=chance.choice((-1, 1, 1000, 10**6, -(10**12))))
    else:
        value = another_text(row[column], chance, nullable=column not in NEVER_NULL)
    rows[at] = put(row, column, value)
    return trail.with_rows(rows), at + 1


def edit_and_hash(trail: Trail, chance: random.Random) -> tuple[Trail, int]:
    """One entry is changed and gets the hash that fits; the next one still names the old hash."""
    at = chance.randrange(trail.last - 1)
    rows = list(trail.rows)
    row = put(rows[at], OLD, another_text(rows[at][OLD], chance, nullable=True))
    rows[at] = put(row, HASH, hash_of(row))
    covered = [head.number for head in trail.files if head.number == at + 1]
    return trail.with_rows(rows), covered[0] if covered else at + 2


def edit_and_make_anew(trail: Trail, chance: random.Random) -> tuple[Trail, int]:
    """One entry is changed, and every hash from there on: only the heads know."""
    at = chance.randrange(trail.last)
    rows = list(trail.rows)
    rows[at] = put(rows[at], OLD, another_text(rows[at][OLD], chance, nullable=True))
    return made_anew(trail.with_rows(rows), at), trail.head_from(at + 1)


def delete(trail: Trail, chance: random.Random) -> tuple[Trail, int]:
    """One entry, or several in a row, are gone."""
    at = chance.randrange(trail.last)
    gone = chance.choice((1, 1, 2, 5))
    return replace(trail, rows=trail.rows[:at] + trail.rows[at + gone :]), at + 1


def delete_and_make_anew(trail: Trail, chance: random.Random) -> tuple[Trail, int]:
    """An entry is gone, and the ones behind it have moved up, with hashes that fit."""
    at = chance.randrange(trail.last - 1)
    shorter = made_anew(replace(trail, rows=trail.rows[:at] + trail.rows[at + 1 :]), at)
    return shorter, min(trail.head_from(at + 1), shorter.last + 1)


def swap(trail: Trail, chance: random.Random) -> tuple[Trail, int]:
    """Two entries change places."""
    first, second = sorted(chance.sample(range(trail.last), 2))
    rows = list(trail.rows)
    rows[first] = put(trail.rows[second], NUMBER, first + 1)
    rows[second] = put(trail.rows[first], NUMBER, second + 1)
    return trail.with_rows(rows), first + 1


def swap_and_make_anew(trail: Trail, chance: random.Random) -> tuple[Trail, int]:
    """Two entries change places, and every hash fits."""
    first, second = sorted(chance.sample(range(trail.last), 2))
    rows = list(trail.rows)
    rows[first], rows[second] = put(rows[second], NUMBER, first + 1), put(rows[first], NUMBER, second + 1)
    return made_anew(trail.with_rows(rows), first), trail.head_from(first + 1)


def truncate(trail: Trail, chance: random.Random) -> tuple[Trail, int]:
    """The end is cut off; the tip may be moved back with it, and the heads in the table may go too."""
    kept = chance.randrange(trail.last)
    short = replace(trail, rows=trail.rows[:kept])
    if chance.random() < 0.7:
        short = replace(short, tip=Tip(kept, short.rows[-1][HASH] if kept else BEFORE_THE_FIRST))
        if chance.random() < 0.7:
            short = replace(short, heads=tuple(head for head in trail.heads if head.number <= kept))
    return short, kept + 1


def forge(trail: Trail, chance: random.Random) -> tuple[Trail, int]:
    """An entry that nobody wrote is put in between, or at the end; its hash fits, the link may."""
    at = chance.randrange(1, trail.last + 1)
    row = put(chance.choice(trail.rows), NUMBER, at + 1)
    row = put(row, PREVIOUS, trail.rows[at - 1][HASH])
    row = put(row, HASH, hash_of(row))
    later = [put(other, NUMBER, other[NUMBER] + 1) for other in trail.rows[at:]]
    if at == trail.last:  # with the tip left alone: a tip that goes with it is an entry of the newest hour
        return trail.with_rows([*trail.rows, row]), at
    covered = [head.number for head in trail.files if head.number == at + 1]
    return trail.with_rows([*trail.rows[:at], row, *later]), covered[0] if covered else at + 2


def forge_and_make_anew(trail: Trail, chance: random.Random) -> tuple[Trail, int]:
    """An entry that nobody wrote, and every hash behind it fits."""
    at = chance.randrange(trail.last)
    forged = replace(trail, rows=(*trail.rows[:at], chance.choice(trail.rows), *trail.rows[at:]))
    same = made_anew(forged, at)
    if same.rows[: trail.last] == trail.rows:  # the very same entry once more, at the end
        return edit(trail, chance)
    # Put in before its own like, it is the second of the two that is new.
    new = next(index for index, row in enumerate(trail.rows, 1) if same.rows[index - 1] != row)
    return same, trail.head_from(new)


def insert_again(trail: Trail, chance: random.Random) -> tuple[Trail, int]:
    """An entry is taken out and put back at the end, under a new number."""
    at = chance.randrange(trail.last - 1)
    again = put(trail.rows[at], NUMBER, trail.last + 1)
    return replace(trail, rows=(*trail.rows[:at], *trail.rows[at + 1 :], again)), at + 1


def move_the_tip(trail: Trail, chance: random.Random) -> tuple[Trail, int]:
    """The next entry would be linked to nothing."""
    number = chance.choice((0, trail.last - 1, trail.last, trail.last + 1))
    tip = Tip(number, "f" * 64)
    return replace(trail, tip=tip), trail.last + 1 if number > trail.last else number


def forge_a_head(trail: Trail, chance: random.Random) -> tuple[Trail, int]:
    """A head in the table says something else; the key to sign it is not in the database."""
    at = chance.randrange(len(trail.heads))
    head = trail.heads[at]
    other = chance.choice(
        [
            replace_head(head, hash="e" * 64),
            replace_head(head, signed_at=head.signed_at - timedelta(microseconds=1)),
            replace_head(head, signature=head.signature[::-1]),
            replace_head(head, signature="rubble"),
            replace_head(head, public_key="0" * 64),
        ]
    )
    return replace(trail, heads=(*trail.heads[:at], other, *trail.heads[at + 1 :])), head.number


def replace_head(head: Head, **values: Any) -> Head:
    fields = {name: getattr(head, name) for name in Head.__struct_fields__}
    return Head(**(fields | values))


WAYS: Final[tuple[Way, ...]] = (
    edit,
    edit,
    edit_and_hash,
    edit_and_make_anew,
    delete,
    delete_and_make_anew,
    swap,
    swap_and_make_anew,
    truncate,
    forge,
    forge_and_make_anew,
    insert_again,
    move_the_tip,
    forge_a_head,
)
