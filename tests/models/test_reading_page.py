"""The page about reading is what the released model and the code say."""

import re
from pathlib import Path

import pytest

from edge_agent.config import SHIPPED_MODEL
from edge_agent.vision.image import MIN_SIDE_PX
from edge_agent.vision.refusal import REASONS
from models.training.reading_page import PAGE, filled, sections
from models.training.reading_pictures import MOST_BYTES
from models.training.refusals import REMEDIES, refusal_messages

IMAGE = re.compile(r"!\[(?P<words>[^\]]+)\]\((?P<path>[^)]+)\)")


def test_the_page_is_current() -> None:
    page = PAGE.read_text()
    assert filled(page, sections(SHIPPED_MODEL)) == page, "run `make docs`"


def test_every_picture_of_the_page_is_there_small_and_described() -> None:
    shown = [(match["words"], PAGE.parent / match["path"]) for match in IMAGE.finditer(PAGE.read_text())]
    assert len(shown) == 4
    assert all(len(words) > 20 for words, _ in shown)
    assert all(path.stat().st_size <= MOST_BYTES for _, path in shown)


def test_every_link_of_the_page_leads_somewhere() -> None:
    links = re.findall(r"\]\(([^)#]+)\)", PAGE.read_text())
    assert [link for link in links if not (PAGE.parent / link).exists()] == []


def test_every_reason_for_refusal_has_a_message_in_the_code_and_a_remedy() -> None:
    assert [reason for reason, messages in refusal_messages().items() if not messages] == []
    assert set(REMEDIES) == set(REASONS)


def test_messages_show_limits_and_leave_what_is_measured_open() -> None:
    small = refusal_messages()["too_small"]
    assert f"the picture has … × … px (expected at least {MIN_SIDE_PX} px a side)" in small


def test_a_section_is_replaced_and_prose_stays() -> None:
    page = "Before\n<!-- made: a -->\nold\n<!-- end -->\nafter"
    assert filled(page, {"a": "new\n"}) == "Before\n<!-- made: a -->\n\nnew\n\n<!-- end -->\nafter"


def test_a_section_that_the_page_does_not_mark_is_refused() -> None:
    with pytest.raises(ValueError, match=r"marks \['a'\]"):
        filled("<!-- made: a -->\n<!-- end -->", {"a": "", "b": ""})


def test_a_release_without_figures_says_so(tmp_path: Path) -> None:
    (tmp_path / "manifest.json").write_text('{"name": "hi-wells", "version": 9, "metrics": {}}')
    made = sections(tmp_path)
    assert made["rivals"] == made["titres"] == "Not measured for this release.\n"
