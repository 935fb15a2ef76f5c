"""Every shipped dialect, byte for byte: the files beside this project's data are what systems read today.

`pytest --overwrite` writes them anew; look at the difference before it is committed.
"""

from pathlib import Path

import pytest

from central.deliveries.dialect import shipped
from central.deliveries.render import render
from tests.central.deliveries.results import make_results

FOLDER = Path(__file__).parents[2] / "data" / "deliveries"


@pytest.mark.parametrize("name", list(shipped()))
def test_a_dialect_writes_what_it_wrote_before(name: str, request: pytest.FixtureRequest) -> None:
    rendered = render(shipped()[name], make_results())
    golden = FOLDER / name / rendered.name
    if request.config.getoption("--overwrite"):
        golden.parent.mkdir(parents=True, exist_ok=True)
        golden.write_bytes(rendered.content)
    assert rendered.content == golden.read_bytes()


@pytest.mark.parametrize("name", list(shipped()))
def test_the_same_results_give_the_same_bytes(name: str) -> None:
    assert render(shipped()[name], make_results()) == render(shipped()[name], make_results())
