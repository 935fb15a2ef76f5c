"""Time, gaps, keys, imports; wells leave the table of runs, where nothing read them: they are in the document.

What is new in a run is taken from its document, in batches.
"""

from typing import Final

import msgspec
import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

from protocol.codec import decompress

revision: Final = "0002"
down_revision: Final = "0001"

_JSON: Final = sa.JSON().with_variant(JSONB(), "postgresql")
_NUMBER: Final = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
_BATCH: Final = 500


class _Clock(msgspec.Struct):
    boot_id: str
    monotonic_ns: int
    quality: str = "unknown"
    offset_s: float | None = None


class _Clocked(msgspec.Struct):
    clock: _Clock


def upgrade() -> None:
    """To this step."""
    _clocks_of_runs()
    op.drop_column("runs", "wells")
    _new_tables()
    _stretches_of_runs()
    op.add_column("dead_letters", sa.Column("bytes", sa.Integer(), nullable=False, server_default="0"))
    op.add_column("dead_letters", sa.Column("kept", sa.Boolean(), nullable=False, server_default=sa.true()))
    op.add_column("dead_letters", sa.Column("epoch", sa.String(36)))
    op.add_column("dead_letters", sa.Column("seq", sa.BigInteger()))
    op.add_column("dead_letters", sa.Column("reading_id", sa.String(36)))
    op.execute("UPDATE dead_letters SET bytes = length(payload)")
    op.create_index("ix_dead_letters_device_id", "dead_letters", ["device_id"])
    op.add_column("devices", sa.Column("public_key", sa.String(64)))


def _clocks_of_runs() -> None:
    op.add_column("runs", sa.Column("boot_id", sa.String(64), nullable=False, server_default="unknown"))
    op.add_column("runs", sa.Column("monotonic_ns", sa.BigInteger(), nullable=False, server_default="0"))
    op.add_column("runs", sa.Column("clock_quality", sa.String(16), nullable=False, server_default="unknown"))
    op.add_column("runs", sa.Column("clock_offset_s", sa.Float()))
    connection = op.get_bind()
    some = sa.text("SELECT number, document FROM runs WHERE number > :after ORDER BY number LIMIT :batch")
    put = sa.text(
        "UPDATE runs SET boot_id = :boot_id, monotonic_ns = :monotonic_ns, clock_quality = :quality,"
        " clock_offset_s = :offset_s WHERE number = :number"
    )
    after = -1
    while rows := connection.execute(some, {"after": after, "batch": _BATCH}).all():
        clocks = [(row.number, msgspec.json.decode(decompress(row.document), type=_Clocked).clock) for row in rows]
        fitting = [{"number": number} | msgspec.structs.asdict(clock) for number, clock in clocks if _fits(clock)]
        if fitting:
            connection.execute(put, fitting)
        after = rows[-1].number


def _fits(clock: _Clock) -> bool:
    """No device of ours ever said anything that does not; the first tables did not ask."""
    return len(clock.boot_id) <= 64 and clock.boot_id.isprintable() and abs(clock.monotonic_ns) < 2**63


def _new_tables() -> None:
    op.create_table(
        "stretches",
        sa.Column("number", _NUMBER, autoincrement=True, nullable=False),
        sa.Column("device_id", sa.String(63), nullable=False),
        sa.Column("epoch", sa.String(36), nullable=False),
        sa.Column("first", sa.BigInteger(), nullable=False),
        sa.Column("last", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("number", name=op.f("pk_stretches")),
    )
    op.create_index("ix_stretches_device_id_epoch", "stretches", ["device_id", "epoch"])
    op.create_table(
        "other_places",
        sa.Column("device_id", sa.String(63), nullable=False),
        sa.Column("epoch", sa.String(36), nullable=False),
        sa.Column("seq", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("run_id", sa.String(36), nullable=False),
        sa.PrimaryKeyConstraint("device_id", "epoch", "seq", name=op.f("pk_other_places")),
    )
    op.create_table(
        "boots",
        sa.Column("device_id", sa.String(63), nullable=False),
        sa.Column("boot_id", sa.String(64), nullable=False),
        sa.Column("began_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("device_id", "boot_id", name=op.f("pk_boots")),
    )
    op.create_table(
        "imports",
        sa.Column("number", _NUMBER, autoincrement=True, nullable=False),
        sa.Column("imported_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("imported_by", sa.String(64), nullable=False),
        sa.Column("archive_sha256", sa.String(64), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("device_id", sa.String(63), nullable=False),
        sa.Column("signed_by", sa.String(64), nullable=True),
        sa.Column("counts", _JSON, nullable=False),
        sa.PrimaryKeyConstraint("number", name=op.f("pk_imports")),
    )


def _stretches_of_runs() -> None:
    """Places that follow one another differ by as much as their ranks do."""
    op.execute(
        "INSERT INTO stretches (device_id, epoch, first, last) "
        "SELECT device_id, epoch, min(seq), max(seq) FROM ("
        " SELECT device_id, epoch, seq,"
        "  seq - row_number() OVER (PARTITION BY device_id, epoch ORDER BY seq) AS island FROM runs"
        ") AS ranked GROUP BY device_id, epoch, island"
    )


def downgrade() -> None:
    """Back to the first tables; their column of wells is empty."""
    op.drop_column("devices", "public_key")
    op.drop_index("ix_dead_letters_device_id", "dead_letters")
    for name in ("reading_id", "seq", "epoch", "kept", "bytes"):
        op.drop_column("dead_letters", name)
    for name in ("imports", "boots", "other_places", "stretches"):
        op.drop_table(name)
    op.add_column("runs", sa.Column("wells", _JSON, nullable=False, server_default="{}"))
    for name in ("clock_offset_s", "clock_quality", "monotonic_ns", "boot_id"):
        op.drop_column("runs", name)
