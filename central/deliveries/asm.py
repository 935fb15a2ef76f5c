"""Allotrope Simple Model, plate reader REC/2025/03: one document for each well, its call as a datum of its own.

A well that was not read has an error document instead of a call, where the dialect says what is missing at all.
"""

from typing import Any, Final

import msgspec

from central.deliveries.cells import time_text
from central.deliveries.dialect import Dialect
from central.deliveries.results import PlateResult, Results, WellResult
from protocol.assay import Role

MANIFEST: Final = "http://purl.allotrope.org/manifests/plate-reader/REC/2025/03/plate-reader.manifest"

_ROLES: Final[dict[Role, str]] = {
    "sample": "unknown sample role",
    "positive_control": "control sample role",
    "negative_control": "control sample role",
    "serum_control": "control sample role",
    "rbc_control": "control sample role",
    "antigen_control": "control sample role",
    "growth_control": "control sample role",
    "sterility_control": "control sample role",
    "back_titration": "control sample role",
    "blank": "blank role",
}
Json = dict[str, Any]


def asm(dialect: Dialect, results: Results) -> bytes:
    """The document, keys in a fixed order."""
    first = results.plates[0]
    document = {
        "$asm.manifest": MANIFEST,
        "plate reader aggregate document": {
            "device system document": {
                "device identifier": first.device_id,
                "model number": f"{first.model_name}-v{first.model_version}",
                "product manufacturer": "Wellread",
            },
            "data system document": {
                "ASM file identifier": f"{results.submission}_{results.at:%Y%m%d_%H%M%S}_r{results.revision}.json",
                "data system instance identifier": "wellread-central",
                "software name": "Wellread",
                "ASM converter name": "wellread",
                "ASM converter version": "1",
                "database primary key": first.run_id,
            },
            "plate reader document": [_plate(dialect, plate) for plate in results.plates],
        },
    }
    return msgspec.json.format(msgspec.json.encode(document), indent=1) + b"\n"


def _plate(dialect: Dialect, plate: PlateResult) -> Json:
    used = [well for well in plate.wells if well.role != "unused"]
    shown = [well for well in used if well.call.is_read or dialect.missing == "say"]
    document: Json = {
        "measurement aggregate document": {
            "measurement time": time_text(plate.read_at, "rfc3339"),
            "plate well count": {"value": plate.assay.plate_format, "unit": "#"},
            "container type": "well plate",
            "experiment type": plate.assay.title,
            "measurement document": [_measurement(plate, well) for well in shown],
        }
    }
    return document | ({"analyst": plate.operator} if plate.operator else {})


def _measurement(plate: PlateResult, well: WellResult) -> Json:
    key = f"{plate.run_id}-r{plate.revision}-{well.well}"
    document: Json = {
        "measurement identifier": key,
        "sample document": {
            "sample identifier": well.sample_id or f"{plate.barcode} {well.well}",
            "location identifier": well.well,
            "well location identifier": well.well,
            "well plate identifier": plate.barcode,
            "batch identifier": plate.submission,
            "sample role type": _ROLES.get(well.role, "unknown sample role"),
        },
        "device control aggregate document": {
            "device control document": [{"device type": "imager", "detection type": "optical imaging"}]
        },
        "image aggregate document": {
            "image document": [{"experimental data identifier": plate.image_sha256, "index": 0}]
        },
    }
    if well.call.is_read:
        return document | {"processed data aggregate document": _call(plate, well, key)}
    error = {"error": "not read", "error feature": ", ".join((well.call.value, *well.flags))}
    return document | {"error aggregate document": {"error document": [error]}}


def _call(plate: PlateResult, well: WellResult, key: str) -> Json:
    return {
        "processed data document": [
            {
                "processed data identifier": f"{key}-call",
                "data processing document": {
                    "model": f"{plate.model_name}-v{plate.model_version}",
                    "source": "model" if well.reviewed is None else "reviewer",
                },
                "custom information aggregate document": {
                    "custom information document": [
                        {"datum label": "call", "scalar string datum": well.call.value},
                        {"datum label": "confidence", "scalar double datum": round(well.confidence, 3)},
                        {"datum label": "status", "scalar string datum": plate.status_of(well)},
                    ]
                },
            }
        ]
    }
