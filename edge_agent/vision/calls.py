"""Patches → the state of every well: call, calibrated confidence, candidates, flags.

Every well of the plate has a state. One that cannot be seen is `obscured` or `not_read`, never "negative".
"""

from typing import Final

import numpy as np

from edge_agent.vision.cover import check_cover, covered
from edge_agent.vision.detector import Model
from edge_agent.vision.geometry import Placed
from edge_agent.vision.glare import lost_to_glare
from edge_agent.vision.image import Photograph
from edge_agent.vision.patches import Image
from edge_agent.vision.quality import lost_to_haze
from edge_agent.vision.tensors import Array, softmax
from protocol.assay import AssayProfile, Call
from protocol.messages import Well

CANDIDATE_FROM: Final = 0.05
# Cells lie within this distance of a well's centre, in pitches: what lies outside the picture there was not seen.
CELLS_REACH_PITCH: Final = 0.3


def call_wells(
    model: Model, patches_rgb: Image, placed: Placed, photograph: Photograph, profile: AssayProfile
) -> dict[str, Well]:
    """The state of every well, in the order of the plate; centres in the photograph's own pixels.

    Refused where something lies over the plate.
    """
    network = model.manifest.networks.calls
    probabilities = softmax(model.call_logits(patches_rgb), network.temperature)
    calls = [Call(name) for name in network.classes]
    outside, glare = _outside(placed, photograph.image_bgr), lost_to_glare(patches_rgb, network.patch_pitches)
    hazy = lost_to_haze(patches_rgb)
    hidden = covered(patches_rgb, placed.seen) & ~outside.reshape(placed.seen.shape).astype(bool)
    check_cover(hidden, placed.form)
    centres = (placed.centres_px + 0.5) * photograph.scale - 0.5
    wells = {}
    for index, (name, centre) in enumerate(zip(placed.form.names(), centres, strict=True)):
        flags: tuple[str, ...] = () if placed.seen.flat[index] else ("not_seen",)
        place = (round(float(centre[0]), 2), round(float(centre[1]), 2))
        if outside[index]:
            wells[name] = Well(Call.NOT_READ, 0.0, {}, ("out_of_picture", *flags), place)
        elif glare[index]:
            wells[name] = Well(Call.OBSCURED, 0.0, {}, ("glare", *flags), place)
        elif hidden.flat[index]:
            wells[name] = Well(Call.OBSCURED, 0.0, {}, ("covered", *flags), place)
        elif hazy[index]:
            wells[name] = Well(Call.OBSCURED, 0.0, {}, ("haze", *flags), place)
        else:
            wells[name] = _judged(calls, probabilities[index], flags, place, profile.low_confidence)
    return wells


def _judged(
    calls: list[Call], probabilities: Array, flags: tuple[str, ...], place: tuple[float, float], limit: float
) -> Well:
    best = int(probabilities.argmax())
    ranked = np.argsort(-probabilities, kind="stable")
    candidates = {calls[i]: round(float(probabilities[i]), 4) for i in ranked if probabilities[i] > CANDIDATE_FROM}
    confidence = round(float(probabilities[best]), 4)
    if confidence < limit:
        flags = ("low_confidence", *flags)
    return Well(calls[best], confidence, candidates, flags, place)


def _outside(placed: Placed, image: Image) -> Array:
    """Which wells lie so far outside the picture, or across its edge, that their cells cannot be seen."""
    reach = CELLS_REACH_PITCH * placed.pitch_px
    centres = placed.centres_px
    low, high = centres - reach, centres + reach
    return np.asarray((low < 0).any(axis=1) | (high > (image.shape[1] - 1, image.shape[0] - 1)).any(axis=1))
