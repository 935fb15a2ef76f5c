"""Notices: what somebody ought to look at, and who was told."""

from typing import Final

revision: Final = "0006"
down_revision: Final = "0005"


def upgrade() -> None:
    """To this step."""


def downgrade() -> None:
    """Back from it."""
