"""Results on their way to laboratory systems: by which rule, which file, and how far each has come."""

from typing import Final

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    String,
    Table,
    Text,
    UniqueConstraint,
)

from central.tables.columns import BigId, Json, UtcDateTime, metadata

# What goes where: when a site's results are approved, or when somebody says so.
delivery_rules: Final = Table(
    "delivery_rules",
    metadata,
    Column("id", String(36), primary_key=True),
    Column("site_id", String(64), ForeignKey("sites.id"), nullable=False, index=True),
    Column("title", String(200), nullable=False),
    Column("revision", Integer, nullable=False),
    Column("when", String(16), nullable=False),  # approved | by_hand
    Column("of", String(16), nullable=False),  # submission | test | plate: what one file holds
    Column("dialect", Json, nullable=False),  # the whole dialect, as it was when the rule was made
    Column("target_kind", String(16), nullable=False),  # folder | sftp | webhook | s3 | email
    Column("target", Json, nullable=False),  # where; no secrets
    Column("secret", LargeBinary),  # sealed with a key that is not in the database
    Column("enabled", Boolean, nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
    Column("in_force_since", UtcDateTime, nullable=False),  # since it asks for what it asks for now
    Column("created_by", String(64), nullable=False),
)

# One file. Its bytes are kept as they were placed; a correction is a delivery of its own that supersedes this one.
deliveries: Final = Table(
    "deliveries",
    metadata,
    Column("id", String(36), primary_key=True),
    Column("rule_id", String(36), ForeignKey("delivery_rules.id"), nullable=False),
    Column("site_id", String(64), ForeignKey("sites.id"), nullable=False),
    Column("subject_kind", String(16), nullable=False),  # submission | test | plate
    Column("subject_id", String(36), nullable=False),
    Column("revision", Integer, nullable=False),  # 1, 2, … of this subject by this rule
    Column("state", String(16), nullable=False),  # central.deliveries.states
    Column("record_sha256", String(64), nullable=False),  # of what was approved: the same is not delivered twice
    Column("withdraws", Text),  # of a file that withdraws: the runs, with spaces between; null: it holds results
    Column("name", String(200)),
    Column("media_type", String(100)),
    Column("content", LargeBinary),
    Column("content_sha256", String(64)),
    Column("left_out", Json),
    Column("said", Json),  # calls and titres that it holds, for the next revision to be compared with
    Column("differences", Json),  # from the revision before
    Column("place", Json),  # what is known of the place while the file is put there
    Column("supersedes_id", String(36), ForeignKey("deliveries.id")),
    Column("created_at", UtcDateTime, nullable=False),
    Column("created_by", String(64), nullable=False),
    Column("due_at", UtcDateTime, nullable=False),
    Column("leased_by", String(64)),
    Column("leased_until", UtcDateTime),
    Column("attempts", Integer, nullable=False),
    Column("last_error", Text),
    Column("placed_at", UtcDateTime),
    Column("acknowledged_at", UtcDateTime),
    Column("acknowledged_how", String(64)),
    UniqueConstraint("rule_id", "subject_id", "revision"),
    Index("ix_deliveries_state_due_at", "state", "due_at"),
    Index("ix_deliveries_site_id_created_at", "site_id", "created_at"),
)

# What is out and void since, until the other side has taken it back.
withdrawals: Final = Table(
    "withdrawals",
    metadata,
    Column("id", String(36), primary_key=True),
    Column("site_id", String(64), ForeignKey("sites.id"), nullable=False),
    Column("delivery_id", String(36), ForeignKey("deliveries.id"), nullable=False),  # whose file says it
    Column("run_id", String(36), ForeignKey("runs.id"), nullable=False),
    Column("plate", String(200), nullable=False),  # `NDV, plate 1`
    Column("told_id", String(36), ForeignKey("deliveries.id")),  # the file that withdraws it
    Column("opened_at", UtcDateTime, nullable=False),
    Column("opened_by", String(64), nullable=False),
    Column("settled_at", UtcDateTime),
    Column("settled_by", String(64)),
    Index("ix_withdrawals_site_id_settled_at", "site_id", "settled_at"),
    Index("ix_withdrawals_told_id", "told_id"),
)

# What happened to each, in order.
delivery_log: Final = Table(
    "delivery_log",
    metadata,
    Column("number", BigId, primary_key=True, autoincrement=True),
    Column("delivery_id", String(36), ForeignKey("deliveries.id"), nullable=False, index=True),
    Column("at", UtcDateTime, nullable=False),
    Column("event", String(16), nullable=False),
    Column("detail", Text),
)

# What changed, for who reads along: numbered in the order of the commits, so that a reader misses none.
changes: Final = Table(
    "changes",
    metadata,
    Column("number", BigInteger, primary_key=True, autoincrement=False),  # 1, 2, 3, … without a gap
    Column("at", UtcDateTime, nullable=False),
    Column("site_id", String(64), nullable=False),
    Column("kind", String(32), nullable=False),  # central.deliveries.changes.Kind
    Column("run_id", String(36)),
    Column("plate_id", String(36)),
    Column("submission_id", String(36)),
    Column("delivery_id", String(36)),
    Column("revision", Integer),
    Index("ix_changes_site_id_number", "site_id", "number"),
)

changes_tip: Final = Table(
    "changes_tip",
    metadata,
    Column("one", Integer, primary_key=True, autoincrement=False),  # always 1
    Column("number", BigInteger, nullable=False),
)
