"""A folder on another machine, over SFTP: the host's key is pinned, and a host with another one is not spoken to.

As in a folder of our own: `.<name>.….part`, synced where the host can, then the name. While the unfinished file is
there, the name was not given. Every try has one of its own, and the place that is kept says which counts. A host inside
has to be listed; the connection goes to the address that was checked.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import PurePosixPath
from secrets import token_hex
from typing import Final

import anyio.to_thread
import asyncssh

from central.deliveries.targets.addresses import Network, Reach, Resolve, resolve
from central.deliveries.targets.target import Outgoing, Place, TargetError

TIMEOUT_S: Final = 20.0


@dataclass(frozen=True, slots=True)
class Sftp:
    """One folder of one account; `host_key` is a line as in `known_hosts`, without the names: `ssh-ed25519 AAAA…`."""

    host: str
    port: int
    username: str
    folder: str
    host_key: str
    password: str | None = None
    private_key: str | None = None
    inside: tuple[Network, ...] = ()
    resolve: Resolve = resolve

    async def prepare(self, file: Outgoing) -> Place:
        """The unfinished file on the other machine."""
        async with self._folder() as sftp:
            unfinished = f".{file.name}.{file.id[:8]}.{token_hex(4)}.part"
            name, part = self._path(file.name), self._path(unfinished)
            if await sftp.exists(name):
                detail = f"{self} holds a file {file.name!r} that is not of this delivery"
                raise TargetError(detail, "take it away, or send again under a new name", final=True)
            async with sftp.open(part, "wb") as target:
                await target.write(file.content)
                await _synced(target)
            if await sftp.getsize(part) != len(file.content):
                raise TargetError(f"{self} kept only part of {file.name!r}", "it is tried again")
        return {"host_key": self.host_key, "folder": self.folder, "part": unfinished}

    async def finish(self, file: Outgoing, place: Place) -> bool:
        """Give the file its name; nobody has said yet that it was taken."""
        async with self._folder() as sftp:
            name, part = self._path(file.name), self._path(str(place.get("part")))
            if (place.get("host_key"), place.get("folder")) != (self.host_key, self.folder):
                raise TargetError(
                    f"{self} is not where the file was brought to", "send again under a new name", final=True
                )
            if not await sftp.exists(part):
                return False  # it was given its name before, and may be swept already
            if await sftp.exists(name):
                detail = f"{self} holds a file {file.name!r} that is not of this delivery"
                raise TargetError(detail, "take it away; it is tried again")
            await sftp.posix_rename(part, name)
            await self._remove_parts(sftp, file)
        return False

    async def taken(self, file: Outgoing, place: Place) -> bool:
        """Whether the file is gone from the folder: it was swept."""
        async with self._folder() as sftp:
            return not await sftp.exists(self._path(file.name))

    async def _remove_parts(self, sftp: asyncssh.SFTPClient, file: Outgoing) -> None:
        """Take away what tries that came to nothing left; trouble with that is no matter: the file has its name."""
        prefix = f".{file.name}.{file.id[:8]}."
        with suppress(asyncssh.SFTPError):
            for found in await sftp.listdir(self.folder):
                if str(found).startswith(prefix) and str(found).endswith(".part"):
                    await sftp.remove(self._path(str(found)))

    def _path(self, name: str) -> str:
        return str(PurePosixPath(self.folder) / name)

    @asynccontextmanager
    async def _folder(self) -> AsyncIterator[asyncssh.SFTPClient]:
        """The folder, which must be there."""
        try:
            async with (
                asyncio.timeout(TIMEOUT_S),
                await self._connect() as connection,
                connection.start_sftp_client() as sftp,
            ):
                if not await sftp.isdir(self.folder):
                    raise TargetError(f"{self} is not there", "check the folder's name and the account's rights")
                yield sftp
        except asyncssh.HostKeyNotVerifiable as error:
            advice = "if the host was really changed, put its new key into the rule"
            raise TargetError(f"{self.host} shows another key than the rule's", advice, final=True) from error
        except asyncssh.PermissionDenied as error:
            advice = "check the user name and its key or password"
            raise TargetError(f"{self.host} does not let {self.username!r} in", advice) from error
        except asyncssh.SFTPError as error:
            raise TargetError(f"{self} does not take the file: {error.reason}", "it is tried again") from error
        except (OSError, TimeoutError, asyncssh.Error) as error:
            raise TargetError(f"{self.host}:{self.port} does not answer: {error}", "it is tried again") from error

    async def _connect(self) -> asyncssh.SSHClientConnection:
        try:
            key = asyncssh.import_public_key(self.host_key)
            keys = [asyncssh.import_private_key(self.private_key)] if self.private_key else None
        except (ValueError, asyncssh.KeyImportError) as error:
            raise TargetError(f"a key of {self} cannot be read: {error}", "put the right one in", final=True) from error
        addresses = await anyio.to_thread.run_sync(Reach(self.inside, self.resolve).addresses, self.host, self.port)
        return await asyncssh.connect(
            addresses[0],
            self.port,
            username=self.username,
            password=self.password,
            client_keys=keys,
            known_hosts=([key], [], []),
            config=None,
            agent_path=None,
            connect_timeout=TIMEOUT_S,
            login_timeout=TIMEOUT_S,
        )

    def __str__(self) -> str:
        """As people are told where it is; without secrets."""
        return f"sftp://{self.username}@{self.host}:{self.port}{self.folder}"


async def _synced(file: asyncssh.SFTPClientFile) -> None:
    """On disk there, where the host knows how."""
    try:
        await file.fsync()
    except asyncssh.SFTPOpUnsupported:
        return
