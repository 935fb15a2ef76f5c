"""Answers to requests that may be sent twice."""

from typing import Final

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision: Final = "0007"
down_revision: Final = "0006"

_JSON: Final = sa.JSON().with_variant(JSONB(), "postgresql")


def upgrade() -> None:
    """To this step."""
    op.create_table(
        "answers",
        sa.Column("caller", sa.String(80), nullable=False),
        sa.Column("key", sa.String(255), nullable=False),
        sa.Column("fingerprint", sa.String(64), nullable=False),
        sa.Column("begun_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("status", sa.Integer(), nullable=True),
        sa.Column("headers", _JSON, nullable=True),
        sa.Column("body", sa.LargeBinary(), nullable=True),
        sa.PrimaryKeyConstraint("caller", "key", name=op.f("pk_answers")),
    )
    op.create_index(op.f("ix_answers_begun_at"), "answers", ["begun_at"], unique=False)


def downgrade() -> None:
    """Back from it."""
    op.drop_table("answers")
