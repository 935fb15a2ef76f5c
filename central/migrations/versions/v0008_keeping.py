"""How long a laboratory keeps photographs, and which are gone."""

from typing import Final

import sqlalchemy as sa
from alembic import op

revision: Final = "0008"
down_revision: Final = "0007"


def upgrade() -> None:
    """To this step."""
    op.add_column("sites", sa.Column("picture_days", sa.Integer(), nullable=True))
    op.add_column("images", sa.Column("removed_at", sa.DateTime(timezone=True), nullable=True))


def downgrade() -> None:
    """Back from it."""
    op.drop_column("images", "removed_at")
    op.drop_column("sites", "picture_days")
