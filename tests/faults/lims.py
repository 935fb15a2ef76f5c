"""A laboratory system outside central, as a process: takes files, calls and changes, and writes down what it got.

    python -m tests.faults.lims FOLDER NOTES --key KEY --central URL [--central URL] --webhook PORT --sftp PORT

Below FOLDER it sweeps `folder` and `sftp` (which it serves over SFTP itself). inotify tells it of every file that gets,
is made under or is written under a name that importers look for, in the order in which the kernel saw it. Two files of
three it takes away at once, before central can write down that it placed them; the third it acknowledges by API first.
"""

import argparse
import asyncio
import ctypes
import http.server
import os
import queue
import struct
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from itertools import cycle
from pathlib import Path
from typing import Any, Final

import asyncssh
import httpx
import msgspec

from central.deliveries.targets.webhook import parse_secret, signature
from tests.faults.received import WEBHOOK, Notes, contents

FOLDERS: Final = ("folder", "sftp")
SECRET: Final = "whsec_" + "A" * 44
USER, PASSWORD = "lims", "swordfish"
# The file below FOLDER with the key that the host of `sftp` proves itself with.
HOST_KEY: Final = "host_key"

_MODIFY, _CREATE, _MOVED_TO, _OVERFLOW = 0x2, 0x100, 0x80, 0x4000
_PARTIAL: Final = {_MODIFY: "written under its name", _CREATE: "made under its name"}
_HEAD: Final = struct.Struct("iIII")


class Watch:
    """inotify on folders: (place, what happened, name), as the kernel saw it."""

    def __init__(self, folders: dict[str, Path]) -> None:
        self._libc = ctypes.CDLL(None, use_errno=True)
        self._file = self._libc.inotify_init1(os.O_CLOEXEC)
        self._places = {}
        for place, folder in folders.items():
            watch = self._libc.inotify_add_watch(self._file, os.fsencode(folder), _MODIFY | _CREATE | _MOVED_TO)
            if watch < 0:
                raise OSError(ctypes.get_errno(), f"inotify of {folder}")
            self._places[watch] = place

    def events(self) -> Iterator[tuple[str, int, str]]:
        """For ever."""
        while True:
            found = os.read(self._file, 1 << 16)
            at = 0
            while at < len(found):
                watch, mask, _, length = _HEAD.unpack_from(found, at)
                name = found[at + _HEAD.size : at + _HEAD.size + length].rstrip(b"\0").decode()
                at += _HEAD.size + length
                if mask & _OVERFLOW:
                    raise RuntimeError("the kernel's queue overflowed: nobody knows what was missed")
                yield self._places[watch], mask, name


class Lims:
    """The system: its notes, and what it has still to say by API."""

    def __init__(self, folder: Path, notes: Notes, key: str, centrals: list[str]) -> None:
        self._folder, self._notes = folder, notes
        self._client = httpx.Client(headers={"authorization": f"Bearer {key}"}, timeout=5)
        self._centrals = cycle(centrals)
        self._central = next(self._centrals)
        self._to_fetch: queue.SimpleQueue[tuple[str, str]] = queue.SimpleQueue()
        self._to_acknowledge: dict[str, Path] = {}
        self._after = 0

    def sweep(self) -> None:
        """Take files as they get their names."""
        watch = Watch({place: self._folder / place for place in FOLDERS})
        print("watching", flush=True)
        files = 0
        for place, what, name in watch.events():
            if name.startswith("."):
                continue
            for mask, detail in _PARTIAL.items():
                if what & mask:
                    self._notes.say("partial", place=place, name=name, detail=detail)
            if what & _MOVED_TO:
                file, files = self._folder / place / name, files + 1
                self._notes.say("file", place=place, name=name, **contents(file.read_bytes()))
                if files % 3 == 0:
                    self._to_acknowledge[name] = file
                else:
                    file.unlink()

    def called(self, headers: Any, body: bytes) -> int:
        """Take a call; what to answer."""
        moment, key = int(headers["webhook-timestamp"]), headers["webhook-id"]
        if headers["webhook-signature"] != signature(parse_secret(SECRET), key, moment, body):
            return 401
        data = msgspec.json.decode(body)["data"]
        self._notes.say("call", place=WEBHOOK, id=key, name=data["name"], sha256=data["sha256"])
        self._to_fetch.put((key, data["name"]))
        return 204

    def talk(self) -> None:
        """Read the feed, fetch what calls were about, acknowledge: again and again, with whichever central answers."""
        while True:
            try:
                self._read_feed()
                self._fetch()
                self._acknowledge()
                time.sleep(0.05)
            except httpx.TransportError:
                self._central = next(self._centrals)
                time.sleep(0.02)

    def _ask(self, method: str, path: str, **options: Any) -> httpx.Response:
        answer = self._client.request(method, self._central + path, **options)
        if answer.status_code >= 500:
            self._notes.say("refused", detail=f"{method} {path.partition('?')[0]}: {answer.status_code}")
        return answer

    def _read_feed(self) -> None:
        answer = self._ask("GET", f"/api/v1/changes?after={self._after}")
        if answer.status_code == 200:
            for item in answer.json()["items"]:
                self._notes.say("change", number=item["number"], id=item["run_id"] or "", detail=item["kind"])
            self._after = answer.json()["next"]

    def _fetch(self) -> None:
        with suppress(queue.Empty):
            while True:
                key, name = wanted = self._to_fetch.get_nowait()
                try:
                    answer = self._ask("GET", f"/api/v1/deliveries/{key}/file")
                except httpx.TransportError:
                    self._to_fetch.put(wanted)
                    raise
                if answer.status_code == 200:
                    self._notes.say("fetched", place=WEBHOOK, id=key, name=name, **contents(answer.content))
                else:
                    self._to_fetch.put(wanted)
                    return

    def _acknowledge(self) -> None:
        """Say of files that they are here; only then are they taken away."""
        if not self._to_acknowledge:
            return
        listed = self._ask("GET", "/api/v1/deliveries?state=placed&limit=200")
        ids = {} if listed.status_code != 200 else {each["name"]: each["id"] for each in listed.json()["items"]}
        for name, file in list(self._to_acknowledge.items()):
            if name not in ids:
                continue
            answer = self._ask("POST", f"/api/v1/deliveries/{ids[name]}/acknowledge")
            if answer.status_code in (204, 409):  # 409: its correction was approved meanwhile
                self._notes.say("acknowledged", id=ids[name], name=name, detail=str(answer.status_code))
                file.unlink()
                del self._to_acknowledge[name]

    async def serve_sftp(self, port: int) -> None:
        """Be the host of the folder `sftp`."""
        key = asyncssh.read_private_key(self._folder / HOST_KEY)
        await asyncssh.create_server(
            _Account, "127.0.0.1", port, server_host_keys=[key],
            sftp_factory=lambda channel: asyncssh.SFTPServer(channel, chroot=str(self._folder).encode()),
        )  # fmt: skip
        await asyncio.Event().wait()


class _Account(asyncssh.SSHServer):
    """Lets the one user in."""

    def begin_auth(self, username: str) -> bool:
        """Everybody has to."""
        return True

    def password_auth_supported(self) -> bool:
        """By password."""
        return True

    def validate_password(self, username: str, password: str) -> bool:
        """The one."""
        return (username, password) == (USER, PASSWORD)


def listen(lims: Lims, port: int) -> None:
    """Take calls for ever."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            """Take one."""
            status = lims.called(self.headers, self.rfile.read(int(self.headers["content-length"])))
            self.send_response(status)
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            """Say nothing."""

    http.server.ThreadingHTTPServer(("127.0.0.1", port), Handler).serve_forever()


def fatal(work: Any, *arguments: Any) -> None:
    """A part of the system in a thread; a bug of ours ends the whole process, so that nobody trusts its notes."""

    def run() -> None:
        try:
            work(*arguments)
        finally:  # none of them ends by itself
            sys.excepthook(*sys.exc_info())
            os._exit(70)

    threading.Thread(target=run, daemon=True).start()


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("notes", type=Path)
    parser.add_argument("--key", required=True)
    parser.add_argument("--central", action="append", required=True)
    parser.add_argument("--webhook", type=int, required=True)
    parser.add_argument("--sftp", type=int, required=True)
    given = parser.parse_args()
    lims = Lims(given.folder, Notes(given.notes), given.key, given.central)
    fatal(listen, lims, given.webhook)
    fatal(lims.talk)
    fatal(lambda: asyncio.run(lims.serve_sftp(given.sftp)))
    fatal(lims.sweep)
    threading.Event().wait()


if __name__ == "__main__":
    main()
