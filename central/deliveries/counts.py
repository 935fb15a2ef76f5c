"""How many sera have which titre: LabWare's interface file, and the older one that some sites still load.

The older file's figures are wrong on purpose, as domain experts know: its `GMT` is the mean endpoint, its `MEAN` and
`SD` are over the twelve counts and not over the sera, and sera below the first dilution are in none of them.
"""

from collections.abc import Mapping
from decimal import ROUND_HALF_UP, Decimal
from typing import Final

from central.deliveries.dialect import Dialect
from central.deliveries.results import Results
from central.deliveries.tables import RenderError, encoded, named

_HEAD: Final = ["SAMPLE_NUMBER", "TEST_NUMBER", "REPORTED_NAME", "ENTRY"]
# The file has a row for each of these and for no other.
ENDPOINTS: Final = range(13)
_LEGACY: Final = range(1, 13)


def counts(dialect: Dialect, results: Results) -> bytes:
    """Total, then the number of sera at endpoints 0 to 12."""
    found = _distribution(results)
    entries = [("No.", sum(found.values())), *((str(k), found.get(k, 0)) for k in ENDPOINTS)]
    submission = named(dialect, results.submission)
    test = named(dialect, results.test or results.submission)
    return encoded(dialect, [_HEAD, *([submission, test, name, str(entry)] for name, entry in entries)])


def counts_legacy(dialect: Dialect, results: Results) -> bytes:
    """Counts at 1 to 12, then GMT, MEAN, SD and CV as that file has them."""
    found = _distribution(results)
    bins = [found.get(k, 0) for k in _LEGACY]
    total = sum(bins)
    if not total:
        raise RenderError("no serum at endpoints 1 to 12 (this file divides by their number)")
    mean = Decimal(total) / len(bins)
    sd = (sum(((count - mean) ** 2 for count in bins), Decimal(0)) / len(bins)).sqrt()
    weighted = Decimal(sum(k * count for k, count in zip(_LEGACY, bins, strict=True)))
    figures = [
        ("GMT", _rounded(weighted / total, 2)),
        ("MEAN", _rounded(mean, 2)),
        ("SD", _rounded(sd, 2)),
        ("CV", _rounded(sd / mean, 8)),
    ]
    entries = [(str(k), str(count)) for k, count in zip(_LEGACY, bins, strict=True)] + figures
    submission = named(dialect, results.submission)
    return encoded(dialect, [_HEAD, *([submission, dialect.test_number, *entry] for entry in entries)])


def _distribution(results: Results) -> Mapping[int, int]:
    if any(plate.assay.reports != "serum_titre" for plate in results.plates):
        others = sorted({plate.assay.name for plate in results.plates if plate.assay.reports != "serum_titre"})
        raise RenderError(f"assay {', '.join(others)} reports no titre of sera (expected one that does)")
    found = results.distribution()
    beyond = {k: count for k, count in found.items() if count and k not in ENDPOINTS}
    if beyond:
        raise RenderError(f"sera at endpoints {sorted(beyond)} (expected 0 to {ENDPOINTS[-1]} in this file)")
    return found


def _rounded(value: Decimal, places: int) -> str:
    return str(value.quantize(Decimal(1).scaleb(-places), ROUND_HALF_UP))
