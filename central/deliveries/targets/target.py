"""What a place for files can do, and how it says that it cannot.

`prepare` may be done again without harm. `finish` gives the effect, unless it was given already: what `prepare` said
of the place tells the two apart, also after a crash between them. `taken` asks whether a system has taken the file.
"""

from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias

Place: TypeAlias = dict[str, Any]


class TargetError(Exception):
    """The place cannot take the file now; `advice` says what a person can do, `final` that trying again is no use."""

    def __init__(self, detail: str, advice: str, *, final: bool = False) -> None:
        """`detail` names what was found and what was expected."""
        super().__init__(f"{detail} ({advice})")
        self.detail, self.advice, self.final = detail, advice, final


@dataclass(frozen=True, slots=True)
class Outgoing:
    """A file on its way: the delivery's id, which stays the same at every try, its name and its bytes.

    `withdraws`: it brings no results, but takes some back.
    """

    id: str
    name: str
    media_type: str
    content: bytes
    withdraws: bool = False


class Target(Protocol):
    """A place for files."""

    async def prepare(self, file: Outgoing) -> Place:
        """Bring the bytes near, without effect."""

    async def finish(self, file: Outgoing, place: Place) -> bool:
        """Give them their effect once; whether the other side said by that that it has them."""

    async def taken(self, file: Outgoing, place: Place) -> bool | None:
        """Whether somebody has taken the file since; None where that cannot be seen at all, now or later."""
