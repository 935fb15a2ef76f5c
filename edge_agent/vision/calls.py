"""Patches → the state of every well: call, calibrated confidence, candidates, flags.

Every well of the plate has a state. One that cannot be seen is `obscured` or `not_read`, never "negative". What the
network sees is judged here, what a profile's criteria say in `judged`.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from edge_agent.vision.cover import check_cover, covered
from edge_agent.vision.detector import Model
from edge_agent.vision.geometry import Placed
from edge_agent.vision.image import Photograph
from edge_agent.vision.patches import Image
from edge_agent.vision.quality import WellLight
from edge_agent.vision.spread import settle_spread
from edge_agent.vision.tensors import Array, softmax
from protocol.assay import AssayProfile, Call
from protocol.messages import Well

Mask = npt.NDArray[np.bool_]

CANDIDATE_FROM: Final = 0.05
# Cells lie within this distance of a well's centre, in pitches: what lies outside the picture there was not seen.
CELLS_REACH_PITCH: Final = 0.3


@dataclass(frozen=True, slots=True)
class Place:
    """One well before it is judged: how it was found, where it is, and its state where it cannot be seen."""

    name: str
    flags: tuple[str, ...]
    centre_px: tuple[float, float]
    lost: Well | None


def call_wells(  # noqa: PLR0917 - network, wells, their light, plate, picture, what is expected
    model: Model, patches_rgb: Image, light: WellLight, placed: Placed, photograph: Photograph, profile: AssayProfile
) -> dict[str, Well]:
    """The state of every well, in the order of the plate; centres in the photograph's own pixels.

    Refused where something lies over the plate.
    """
    network = model.manifest.networks.calls
    calls = [Call(name) for name in network.classes]
    seen = softmax(model.call_logits(patches_rgb), network.temperature)
    probabilities = settle_spread(seen, calls.index(Call.DIFFUSE), calls.index(Call.EMPTY))
    hazy = light.lost_to_haze(profile.limits.least_well_contrast)
    return {
        place.name: place.lost
        or judged(dict(zip(calls, map(float, chances), strict=True)), place, profile.low_confidence)
        for place, chances in zip(
            places(patches_rgb, placed, photograph, glare=light.whited_out, hazy=hazy), probabilities, strict=True
        )
    }


def places(patches_rgb: Image, placed: Placed, photograph: Photograph, *, glare: Mask, hazy: Mask) -> Iterator[Place]:
    """Every well in the order of the plate, with what nobody can see in it; refused with something over the plate."""
    outside = _outside(placed, photograph.image_bgr)
    hidden = covered(patches_rgb, placed.seen) & ~outside.reshape(placed.seen.shape).astype(bool)
    check_cover(hidden, placed.form)
    centres = (placed.centres_px + 0.5) * photograph.scale - 0.5
    for index, (name, centre) in enumerate(zip(placed.form.names(), centres, strict=True)):
        flags: tuple[str, ...] = () if placed.seen.flat[index] else ("not_seen",)
        at = (round(float(centre[0]), 2), round(float(centre[1]), 2))
        reasons = (
            (outside[index], Call.NOT_READ, "out_of_picture"),
            (glare[index], Call.OBSCURED, "glare"),
            (hidden.flat[index], Call.OBSCURED, "covered"),
            (hazy[index], Call.OBSCURED, "haze"),
        )
        lost = next((Well(call, 0.0, {}, (flag, *flags), at) for is_so, call, flag in reasons if is_so), None)
        yield Place(name, flags, at, lost)


def judged(chances: Mapping[Call, float], place: Place, limit: float, call: Call | None = None) -> Well:
    """A well with its likeliest call, or the one given; flagged where its chance is under the limit."""
    ranked = sorted(chances, key=lambda each: -chances[each])
    candidates = {each: round(chances[each], 4) for each in ranked if chances[each] > CANDIDATE_FROM}
    call = ranked[0] if call is None else call
    confidence = round(chances[call], 4)
    flags = ("low_confidence", *place.flags) if confidence < limit else place.flags
    return Well(call, confidence, candidates, flags, place.centre_px)


def _outside(placed: Placed, image: Image) -> Array:
    """Which wells lie so far outside the picture, or across its edge, that their cells cannot be seen."""
    reach = CELLS_REACH_PITCH * placed.pitch_px
    centres = placed.centres_px
    low, high = centres - reach, centres + reach
    return np.asarray((low < 0).any(axis=1) | (high > (image.shape[1] - 1, image.shape[0] - 1)).any(axis=1))
