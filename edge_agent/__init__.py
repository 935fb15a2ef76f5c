"""The program on the reader: photograph, read, keep, sync.

In reading order: `agent` (the story), `compose` (its wiring), `config`, `safe_mode`, `camera`, `camera_thread`,
`barcode`, `vision`, `outbox`, `window` and `conversation` (what is sent when; both pure of sockets), `sync`, `uploads`,
`enrol`, `clock`, `progress`, `troubles`, `health`, `doctor`.
"""

from importlib.metadata import version
from typing import Final

AGENT_VERSION: Final = version("wellread")
