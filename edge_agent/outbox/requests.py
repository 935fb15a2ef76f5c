"""What a person asks of the outbox beside a running agent: small files in the state folder that the agent takes up.

One process writes the outbox. So a command that changes it does so itself when no agent runs, and else leaves a request
and waits for the answer; a request that nobody takes up stays and is done at the next start. Taking one up twice does
no harm: each names what is to be so, not a step.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from pathlib import Path
from threading import Event
from typing import Final

import msgspec
import structlog

from edge_agent.durable import make_folder, write_durably
from edge_agent.outbox.archive import import_archive
from edge_agent.outbox.file import OutboxError
from edge_agent.outbox.outbox import Outbox
from protocol.delivery import State
from protocol.sealing import ArchiveError

FOLDER: Final = "requests"
LOOK_EVERY_S: Final = 0.5
# By then the agent is busy with something long, or is not there: the request stays.
ANSWER_S: Final = 10.0

_log = structlog.get_logger(__name__)


class Retry(msgspec.Struct, frozen=True, tag="retry"):
    """Send these quarantined readings again; `all` stands for every one."""

    ids: tuple[str, ...]


class Quarantine(msgspec.Struct, frozen=True, tag="quarantine"):
    """A person does not want this reading sent."""

    id: str
    reason: str


class Import(msgspec.Struct, frozen=True, tag="import"):
    """Take up an archive. The passphrase is in the request's file, mode 0600, until it is taken up."""

    path: str
    passphrase: str | None = None
    signer: str | None = None


Request = Retry | Quarantine | Import


class Answer(msgspec.Struct, frozen=True):
    """What became of a request: what to tell the person, and whether it failed."""

    text: str
    failed: bool = False


def carry_out(request: Request, outbox: Outbox, state_dir: Path) -> Answer:
    """Do it."""
    try:
        if isinstance(request, Retry):
            return _retry(request, outbox)
        if isinstance(request, Quarantine):
            return _quarantine(request, outbox)
        taken = import_archive(Path(request.path), outbox, state_dir, request.passphrase, request.signer)
        return Answer(str(taken), failed=bool(taken.refused))
    except (ArchiveError, OutboxError, OSError) as error:
        return Answer(str(error), failed=True)


def ask(state_dir: Path, request: Request, request_id: str, patience_s: float = ANSWER_S) -> Answer | None:
    """Have it done, by this process or the agent that runs; None if the agent has not answered yet."""
    try:
        with closing(Outbox(state_dir, session=f"request-{request_id}")) as outbox:
            return carry_out(request, outbox, state_dir)
    except OutboxError as error:
        if "in use by another" not in str(error):
            raise
    folder = state_dir / FOLDER
    make_folder(folder)
    write_durably(folder / f"{request_id}.json", msgspec.json.encode(request), mode=0o600)
    answer, until_s = folder / f"{request_id}.answer", time.monotonic() + patience_s
    while time.monotonic() < until_s:
        with suppress(FileNotFoundError):
            found = msgspec.json.decode(answer.read_bytes(), type=Answer)
            answer.unlink()
            return found
        time.sleep(0.05)
    return None


def run(outbox: Outbox, state_dir: Path, stop: Event, beat: Callable[[], None] = lambda: None) -> None:
    """Take up what is asked until `stop`."""
    with suppress(FileNotFoundError):
        for answer in (state_dir / FOLDER).glob("*.answer"):
            answer.unlink(missing_ok=True)
    while not stop.wait(LOOK_EVERY_S):
        beat()
        take_up(outbox, state_dir)


def take_up(outbox: Outbox, state_dir: Path) -> None:
    """Carry out what lies in the folder now, oldest first."""
    for path in _waiting(state_dir / FOLDER):
        try:
            request: Request = msgspec.json.decode(path.read_bytes(), type=Request)
            answer = carry_out(request, outbox, state_dir)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            answer = Answer(f"{path.name} is no request: {error}", failed=True)
        _log.info("request taken up", request=path.stem, failed=answer.failed)
        write_durably(path.with_suffix(".answer"), msgspec.json.encode(answer), mode=0o600)
        path.unlink(missing_ok=True)


def _waiting(folder: Path) -> Iterator[Path]:
    with suppress(FileNotFoundError):
        yield from sorted(folder.glob("[!.]*.json"))


def _retry(request: Retry, outbox: Outbox) -> Answer:
    found = outbox.requeue(request.ids)
    missing = [one for one in request.ids if one not in found and one != "all"]
    if missing:
        return Answer(f"not quarantined here: {', '.join(missing)} (see `wellread-agent queue list`)", failed=True)
    return Answer(f"{len(found)} readings will be sent again")


def _quarantine(request: Quarantine, outbox: Outbox) -> Answer:
    state = outbox.state(request.id)
    if state is None:
        return Answer(f"no reading {request.id} here (see `wellread-agent queue list --all`)", failed=True)
    if state is State.SETTLED:
        return Answer(f"central has {request.id} already: void its run there", failed=True)
    outbox.quarantine(request.id, "person", request.reason)
    return Answer(f"{request.id} is set aside and will not be sent")
