"""Sign-in by somebody else's word: whom an OpenID provider knows as whom."""

from typing import Final

import sqlalchemy as sa
from alembic import op

revision: Final = "0005"
down_revision: Final = "0004"


def upgrade() -> None:
    """One identity at a provider for one person here; answers of a provider that were taken."""
    op.create_index("ix_identities_issuer_user_id", "identities", ["issuer", "user_id"], unique=True)
    op.create_table(
        "used_states",
        sa.Column("state_sha256", sa.String(64), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("state_sha256", name=op.f("pk_used_states")),
    )


def downgrade() -> None:
    """Back to passwords alone."""
    op.drop_table("used_states")
    op.drop_index("ix_identities_issuer_user_id", "identities")
