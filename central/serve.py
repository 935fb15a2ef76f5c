"""Run central until it is told to stop: migrate, listen, start what `app` wires, say where it is.

The port is bound before anything else starts, so that a port in use is one clear line, and port 0 is known by its
number to everything that prints an address.
"""

import asyncio
import signal
import socket
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import msgspec
import uvicorn

from central.app import create_app
from central.audit.heads import kept_signed
from central.audit.start import record_start
from central.db import migrate, reading
from central.files import write_durably
from central.fleet.broker_child import BrokerError, cancelled, find_mosquitto
from central.parts import Parts
from central.results.queries import counts
from central.settings import Settings

# An open stream of a dashboard must not keep central from stopping.
_GOODBYE_S = 3

# Nothing is expected of who listens at a socket but the goodbye.
_SOCKET_BYTES = 4096

_WILDCARDS = ("0.0.0.0", "::", "")


@dataclass(frozen=True, slots=True)
class Serving:
    """Where a central that is up can be reached; `has_users` says whether anyone can sign in."""

    url: str
    broker_port: int
    has_users: bool


class ServeError(Exception):
    """Central cannot start; the message says why and what is expected."""


def serve(settings: Settings, announce: Callable[[Serving], None]) -> None:
    """Serve until SIGTERM or Ctrl-C; `announce` is called once everything answers."""
    try:
        if not settings.broker_url:
            find_mosquitto()
        listener = _listen(settings.host, settings.port)
    except (BrokerError, OSError) as error:
        raise ServeError(str(error)) from error
    with listener:
        port = listener.getsockname()[1]
        settings = msgspec.structs.replace(settings, port=port, public_url=own_url(settings, port))
        settings.data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        asyncio.run(migrate(settings))
        config = uvicorn.Config(
            create_app(settings),
            lifespan="off",  # ours to run, so that what fails in it is raised here
            log_config=None,
            server_header=False,
            ws_max_size=_SOCKET_BYTES,
            # Only a proxy of ours is asked who calls: a header can be written by anyone.
            proxy_headers=bool(settings.trusted_proxies),
            forwarded_allow_ips=settings.trusted_proxies,
            timeout_graceful_shutdown=_GOODBYE_S,
        )
        # uvicorn stops on these by itself and raises them again afterwards, when there is nothing left to end.
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: None)
        with asyncio.Runner(loop_factory=config.get_loop_factory()) as runner:
            _run(runner, uvicorn.Server(config), listener, settings, announce)


def own_url(settings: Settings, port: int) -> str:
    """The address that people and devices are told, where the settings do not say it."""
    if settings.public_url:
        return settings.public_url.rstrip("/")
    host = socket.gethostname() if settings.host in _WILDCARDS else settings.host
    return f"http://{f'[{host}]' if ':' in host else host}:{port}"


def known_url(settings: Settings) -> str:
    """The address of the central that last served this data folder; else the one that the settings give."""
    note = settings.data_dir / "url"
    if settings.public_url or not note.is_file():
        return own_url(settings, settings.port)
    return note.read_text()


def _listen(host: str, port: int) -> socket.socket:
    family, _, _, _, address = socket.getaddrinfo(host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[
        0
    ]
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
    except OSError as error:
        listener.close()
        raise OSError(f"cannot listen on {host}:{port}: {error.strerror} (expected a free port)") from error
    return listener


def _run(
    runner: asyncio.Runner,
    server: uvicorn.Server,
    listener: socket.socket,
    settings: Settings,
    announce: Callable[[Serving], None],
) -> None:
    """The lifespan's own errors come out of a task group of the framework: what is ours is taken out of it."""
    reasons: list[str] = []
    try:
        runner.run(_serve(server, listener, settings, announce))
    except* BrokerError as group:
        reasons += [str(error) for error in group.exceptions]
    if reasons:
        raise ServeError(reasons[0])


async def _serve(
    server: uvicorn.Server, listener: socket.socket, settings: Settings, announce: Callable[[Serving], None]
) -> None:
    app = server.config.app
    async with app.lifespan():  # type: ignore[union-attr]
        parts: Parts = app.state.parts  # type: ignore[union-attr]
        await record_start(parts.engine, settings, parts.now())
        signing = asyncio.create_task(kept_signed(parts.engine, settings.data_dir, parts.now))
        serving = asyncio.create_task(server.serve(sockets=[listener]))
        while not server.started and not serving.done():
            await asyncio.sleep(0.01)
        if server.started:
            announce(await _where(parts, settings))
        await serving
        await cancelled(signing)


async def _where(parts: Parts, settings: Settings) -> Serving:
    assert parts.broker is not None, "central was made without its broker"
    write_durably(settings.data_dir / "url", settings.public_url.encode())
    async with reading(parts.engine) as connection:
        users = (await counts(connection)).users
    return Serving(settings.public_url, parts.broker.address.port, users > 0)


def write_ready(path: Path, serving: Serving) -> None:
    """Tell a program that waits for us: the file appears whole, or not at all."""
    write_durably(path, msgspec.json.encode({"url": serving.url, "broker_port": serving.broker_port}))
