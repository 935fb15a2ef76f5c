"""An object in a bucket: put only where there is none of that name, so that nothing is written over.

An object has no name to be given later, so the put is its effect. After a crash it is put again; where it is there
already with the same bytes, that was us. (Who takes objects away and may be given one again between a crash and that
look has to know names: a delivery's name is never used twice.)

An endpoint inside has to be listed. It is checked before every call; the library looks its name up once more, where a
name that changed its address in between meets TLS: whoever answers has to prove that he is that name.
"""

import re
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

import anyio.to_thread
import obstore
from obstore.exceptions import AlreadyExistsError, BaseError
from obstore.store import ObjectStore

from central.deliveries.targets.addresses import Network, Reach, Resolve, resolve
from central.deliveries.targets.target import Outgoing, Place, TargetError

# What the library raises where a store refuses, or does not answer; the last two are Python's own.
_REFUSALS: Final = (BaseError, OSError, ValueError)
_NO_BUCKET: Final = "NoSuchBucket"
_CHECK: Final = "check its address, its region, the key and what the key may do"
_DEBUG: Final = re.compile(r"\n\s*Debug source:")


@dataclass(frozen=True, slots=True)
class S3:
    """A store, and the path in it that every name is put below."""

    store: ObjectStore
    prefix: str = ""
    endpoint: str | None = None
    inside: tuple[Network, ...] = ()
    resolve: Resolve = resolve

    async def prepare(self, file: Outgoing) -> Place:
        """Nothing can be brought near; that the bucket answers is asked, so that a bad one is said at once."""
        if await self._held(file) is not None:
            detail = f"the bucket holds an object {self._key(file)!r} that is not of this delivery"
            raise TargetError(detail, "take it away, or send again under a new name", final=True)
        return {"key": self._key(file)}

    async def finish(self, file: Outgoing, place: Place) -> bool:
        """Put it where there is none; nobody has said yet that it was taken."""
        await self._check()
        try:
            await obstore.put_async(self.store, self._key(file), file.content, mode="create", use_multipart=False)
        except AlreadyExistsError:
            if await self._held(file) != file.content:
                detail = f"the bucket holds an object {self._key(file)!r} that is not of this delivery"
                raise TargetError(detail, "take it away, or send again under a new name", final=True) from None
        except _REFUSALS as error:
            raise _refusal(error) from error
        return False

    async def taken(self, file: Outgoing, place: Place) -> bool:
        """Whether the object is gone."""
        return await self._held(file) is None

    def _key(self, file: Outgoing) -> str:
        return f"{self.prefix.strip('/')}/{file.name}".lstrip("/")

    async def _check(self) -> None:
        """That the endpoint may be spoken to; without one it is Amazon's."""
        if self.endpoint is None:
            return
        url = urlsplit(self.endpoint)
        reach = Reach(self.inside, self.resolve)
        await anyio.to_thread.run_sync(reach.addresses, url.hostname or "", url.port or 443)

    async def _held(self, file: Outgoing) -> bytes | None:
        await self._check()
        try:
            found = await obstore.get_async(self.store, self._key(file))
            return bytes(await found.bytes_async())
        except _REFUSALS as error:
            # Of a bucket that is gone an object is as little there as one that was taken: that is no answer.
            if isinstance(error, FileNotFoundError) and _NO_BUCKET not in str(error):
                return None
            raise _refusal(error) from error


def _refusal(error: Exception) -> TargetError:
    reason = _DEBUG.split(str(error))[0].replace("\n", " ").strip()[:300]
    advice = "make the bucket again, or put its right name into the rule" if _NO_BUCKET in str(error) else _CHECK
    return TargetError(f"the bucket does not answer as it should: {reason}", f"{advice}; it is tried again")
