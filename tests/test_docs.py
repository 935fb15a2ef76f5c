"""Documents that would rot are made from the code, or compared with it."""

from pathlib import Path

from central.settings import PREFIX, Settings
from protocol.page import protocol_page

DOCS = Path(__file__).parents[1] / "docs"


def test_the_protocol_page_is_what_the_protocol_says() -> None:
    assert (DOCS / "protocol.md").read_text() == protocol_page(), "run `make docs`"


def test_every_setting_of_central_is_documented() -> None:
    page = (DOCS / "operations.md").read_text()
    missing = [name for name in Settings.__struct_fields__ if f"`{PREFIX}{name.upper()}`" not in page]
    assert not missing
