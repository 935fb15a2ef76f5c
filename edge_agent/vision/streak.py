"""The second opinion: does a well stream, by the measure of its blob along the tilt, without asking the network.

It says nothing rather than something doubtful: a ragged, faint, displaced or cut-off blob leaves it undecided, and so
does a shape that readers argue about. Where it is decided and the network says otherwise the well is `disputed`, which
keeps its row from the grade `high`; it never changes a call (docs/decisions/0009-the-second-opinion.md). Pure.
"""

from collections.abc import Mapping
from typing import Final

import msgspec
import numpy as np

from edge_agent.vision.blobs import Blobs, Mask, find_blobs
from edge_agent.vision.patches import Image
from edge_agent.vision.tensors import Array
from protocol.assay import AssayProfile, Call
from protocol.messages import Opinion, Streak, Well
from protocol.plate import PlateFormat

# ln(p / (1 − p)) that a panel calls a blob flowing, from its shape alone: fitted on varied renders, as are the limits,
# by `python -m models.training.second_opinion`, which prints these and what they cost. No photograph was looked at.
INTERCEPT, PER_LN_TAIL, PER_LN_SLENDERNESS = -2.64, -4.06, 11.92
# A blob with a broader lower end is no tear, however long: a ring or a patch. 97 of 100 tears are narrower.
BROADEST_TAIL: Final = 0.75
# Scores that at most 3 of 100 clear blobs that are no tears reach, and below which at most 5 of 100 clear tears fall.
STREAMS_FROM, COMPACT_BELOW = 2.0, -0.78
# Blobs as buttons and tears leave them: 98 of 100 lie inside each limit, two of three partials outside.
LEAST_SOLIDITY: Final = 0.9
AREA_PITCHES: Final = (0.01, 0.1)
MOST_OFFSET, MOST_EDGE_SHARE = 0.22, 0.08
# Contrast against the floor in CIELAB, over noise of other colours, and over the plate's usual contrast.
LEAST_CONTRAST, OVER_NOISE, LEAST_SHARE = 8.0, 3.0, 0.4
# Below this share of the plate's usual contrast anywhere in reach, a well holds nothing that could stream.
NOTHING_SHARE: Final = 0.25
# So many clear blobs say what a plate's usual contrast is; so many tears what its usual tear is.
ENOUGH_BLOBS: Final = 3


def measure_streaks(
    patches_rgb: Image, patch_pitches: float, form: PlateFormat, profile: AssayProfile
) -> dict[str, Streak]:
    """What is measured in every well; nothing where the profile's assay does not look for streaming."""
    if Call.FLOWING not in profile.inhibited:
        return {}
    blobs = find_blobs(patches_rgb, patch_pitches)
    clear = clear_blobs(blobs)
    opinions = _opinions(blobs, clear)
    streaming = _streaming(blobs, clear, opinions, form, profile)
    pitch, found = form.pitch_mm, blobs.area > 0
    return {
        name: Streak(
            opinion=opinions[i],
            area_mm2=round(float(blobs.area[i]) * pitch**2, 2),
            length_mm=round(float(blobs.length[i]) * pitch, 2),
            width_mm=round(float(blobs.width[i]) * pitch, 2),
            tail_ratio=round(float(blobs.tail[i]), 2),
            darkness=round(float(blobs.darkness[i]), 1),
            redness=round(float(blobs.redness[i]), 1),
            streaming=None if streaming is None or not clear[i] else round(float(streaming[i]), 2),
        )
        if found[i]
        else Streak(opinion=opinions[i])
        for i, name in enumerate(form.names())
    }


def with_second_opinion(wells: Mapping[str, Well], streaks: Mapping[str, Streak]) -> dict[str, Well]:
    """The wells with what was measured in them, `disputed` where that contradicts the call."""
    return {name: _with_streak(well, streaks.get(name)) for name, well in wells.items()}


def _with_streak(well: Well, streak: Streak | None) -> Well:
    if streak is None or not well.call.is_read:
        return well
    flags = ("disputed", *well.flags) if disputed(well.call, streak) else well.flags
    return msgspec.structs.replace(well, streak=streak, flags=flags)


def disputed(call: Call, streak: Streak) -> bool:
    """Whether the measurement is sure of the opposite of what a call says about streaming."""
    return streak.opinion != "undecided" and (call is Call.FLOWING) != (streak.opinion == "streams")


def clear_blobs(blobs: Blobs) -> Mask:
    """Which wells hold a blob whose shape can be measured."""
    return np.asarray(
        (blobs.area > AREA_PITCHES[0])
        & (blobs.area < AREA_PITCHES[1])
        & (blobs.offset < MOST_OFFSET)
        & (blobs.edge_share < MOST_EDGE_SHARE)
        & (blobs.contrast > np.maximum(LEAST_CONTRAST, OVER_NOISE * blobs.noise))
        & (blobs.share > LEAST_SHARE)
        & (blobs.solidity > LEAST_SOLIDITY)
        & (blobs.tail > 0)
    )


def _opinions(blobs: Blobs, clear: Mask) -> list[Opinion]:
    score = streaming_score(blobs)
    nothing = (blobs.widest_share < NOTHING_SHARE) & (clear.sum() >= ENOUGH_BLOBS)
    streams = clear & (score > STREAMS_FROM) & (blobs.tail < BROADEST_TAIL)
    compact = nothing | (clear & (score < COMPACT_BELOW))
    return ["streams" if s else "does_not_stream" if c else "undecided" for s, c in zip(streams, compact, strict=True)]


def streaming_score(blobs: Blobs) -> Array:
    """ln(p / (1 − p)) that each blob streams, by its tail and its slenderness; meaningless where there is no blob."""
    tail = np.log(np.maximum(blobs.tail, 0.01))
    return np.asarray(INTERCEPT + PER_LN_TAIL * tail + PER_LN_SLENDERNESS * np.log(_slenderness(blobs)))


def _slenderness(blobs: Blobs) -> Array:
    return np.asarray(np.maximum(blobs.length, 0.01) / np.maximum(blobs.width, 0.01))


def _streaming(
    blobs: Blobs, clear: Mask, opinions: list[Opinion], form: PlateFormat, profile: AssayProfile
) -> Array | None:
    """Slenderness against the plate's RBC controls (their median), else against its longer tears (upper quartile)."""
    controls = {name for control in profile.controls if control.role == "rbc_control" for name in control.wells}
    slenderness = _slenderness(blobs)
    control = np.array([name in controls for name in form.names()]) & clear
    if control.any():
        return np.asarray(slenderness / np.median(slenderness[control]))
    tears = np.array([opinion == "streams" for opinion in opinions]) & clear
    if tears.sum() < ENOUGH_BLOBS:
        return None
    return np.asarray(slenderness / np.quantile(slenderness[tears], 0.75))
