"""Waiting for a condition with a deadline, instead of sleeping."""

import asyncio
from collections.abc import Callable


async def until(condition: Callable[[], object], what: str, within_s: float = 15.0) -> None:
    """Return once the condition holds; fail with `what` if it does not in time."""
    deadline = asyncio.get_running_loop().time() + within_s
    while not condition():
        assert asyncio.get_running_loop().time() < deadline, f"not within {within_s} s: {what}"
        await asyncio.sleep(0.01)
