"""What somebody ought to look at and who was told; and the figures of each run that this is worked out from.

`run_figures` is a cache: all of it follows from the run, its corrections and its controls, and it is behind them by
seconds. No address of a person is here: a letter names the person's id, and finds the address when it is sent.
"""

from typing import Final

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Float,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    String,
    Table,
    Text,
    UniqueConstraint,
    text,
)

from central.tables.columns import Json, UtcDateTime, metadata

# When something is worth a notice, and who is told of it.
notice_rules: Final = Table(
    "notice_rules",
    metadata,
    Column("id", String(36), primary_key=True),
    Column("site_id", String(64), ForeignKey("sites.id"), nullable=False, index=True),
    Column("title", String(200), nullable=False),
    Column("revision", Integer, nullable=False),
    Column("kind", String(32), nullable=False),  # central.notices.kinds
    Column("enabled", Boolean, nullable=False),
    Column("device_id", String(63)),  # only this one; null: all of the site
    Column("opens_at", Float, nullable=False),  # in the kind's unit; back over `closes_at` it is over
    Column("closes_at", Float, nullable=False),
    Column("hold_s", Integer, nullable=False),  # so long it must hold before a notice opens
    Column("calm_s", Integer, nullable=False),  # and so long be over before it closes
    Column("window_s", Integer, nullable=False),  # of kinds that look back
    Column("least", Integer, nullable=False),  # of a share: on fewer rows than that it says nothing
    Column("repeat_s", Integer),  # null: told once
    Column("tell_end", Boolean, nullable=False),
    Column("recipients", Json, nullable=False),  # ids of people
    Column("webhook_url", Text),
    Column("secret", LargeBinary),  # sealed with a key that is not in the database
    Column("created_at", UtcDateTime, nullable=False),
    Column("created_by", String(64), nullable=False),
)

_STANDING: Final = text("state <> 'closed'")

notices: Final = Table(
    "notices",
    metadata,
    Column("id", String(36), primary_key=True),
    Column("site_id", String(64), ForeignKey("sites.id"), nullable=False),
    Column("rule_id", String(36), ForeignKey("notice_rules.id"), nullable=False),
    Column("kind", String(32), nullable=False),
    Column("object_kind", String(16), nullable=False),  # device | run | delivery_rule | alarm | site
    Column("object_id", String(64), nullable=False),
    Column("device_id", String(63)),
    Column("state", String(16), nullable=False),  # central.notices.states
    Column("since", UtcDateTime, nullable=False),  # in this state
    Column("value", Float, nullable=False),
    Column("detail", Text, nullable=False),
    Column("opened_at", UtcDateTime),
    Column("closed_at", UtcDateTime),
    Column("told_at", UtcDateTime),
    Column("tells", Integer, nullable=False),
    Column("acknowledged_at", UtcDateTime),
    Column("acknowledged_by", String(64)),
    Column("comment", Text),
    # One for a thing by a rule until it is over, whoever looks at the same moment.
    Index(
        "ix_notices_standing",
        "rule_id",
        "object_kind",
        "object_id",
        unique=True,
        postgresql_where=_STANDING,
        sqlite_where=_STANDING,
    ),
    Index("ix_notices_site_id_opened_at", "site_id", "opened_at"),
)

# Of a rule, or of a device, nobody is told anything for a while; notices open and close as ever.
notice_silences: Final = Table(
    "notice_silences",
    metadata,
    Column("id", String(36), primary_key=True),
    Column("site_id", String(64), ForeignKey("sites.id"), nullable=False, index=True),
    Column("rule_id", String(36), ForeignKey("notice_rules.id")),
    Column("device_id", String(63)),
    Column("until", UtcDateTime, nullable=False),
    Column("reason", Text, nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
    Column("created_by", String(64), nullable=False),
    Column("ended_at", UtcDateTime),
)

# The outbox: one letter to one person or address. `content` is what it says, the same at every try.
notice_letters: Final = Table(
    "notice_letters",
    metadata,
    Column("id", String(36), primary_key=True),
    Column("notice_id", String(36), ForeignKey("notices.id"), nullable=False),
    Column("rule_id", String(36), ForeignKey("notice_rules.id"), nullable=False),
    Column("site_id", String(64), ForeignKey("sites.id"), nullable=False),
    Column("event", String(16), nullable=False),  # opened | repeated | closed
    Column("round", Integer, nullable=False),  # 1, 2, … of this notice
    Column("channel", String(16), nullable=False),  # email | webhook
    Column("recipient", String(64), nullable=False),  # a person's id; of a webhook "webhook"
    Column("content", Json, nullable=False),
    Column("state", String(16), nullable=False),  # due | sent | failed
    Column("created_at", UtcDateTime, nullable=False),
    Column("due_at", UtcDateTime, nullable=False),
    Column("leased_by", String(64)),
    Column("leased_until", UtcDateTime),
    Column("attempts", Integer, nullable=False),
    Column("last_error", Text),
    Column("sent_at", UtcDateTime),
    UniqueConstraint("notice_id", "round", "channel", "recipient"),
    Index("ix_notice_letters_state_due_at", "state", "due_at"),
)

# Who looks next: of several centrals the one that sets `looked_at` first.
notice_turn: Final = Table(
    "notice_turn",
    metadata,
    Column("one", Integer, primary_key=True, autoincrement=False),  # always 1
    Column("looked_at", UtcDateTime),
    Column("looked_by", String(64)),
)

_FAILED: Final = text("controls_failed IS NOT NULL")

run_figures: Final = Table(
    "run_figures",
    metadata,
    Column("run_id", String(36), ForeignKey("runs.id"), primary_key=True),
    Column("site_id", String(64), ForeignKey("sites.id"), nullable=False),
    Column("device_id", String(63), nullable=False),
    Column("model", String(64), nullable=False),
    Column("read_at", UtcDateTime, nullable=False),  # by central's clock
    Column("high", Integer, nullable=False),  # rows by the grade that the machine's calls give
    Column("medium", Integer, nullable=False),
    Column("low", Integer, nullable=False),
    Column("calls", Json, nullable=False),  # call → wells
    Column("quality", Json, nullable=False),  # what was measured of the picture, and `residual_pitch`
    Column("drifted", Integer, nullable=False),  # of the calibration's figures, beyond their limits
    Column("calibrated_at", UtcDateTime),
    Column("controls_failed", Text),  # as the run stands
    Column("judged", Integer, nullable=False),  # these four: what reviewers made of its rows
    Column("exact", Integer, nullable=False),
    Column("within_one", Integer, nullable=False),
    Column("withheld", Integer, nullable=False),
    Index("ix_run_figures_device_id_read_at", "device_id", "read_at"),
    Index("ix_run_figures_site_id_read_at", "site_id", "read_at"),
    Index(
        "ix_run_figures_failed",
        "site_id",
        "read_at",
        postgresql_where=_FAILED,
        sqlite_where=_FAILED,
    ),
)

# How far the figures are: up to this number of the feed, and of runs that were here before it from this number down.
figures_tip: Final = Table(
    "figures_tip",
    metadata,
    Column("one", Integer, primary_key=True, autoincrement=False),  # always 1
    Column("followed", BigInteger, nullable=False),
    Column("below", BigInteger, nullable=False),  # 0: all of them have theirs
)
