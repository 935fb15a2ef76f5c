"""Reading a plate from a photograph.

In reading order: image (bytes → picture) · shrink, ranks · detector, tensors (picture → detections) · lattice,
footprint, geometry, lens, locate (detections → which well is which) · patches, calls (wells → calls) · judge, liquid,
plate_light, colour, growth (the wells of other assays → calls) · blobs, streak (a second opinion) · blur, quality (what
may be read) · annotate (the result drawn into the picture) · refusal (why not).
"""

from collections.abc import Callable
from dataclasses import dataclass
from time import perf_counter

from edge_agent.cameras.frame import Frame
from edge_agent.vision.detector import Model, ModelMismatch, load_model
from edge_agent.vision.geometry import Placed
from edge_agent.vision.image import Photograph, open_photograph
from edge_agent.vision.judge import judge_wells
from edge_agent.vision.locate import locate_plate
from edge_agent.vision.orientation import check_orientation, evidence_figures, flag_orientation, orientation_evidence
from edge_agent.vision.patches import cut_patches
from edge_agent.vision.quality import check_light, check_wells, measure_light
from edge_agent.vision.refusal import REASONS, Reason, Refused
from edge_agent.vision.streak import measure_streaks, with_second_opinion
from protocol.assay import AssayProfile
from protocol.messages import PlateSeen, Well
from protocol.plate import Seat

__all__ = [
    "REASONS",
    "Model",
    "ModelMismatch",
    "Photograph",
    "PlateView",
    "Reason",
    "Refused",
    "load_model",
    "open_photograph",
    "read_plate",
]


@dataclass(frozen=True, slots=True)
class PlateView:
    """What one photograph shows: every well of the profile's plate has a state."""

    plate: PlateSeen
    wells: dict[str, Well]
    quality: dict[str, float]
    timings_ms: dict[str, float]
    photograph: Photograph


def read_plate(
    frame: Frame, profile: AssayProfile, *, model: Model, seat: Seat | None, timer: Callable[[], float] = perf_counter
) -> PlateView:
    """The plate in a frame, or `Refused`. `seat` None: nobody knows where A1 is, so the reading has no endpoints."""
    network, laps = model.manifest.networks.calls, [timer()]
    photograph = open_photograph(frame.data)
    laps.append(timer())
    light = check_light(photograph.image_bgr)
    placed = locate_plate(photograph.image_bgr, model, expected=profile.format, seat=seat)
    laps.append(timer())
    form = placed.form
    patches = cut_patches(
        photograph.image_bgr, placed.homography, form.rows, form.columns, network.input[1], network.patch_pitches
    )
    well_light = measure_light(patches, network.patch_pitches, profile)
    quality = light | check_wells(patches, well_light, network.patch_pitches, form, placed.pitch_px, profile)
    quality["residual_mm"] = round(placed.residual_pitch * form.pitch_mm, 3)
    laps.append(timer())
    wells, judging = judge_wells(model, patches, well_light, placed, photograph, profile)
    laps.append(timer())
    wells = with_second_opinion(wells, measure_streaks(patches, network.patch_pitches, form, profile))
    laps.append(timer())
    evidence = orientation_evidence(photograph.image_bgr, placed, patches, wells, model, profile)
    if profile.judged_by != "cells":
        # A pink or purple well is no blob of red cells.
        evidence = tuple(each for each in evidence if each.kind != "tears")
    if seat is not None:
        wells = flag_orientation(wells, check_orientation(evidence), profile)
    quality |= judging | evidence_figures(evidence)
    laps.append(timer())
    return PlateView(_plate_seen(placed, photograph, seat), wells, quality, _timings(laps), photograph)


def _plate_seen(placed: Placed, photograph: Photograph, seat: Seat | None) -> PlateSeen:
    return PlateSeen(
        format=placed.form.wells,
        rows=placed.form.rows,
        columns=placed.form.columns,
        rotation_degrees=int(placed.turn),
        mirrored=False,
        a1_from="unknown" if seat is None else "seat",
        wells_seen=int(placed.seen.sum()),
        residual_pitch=round(placed.residual_pitch, 4),
        pitch_px=round(placed.pitch_px * photograph.scale, 2),
    )


def _timings(laps: list[float]) -> dict[str, float]:
    stages = ("open", "locate", "patches", "calls", "streaks", "orientation")
    taken = {stage: round((end - start) * 1000, 2) for stage, start, end in zip(stages, laps, laps[1:], strict=False)}
    return taken | {"total": round((laps[-1] - laps[0]) * 1000, 2)}
