"""The page of who may do what is what the routes say."""

from pathlib import Path

from central.app import create_app
from central.people.page import permissions_page
from central.settings import Settings

PAGE = Path(__file__).parents[3] / "docs" / "permissions.md"


def test_the_page_of_permissions_is_what_the_routes_say() -> None:
    assert PAGE.read_text() == permissions_page(create_app(Settings(), with_ingest=False)), "run `make docs`"
