"""An agent one of whose loops can be stopped from outside: `python -m tests.faults.saboteur WHAT FILE run …`.

When FILE is there, WHAT happens: the main loop, sync or uploads freeze (a lock that is never given back), the main loop
runs without end (`busy`), or a thread holds the interpreter's lock without end (`hog`).
"""

import re
import sys
import time
from collections.abc import Callable
from pathlib import Path
from threading import Event, Thread
from typing import Any, Final

from edge_agent import __main__, agent
from edge_agent.link import sync, uploads

WHATS: Final = ("main", "busy", "sync", "uploads", "hog")


def spoil(holder: Any, name: str, file: Path, harm: Callable[[], object]) -> None:
    """Before `holder.name` is called, do harm if the file is there."""
    sound = getattr(holder, name)

    def spoilt(*arguments: Any, **named: Any) -> Any:
        if file.exists():
            harm()
        return sound(*arguments, **named)

    setattr(holder, name, spoilt)


def freeze() -> None:
    """Wait for what never comes."""
    Event().wait()


def run_without_end() -> None:
    """Python code that never comes round."""
    while True:
        pass


def hold_the_lock(file: Path) -> None:
    """A regular expression that takes longer than anybody lives: it never lets another thread run."""
    while not file.exists():
        time.sleep(0.05)
    re.match(r"(a+)+$", "a" * 60 + "b")


def main(what: str, file: Path, arguments: list[str]) -> None:
    """Run the agent's command line, prepared for harm."""
    if what == "hog":
        Thread(target=hold_the_lock, args=(file,), daemon=True).start()
    elif what in ("main", "busy"):
        spoil(agent.Chores, "do", file, freeze if what == "main" else run_without_end)
    elif what == "sync":
        spoil(sync, "_access", file, freeze)
    else:
        spoil(uploads, "upload_wanted", file, freeze)
    __main__.main(arguments)


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), sys.argv[3:])
