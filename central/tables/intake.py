"""What came from devices. A row of `runs` is never changed and never deleted: triggers refuse it.

One row per run. `document` is the reading's canonical JSON, zstd-compressed, exactly as it was hashed on the device;
every other column of a run is derived from it and can be recomputed. Wells are read from the document, with which a
run is always read whole. What the laboratory makes of a run is in `run_records`.
"""

from typing import Final

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Float,
    Index,
    Integer,
    LargeBinary,
    String,
    Table,
    Text,
    UniqueConstraint,
)

from central.tables.columns import BigId, Json, UtcDateTime, metadata

runs: Final = Table(
    "runs",
    metadata,
    Column("number", BigId, primary_key=True, autoincrement=True),  # order of acceptance here
    Column("id", String(36), nullable=False, unique=True),  # the reading's UUIDv7
    Column("device_id", String(63), nullable=False),
    Column("epoch", String(36), nullable=False),
    Column("seq", BigInteger, nullable=False),
    Column("digest", String(64), nullable=False),
    Column("document", LargeBinary, nullable=False),
    Column("historical", Boolean, nullable=False),
    Column("captured_at", UtcDateTime, nullable=False),
    Column("received_at", UtcDateTime, nullable=False),
    Column("submission", String(64)),  # null: the plate's code is unknown
    Column("test", String(64)),
    Column("plate_number", String(64)),
    Column("profile", String(64), nullable=False),
    Column("profile_version", Integer, nullable=False),
    Column("plate_format", Integer, nullable=False),
    Column("endpoints", Json, nullable=False),  # row → RowEndpoint
    Column("model", String(64), nullable=False),
    Column("image_sha256", String(64), nullable=False),
    Column("boot_id", String(64), nullable=False),  # these four: what the device knew of time at the capture
    Column("monotonic_ns", BigInteger, nullable=False),
    Column("clock_quality", String(16), nullable=False),
    Column("clock_offset_s", Float),
    UniqueConstraint("device_id", "epoch", "seq"),
    Index("ix_runs_submission_test_plate_number", "submission", "test", "plate_number"),
    Index("ix_runs_image_sha256", "image_sha256"),
)

# What could not be accepted: kept with its bytes, answered once, never retried for ever, never dropped.
dead_letters: Final = Table(
    "dead_letters",
    metadata,
    Column("number", BigId, primary_key=True, autoincrement=True),
    Column("received_at", UtcDateTime, nullable=False),
    Column("topic", Text, nullable=False),
    Column("device_id", String(63)),
    Column("code", String(32), nullable=False),
    Column("detail", Text, nullable=False),
    Column("digest", String(64), nullable=False),  # of `payload`: the same poison sent again is counted, not kept twice
    Column("times", Integer, nullable=False, default=1),
    Column("payload", LargeBinary, nullable=False),  # empty once it had to make room; `kept` says so
    Column("bytes", Integer, nullable=False),
    Column("kept", Boolean, nullable=False),
    Column("epoch", String(36)),  # these three where the bytes gave them away
    Column("seq", BigInteger),
    Column("reading_id", String(36)),
    UniqueConstraint("topic", "digest"),
    Index("ix_dead_letters_device_id", "device_id"),
)

# Places in devices' outboxes that central has runs for, from `first` to `last`. Each commit adds its own rows, so that
# nobody waits for anybody; `gaps` joins them now and then. No place is in two rows.
stretches: Final = Table(
    "stretches",
    metadata,
    Column("number", BigId, primary_key=True, autoincrement=True),
    Column("device_id", String(63), nullable=False),
    Column("epoch", String(36), nullable=False),
    Column("first", BigInteger, nullable=False),
    Column("last", BigInteger, nullable=False),
    Index("ix_stretches_device_id_epoch", "device_id", "epoch"),
)

# A reading that came again from another place (its device filled a new outbox from an archive) is still one run.
other_places: Final = Table(
    "other_places",
    metadata,
    Column("device_id", String(63), primary_key=True),
    Column("epoch", String(36), primary_key=True),
    Column("seq", BigInteger, primary_key=True, autoincrement=False),
    Column("run_id", String(36), nullable=False),
)

# When a device's boot began, by central's clock: a capture in it was as long after that as its monotonic clock says.
boots: Final = Table(
    "boots",
    metadata,
    Column("device_id", String(63), primary_key=True),
    Column("boot_id", String(64), primary_key=True),
    Column("began_at", UtcDateTime, nullable=False),
)

# Archives that were carried here by hand. `signed_by` is the key that was believed; null: a person answered for it.
imports: Final = Table(
    "imports",
    metadata,
    Column("number", BigId, primary_key=True, autoincrement=True),
    Column("imported_at", UtcDateTime, nullable=False),
    Column("imported_by", String(64), nullable=False),
    Column("archive_sha256", String(64), nullable=False),
    Column("name", Text, nullable=False),
    Column("device_id", String(63), nullable=False),
    Column("signed_by", String(64)),
    Column("counts", Json, nullable=False),
)

images: Final = Table(
    "images",
    metadata,
    Column("sha256", String(64), primary_key=True),
    Column("bytes", BigInteger, nullable=False),
    Column("media_type", String(32), nullable=False),
    Column("stored_at", UtcDateTime, nullable=False),
    Column("device_id", String(63), nullable=False),
    Column("removed_at", UtcDateTime),  # as its laboratory keeps pictures no longer; null: it is here
)
