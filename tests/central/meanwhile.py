"""What somebody else commits between two statements of a reader, on either database."""

from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Any

from sqlalchemy import event
from sqlalchemy.ext.asyncio import AsyncEngine
from sqlalchemy.util import await_only


@contextmanager
def meanwhile(engine: AsyncEngine, words: str, done: Callable[[], Awaitable[Any]]) -> Iterator[list[str]]:
    """Before the first statement of this engine with these words `done` happens, once.

    The statement is then in the list. `done` works by an engine of its own, so that it does not wait for the reader.
    """
    met: list[str] = []

    def before(_connection: Any, _cursor: Any, statement: str, *_rest: Any) -> None:
        if not met and words in statement:
            met.append(statement)
            await_only(done())

    event.listen(engine.sync_engine, "before_cursor_execute", before)
    try:
        yield met
    finally:
        event.remove(engine.sync_engine, "before_cursor_execute", before)
