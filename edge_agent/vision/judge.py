"""Which way wells are judged: by the network that sees cells, or by the profile's own criteria for colour or growth.

Every well has a state, whichever way: what cannot be seen is found before anything is judged.
"""

from collections.abc import Collection, Sequence

import msgspec
import numpy as np

from edge_agent.vision.calls import Place, call_wells, judged, places
from edge_agent.vision.colour import MOST_GLARE, Measured, against, judge_colour, measure_colours
from edge_agent.vision.detector import Model
from edge_agent.vision.geometry import Placed
from edge_agent.vision.growth import judge_growth, measure_growth
from edge_agent.vision.image import Photograph
from edge_agent.vision.liquid import Liquid, find_liquid
from edge_agent.vision.patches import Image
from edge_agent.vision.plate_light import plate_light
from edge_agent.vision.quality import WellLight
from edge_agent.vision.tensors import Array
from protocol.assay import AssayProfile, Call, ColourCriteria, GrowthCriteria
from protocol.messages import Well


def judge_wells(  # noqa: PLR0917 - network, wells, their light, plate, picture, what is expected
    model: Model, patches_rgb: Image, light: WellLight, placed: Placed, photograph: Photograph, profile: AssayProfile
) -> tuple[dict[str, Well], dict[str, float]]:
    """The state of every well in the order of the plate, and figures of how it was judged.

    Refused where something lies over the plate.
    """
    if profile.judged_by == "cells":
        return call_wells(model, patches_rgb, light, placed, photograph, profile), {}
    liquid = find_liquid(photograph.image_bgr, placed)
    around, unevenness = plate_light(liquid, placed.form.rows, placed.form.columns)
    measured = measure_colours(liquid, around)
    hazy = light.lost_to_haze(profile.limits.least_well_contrast)
    found = list(places(patches_rgb, placed, photograph, glare=measured.glare > MOST_GLARE, hazy=hazy))
    figures = {
        "liquid_shift_pitch": round(float(np.hypot(*liquid.shift_pitch.T).max()), 3),
        "light_unevenness_ln": round(unevenness, 3),
    }
    if profile.colour is not None:
        return colours(found, measured, profile, profile.colour), figures
    if profile.growth is not None:
        return growths(found, liquid, around, profile, profile.growth), figures
    raise ValueError(f"profile {profile.name!r} is judged by {profile.judged_by} without criteria for it")


def colours(
    found: Sequence[Place], measured: Measured, profile: AssayProfile, criteria: ColourCriteria
) -> dict[str, Well]:
    """The wells by their colour; not read where the profile has blank wells and none of them can be seen."""
    blanks = profile.wells_of("blank")
    seen = _seen(found, blanks)
    wells = {}
    for place, colour in zip(found, against(measured, seen), strict=True):
        if place.lost is not None:
            wells[place.name] = place.lost
        elif blanks and not seen:
            wells[place.name] = Well(Call.NOT_READ, 0.0, {}, ("no_blanks", *place.flags), place.centre_px)
        else:
            call, chances = judge_colour(colour, criteria)
            well = judged(chances, place, profile.low_confidence, call)
            wells[place.name] = msgspec.structs.replace(well, colour=colour)
    return wells


def growths(
    found: Sequence[Place], liquid: Liquid, light: Array, profile: AssayProfile, criteria: GrowthCriteria
) -> dict[str, Well]:
    """The wells by how much has grown in them; not read where the plate's controls do not differ."""
    sterile, grown = (_seen(found, profile.wells_of(role)) for role in ("sterility_control", "growth_control"))
    measured = measure_growth(liquid, light, sterile=sterile, grown=grown, criteria=criteria)
    wells = {}
    for place, growth in zip(found, measured.wells, strict=True):
        if place.lost is not None:
            wells[place.name] = place.lost
        elif not measured.readable:
            wells[place.name] = Well(Call.NOT_READ, 0.0, {}, ("no_contrast", *place.flags), place.centre_px)
        else:
            call, chances = judge_growth(growth, criteria)
            well = judged(chances, place, profile.low_confidence, call)
            wells[place.name] = msgspec.structs.replace(well, growth=growth)
    return wells


def _seen(found: Sequence[Place], names: Collection[str]) -> list[int]:
    """Which of these wells can be seen, as places in the order of the plate."""
    return [index for index, place in enumerate(found) if place.name in names and place.lost is None]
