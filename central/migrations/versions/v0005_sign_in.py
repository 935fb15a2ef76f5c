"""Sign-in by somebody else's word: whom an OpenID provider knows as whom."""

from typing import Final

revision: Final = "0005"
down_revision: Final = "0004"


def upgrade() -> None:
    """To this step."""


def downgrade() -> None:
    """Back from it."""
