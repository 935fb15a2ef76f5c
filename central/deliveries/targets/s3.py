"""An object in a bucket: put only where there is none of that name, so that nothing is written over.

An object has no name to be given later, so the put is its effect. After a crash it is put again; where it is there
already with the same bytes, that was us. (Who takes objects away and may be given one again between a crash and that
look has to know names: a delivery's name is never used twice.)
"""

from dataclasses import dataclass

import obstore
from obstore.exceptions import AlreadyExistsError, BaseError
from obstore.store import ObjectStore

from central.deliveries.targets.target import Outgoing, Place, TargetError


@dataclass(frozen=True, slots=True)
class S3:
    """A store, and the path in it that every name is put below."""

    store: ObjectStore
    prefix: str = ""

    async def prepare(self, file: Outgoing) -> Place:
        """Nothing can be brought near; that the bucket answers is asked, so that a bad one is said at once."""
        if await self._held(file) is not None:
            detail = f"the bucket holds an object {self._key(file)!r} that is not of this delivery"
            raise TargetError(detail, "take it away, or send again under a new name", final=True)
        return {"key": self._key(file)}

    async def finish(self, file: Outgoing, place: Place) -> bool:
        """Put it where there is none; nobody has said yet that it was taken."""
        try:
            await obstore.put_async(self.store, self._key(file), file.content, mode="create", use_multipart=False)
        except AlreadyExistsError:
            if await self._held(file) != file.content:
                detail = f"the bucket holds an object {self._key(file)!r} that is not of this delivery"
                raise TargetError(detail, "take it away, or send again under a new name", final=True) from None
        except BaseError as error:
            raise _refusal(error) from error
        return False

    async def taken(self, file: Outgoing, place: Place) -> bool:
        """Whether the object is gone."""
        return await self._held(file) is None

    def _key(self, file: Outgoing) -> str:
        return f"{self.prefix.strip('/')}/{file.name}".lstrip("/")

    async def _held(self, file: Outgoing) -> bytes | None:
        try:
            found = await obstore.get_async(self.store, self._key(file))
            return bytes(await found.bytes_async())
        except FileNotFoundError:
            return None
        except BaseError as error:
            raise _refusal(error) from error


def _refusal(error: BaseError) -> TargetError:
    reason = str(error).splitlines()[0][:300]
    return TargetError(f"the bucket does not answer as it should: {reason}", "check its name, its address and the key")
