"""Answers to requests that may be sent twice."""

from typing import Final

revision: Final = "0007"
down_revision: Final = "0006"


def upgrade() -> None:
    """To this step."""


def downgrade() -> None:
    """Back from it."""
