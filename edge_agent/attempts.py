"""A photograph that ends the process is not read for ever: by a fault in native code, or a hang that the watchdog ends.

While a photograph is read a small file says which, and how many lives have begun with it. A process that is killed
leaves it behind; it need not outlive a power cut, which says nothing of the photograph, so it is not synced.
"""

import contextlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import msgspec

# Once may have been somebody's kill; a second time on the same bytes is the photograph.
MOST_LIVES: Final = 2
_NAME: Final = "reading-now.json"


class EndsTheAgentError(Exception):
    """The process ended each time while it read this photograph."""


class _Attempt(msgspec.Struct, frozen=True):
    digest: str
    lives: int


@contextmanager
def attempted(state_dir: Path, digest: str) -> Iterator[None]:
    """Around the reading of the photograph with this digest; EndsTheAgentError where it ended the process before."""
    path = state_dir / _NAME
    before = _left_behind(path)
    lives = before.lives if before is not None and before.digest == digest else 0
    if lives >= MOST_LIVES:
        path.unlink(missing_ok=True)
        raise EndsTheAgentError(f"the agent ended {lives} times while it read this photograph")
    # A full disk is told by what has to be kept; this can do without.
    with contextlib.suppress(OSError):
        path.write_bytes(msgspec.json.encode(_Attempt(digest, lives + 1)))
    try:
        yield
    finally:
        with contextlib.suppress(OSError):
            path.unlink(missing_ok=True)


def _left_behind(path: Path) -> _Attempt | None:
    try:
        return msgspec.json.decode(path.read_bytes(), type=_Attempt)
    except (OSError, msgspec.DecodeError):
        return None
