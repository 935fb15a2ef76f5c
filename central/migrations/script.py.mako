"""${message}."""

from typing import Final

import sqlalchemy as sa
from alembic import op
${imports if imports else ""}
revision: Final = ${repr(up_revision)}
down_revision: Final = ${repr(down_revision)}


def upgrade() -> None:
    """To this step."""
    ${upgrades if upgrades else "pass"}


def downgrade() -> None:
    """Back to the step before."""
    ${downgrades if downgrades else "pass"}
