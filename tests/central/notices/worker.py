"""A central that looks and sends letters until it is killed: `python -m tests.central.notices.worker URL PORT RUN`."""

import asyncio
import sys
from datetime import timedelta

from central.db import make_engine
from central.deliveries.editing import Desk
from central.deliveries.places import Bounds
from central.mail import Mailer
from central.notices.letters import Postman, post, sender
from central.notices.looking import look
from central.seal import Seal
from tests.make import NOON


async def work(url: str, port: int, run: int) -> None:
    """Runs are further apart than any lease, so that one never waits for the one before."""
    now = NOON + timedelta(hours=1, minutes=10 * run)
    engine = make_engine(url)
    desk = Desk(engine, Seal(b"s" * 32), Bounds(roots=(), networks=(), file_url=str, now=lambda: now))
    mailer = Mailer("127.0.0.1", port, "lab@lab.example", tls_from_start=False)
    postman = Postman(f"central-{run}", lambda: now, lambda: 0.5, sender(desk, mailer))
    print("ready", flush=True)
    await look(engine, postman.name, now, url="https://central.example")
    while await post(engine, postman):
        pass
    print("done", flush=True)
    await engine.dispose()


if __name__ == "__main__":
    asyncio.run(work(sys.argv[1], int(sys.argv[2]), int(sys.argv[3])))
