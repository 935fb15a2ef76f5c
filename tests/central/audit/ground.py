"""What an example of a call stands on: a running central, and a way to call it as somebody."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, Final

import httpx
from sqlalchemy.ext.asyncio import AsyncEngine

from protocol.messages import Enrolment
from tests.central.web import Client, bearer
from tests.make import make_reading_id

WHY: Final = {"reason": "asked for by the owner"}


@dataclass
class Ground:
    """A running central with a person of every role, device `bench-1` and its run."""

    client: Client
    engine: AsyncEngine
    device: Enrolment
    before: int = 0
    count: Callable[[], Awaitable[int]] = field(repr=False, kw_only=True)

    async def call(self, method: str, path: str, role: str = "admin", **sent: Any) -> httpx.Response:
        """One call as this person; entries are counted from just before it."""
        headers = await bearer(self.client, role) | sent.pop("headers", {})
        self.before = await self.count()
        return await self.client.request(method, f"/api/v1{path}", headers=headers, **sent)

    async def headers(self, role: str) -> dict[str, str]:
        """Signed in once more as this person."""
        return await bearer(self.client, role)

    async def anonymous(self, method: str, path: str, **sent: Any) -> httpx.Response:
        """One call by nobody in particular."""
        self.before = await self.count()
        return await self.client.request(method, f"/api/v1{path}", **sent)

    async def made(self, path: str, body: Any, role: str = "admin") -> Any:
        """What a call before the one that counts has made."""
        answer = await self.call("POST", path, role, json=body)
        assert answer.status_code in (200, 201), answer.text
        return answer.json()

    @property
    def run_id(self) -> str:
        return make_reading_id(1)


Example = Callable[[Ground], Awaitable[httpx.Response]]
