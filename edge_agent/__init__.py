"""The program on the reader: photograph, read, keep, sync.

In reading order: `agent` (the story), `compose` (its wiring), `config`, `safe_mode` · `cameras` (a plate is
photographed), `barcode`, `vision` (it is read), `outbox` (it is kept), `link` (it is sent) · `clock`, `clock_floor`
(when that was) · `progress`, `troubles`, `health` (how the reader itself is) · `plate_text` and `commands` (for a
person at the bench) · `durable`, `logs`.
"""

from importlib.metadata import version
from typing import Final

AGENT_VERSION: Final = version("wellread")
