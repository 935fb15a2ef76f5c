"""What the laboratory plans, and what it makes of a run: submissions → tests → plates → sera, review, approval.

A row with `revision` is changed only by who names the revision that he saw. Corrections and signatures are never
changed and never deleted: triggers refuse it.
"""

from typing import Final

from sqlalchemy import (
    Boolean,
    Column,
    Date,
    Float,
    ForeignKey,
    Index,
    Integer,
    String,
    Table,
    Text,
    UniqueConstraint,
    text,
)

from central.tables.columns import BigId, Json, UtcDateTime, metadata

submissions: Final = Table(
    "submissions",
    metadata,
    Column("id", String(36), primary_key=True),
    Column("site_id", String(64), ForeignKey("sites.id"), nullable=False),
    Column("name", String(64), nullable=False),
    Column("revision", Integer, nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
    Column("created_by", String(64), nullable=False),
    Column("origin", String(16), nullable=False),  # by hand | worklist | api | code
    Column("received_on", Date),
    Column("species", String(100)),
    Column("farm", String(100), index=True),
    Column("flock", String(100)),
    Column("age_days", Integer),
    Column("vaccine", String(200)),
    Column("vaccinated_on", Date),
    Column("customer", String(200)),
    Column("assignee_id", String(36), ForeignKey("users.id")),
    Column("note", Text),
    Column("voided_at", UtcDateTime),
    UniqueConstraint("site_id", "name"),
)

tests: Final = Table(
    "tests",
    metadata,
    Column("id", String(36), primary_key=True),
    Column("submission_id", String(36), ForeignKey("submissions.id"), nullable=False),
    Column("name", String(64), nullable=False),
    Column("revision", Integer, nullable=False),
    Column("profile", String(64)),  # the assay that is planned; null: whatever is read
    Column("antigen", String(100)),
    Column("antigen_lot", String(100)),
    Column("hau", Integer),
    UniqueConstraint("submission_id", "name"),
)

plates: Final = Table(
    "plates",
    metadata,
    Column("id", String(36), primary_key=True),
    Column("test_id", String(36), ForeignKey("tests.id"), nullable=False),
    Column("number", String(64), nullable=False),
    Column("revision", Integer, nullable=False),
    Column("state", String(16), nullable=False),  # central.laboratory.states
    Column("location", String(200)),
    UniqueConstraint("test_id", "number"),
    Index("ix_plates_state", "state"),
)

sera: Final = Table(
    "sera",
    metadata,
    Column("id", String(36), primary_key=True),
    Column("submission_id", String(36), ForeignKey("submissions.id"), nullable=False),
    Column("name", String(64), nullable=False),
    Column("position", Integer, nullable=False),
    UniqueConstraint("submission_id", "name"),
)

# A serum of known titre that the laboratory runs along: one lot of it.
control_sera: Final = Table(
    "control_sera",
    metadata,
    Column("id", String(36), primary_key=True),
    Column("site_id", String(64), ForeignKey("sites.id"), nullable=False),
    Column("name", String(64), nullable=False),
    Column("lot", String(64), nullable=False),
    Column("kind", String(16), nullable=False),  # positive | negative
    Column("profile", String(64), nullable=False),
    Column("antigen", String(100)),
    Column("expected_log2", Integer),  # of a positive one
    Column("tolerance_log2", Integer, nullable=False),  # positive: ± around what is expected; negative: at most this
    Column("target_mean", Float),  # of its Levey-Jennings chart, once set
    Column("target_sd", Float),
    Column("revision", Integer, nullable=False),
    Column("retired_at", UtcDateTime),
    UniqueConstraint("site_id", "name", "lot"),
)

# What is in a row (a series) of a plate: a serum of its submission, or a control serum.
placements: Final = Table(
    "placements",
    metadata,
    Column("plate_id", String(36), ForeignKey("plates.id"), primary_key=True),
    Column("row", String(8), primary_key=True),
    Column("serum_id", String(36), ForeignKey("sera.id")),
    Column("control_serum_id", String(36), ForeignKey("control_sera.id")),
)

# Nobody has accepted it, and somebody should look at it.
_WAITING: Final = text("accepted_at IS NULL AND voided_at IS NULL AND (worst_grade <> 'high' OR flagged IS true)")

# What the laboratory makes of a run. `runs` itself stays as it was accepted.
run_records: Final = Table(
    "run_records",
    metadata,
    Column("run_id", String(36), ForeignKey("runs.id"), primary_key=True),
    Column("site_id", String(64), ForeignKey("sites.id"), nullable=False),
    Column("plate_id", String(36), ForeignKey("plates.id")),  # null: nobody knows (yet) which plate it is
    Column("matched_by", String(64)),  # "code", or who said so
    Column("revision", Integer, nullable=False),
    Column("assay_version", Integer, nullable=False),  # of the run's profile: what its titres are worked out by
    Column("revised", Json),  # row → RowEndpoint where that differs from the run's own; a row that is gone is null
    Column("worst_grade", String(8)),  # of its rows as they stand: what the queue is made of
    Column("flagged", Boolean, nullable=False),
    Column("accepted_at", UtcDateTime),  # a reviewer saw it and had nothing (more) to say
    Column("accepted_by", String(64)),
    Column("approved_at", UtcDateTime),
    Column("voided_at", UtcDateTime),
    Index("ix_run_records_plate_id", "plate_id"),
    Index("ix_run_records_site_id", "site_id"),
    Index("ix_run_records_waiting", "run_id", postgresql_where=_WAITING, sqlite_where=_WAITING),
)

# Each thing that a person said of a run, in order; the run as it stands is worked out from them.
corrections: Final = Table(
    "corrections",
    metadata,
    Column("number", BigId, primary_key=True, autoincrement=True),
    Column("run_id", String(36), ForeignKey("runs.id"), nullable=False),
    Column("revision", Integer, nullable=False),  # that it made
    Column("action", String(16), nullable=False),  # central.review.corrections
    Column("target", String(8)),  # a well, a row; null: the run
    Column("call", String(16)),  # of an override; null: the machine's again
    Column("machine_call", String(16)),
    Column("reason_code", String(32), nullable=False),
    Column("reason", Text),
    Column("at", UtcDateTime, nullable=False),
    Column("user_id", String(36), ForeignKey("users.id"), nullable=False),
    UniqueConstraint("run_id", "revision", "target"),
    Index("ix_corrections_run_id", "run_id"),
)

# Who stood for a run, as it was then: `record_sha256` is over everything that he was shown.
signatures: Final = Table(
    "signatures",
    metadata,
    Column("id", String(36), primary_key=True),
    Column("run_id", String(36), ForeignKey("runs.id"), nullable=False),
    Column("revision", Integer, nullable=False),
    Column("meaning", String(16), nullable=False),  # reviewed | approved
    Column("user_id", String(36), ForeignKey("users.id"), nullable=False),
    Column("at", UtcDateTime, nullable=False),
    Column("proved", String(16), nullable=False),  # password | password+totp
    Column("record_sha256", String(64), nullable=False),
    Index("ix_signatures_run_id", "run_id"),
)

# Assay profiles beside the shipped ones. A version is never changed; which one counts is said by `activated_at`.
profiles: Final = Table(
    "profiles",
    metadata,
    Column("name", String(64), primary_key=True),
    Column("version", Integer, primary_key=True, autoincrement=False),
    Column("document", Json, nullable=False),
    Column("digest", String(64), nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
    Column("created_by", String(64), nullable=False),
    Column("activated_at", UtcDateTime),
    Column("activated_by", String(64)),
)
