"""How many notices stand, for the navigation of every page: kept in memory, some seconds old."""

from sqlalchemy.ext.asyncio import AsyncEngine

from central.db import reading
from central.notices.queries import count_open
from central.people.sites import Sites


class OpenCounts:
    """Counts by site as the worker last saw them; whoever acknowledges something has them read anew."""

    def __init__(self) -> None:
        """Nothing was counted yet."""
        self._by_site: dict[str, int] = {}

    def of(self, sites: Sites) -> int:
        """How many stand at these sites that nobody has acknowledged."""
        return sum(count for site_id, count in self._by_site.items() if site_id in sites)

    async def refresh(self, engine: AsyncEngine) -> None:
        """Count."""
        async with reading(engine) as connection:
            self._by_site = await count_open(connection)
