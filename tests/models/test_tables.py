"""Tables say what the figures say, in the shapes that manifests have."""

from models.training.tables import agreement_table, found_table, temperatures_table


def test_plates_found_are_counted_with_their_errors() -> None:
    figures = {"labelled": 3, "found": 2, "wrong": 0, "pictures_read": 2, "pictures_read_wrong": 0}
    table = found_table({"phones": figures | {"centre_error_median": 0.05, "centre_error_p95": 0.1}, "decks": figures})
    assert "| phones | 3 | 2 | 0 | 2 | 0 | 0.05 | 0.1 |" in table
    assert "| decks | 3 | 2 | 0 | 2 | 0 | – | – |" in table


def test_outcomes_of_an_older_release_are_listed() -> None:
    assert "| phones | 2 refused_no_plate, 1 right |" in found_table({"phones": {"refused_no_plate": 2, "right": 1}})


def test_what_differs_between_int8_and_float_is_a_share_of_what_both_read() -> None:
    counts = {"plates": 2, "read_by_one": 1, "rows": 8, "titres_differ": 1, "wells": 96, "calls_differ": 0}
    assert "| beyond | 2 | 1 | 8 | 1 (12.50%) | 96 | 0 (0.00%) |" in agreement_table({"beyond": counts})


def test_a_release_that_was_not_compared_has_no_table() -> None:
    assert agreement_table({}) == temperatures_table([]) == ""
