"""The peer: one query to JSON in FastAPI over asyncpg, with no key, no site, no quota; in an environment of its own.

    python api_baseline.py PORT DATABASE_URL FEED_SQL RUN_SQL

The two statements are central's own, as it sends them: `$1` is the number after which, or the run's id.
"""

import contextlib
import sys
from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import uvicorn
from fastapi import FastAPI

PORT, URL, FEED_SQL, RUN_SQL = sys.argv[1:]


@contextlib.asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    """A pool as large as central's."""
    async with asyncpg.create_pool(URL, min_size=10, max_size=15) as pool:
        app.state.pool = pool
        yield


app = FastAPI(lifespan=lifespan)


def plain(row: Any) -> dict[str, Any]:
    """What JSON can say of a row: compressed documents by their length, as nobody shows them whole."""
    return {name: len(value) if isinstance(value, bytes) else value for name, value in row.items()}


@app.get("/api/v1/changes")
async def changes(after: int) -> dict[str, Any]:
    """A page of the feed."""
    found = [plain(row) for row in await app.state.pool.fetch(FEED_SQL, after)]
    return {"items": found, "next": found[-1]["number"] if found else after}


@app.get("/api/v1/runs/{run_id}")
async def run(run_id: str) -> dict[str, Any]:
    """One run."""
    return plain(await app.state.pool.fetchrow(RUN_SQL, run_id))


uvicorn.run(app, host="127.0.0.1", port=int(PORT), log_level="error")
