"""A query that shows things of sites is told whose: one that is not told would show everybody's."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

CENTRAL = Path(__file__).parents[3] / "central"
ASKED = {"list_runs", "get_run", "submission_runs", "list_devices", "get_dossier", "changes_after", "list_deliveries",
         "list_rules", "get_delivery", "get_file", "get_rule", "list_queue",
         "list_notices", "get_notice", "list_notice_rules", "get_notice_rule", "list_silences", "quality_of",
         "device_names", "list_withdrawals"}  # fmt: skip
ROUTES = sorted([*(CENTRAL / "api").glob("*.py"), *(CENTRAL / "dashboard").glob("*.py")])


def calls(path: Path) -> Iterator[tuple[str, ast.Call]]:
    """(function, call) of everything that a module calls by name."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            yield node.func.id, node


@pytest.mark.parametrize("path", ROUTES, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_a_route_says_whose_things_it_asks_for(path: Path) -> None:
    silent = [
        f"{name} in line {call.lineno}"
        for name, call in calls(path)
        if name in ASKED
        and not any("site" in ast.unparse(each) or ast.unparse(each) == "here" for each in call.args)
        and not any(keyword.arg == "sites" for keyword in call.keywords)
    ]
    assert silent == []


def test_every_such_query_is_asked_by_some_route() -> None:
    assert {name for path in ROUTES for name, _ in calls(path)} >= ASKED
