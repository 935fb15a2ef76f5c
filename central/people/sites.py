"""Which laboratories' things a caller may see: asked in every query that reads or changes what belongs to one."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from sqlalchemy import ColumnElement, true


@dataclass(frozen=True, slots=True)
class Sites:
    """Some sites by id, or all there are (`ids` is None): administrators and the command line."""

    ids: frozenset[str] | None

    @classmethod
    def of(cls, ids: Iterable[str]) -> "Sites":
        """These and no others; none at all sees nothing."""
        return cls(frozenset(ids))

    def __contains__(self, site_id: str) -> bool:
        """Whether this one is among them."""
        return self.ids is None or site_id in self.ids

    def having(self, column: ColumnElement[str]) -> ColumnElement[bool]:
        """The condition for a query: `select(…).where(sites.having(submissions.c.site_id))`."""
        return true() if self.ids is None else column.in_(sorted(self.ids))


EVERY_SITE: Final = Sites(None)
MAIN_SITE: Final = "main"
