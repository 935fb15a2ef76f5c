"""One well as the endpoint rules see it: its call, and the probability that it lies on the strong side. Pure."""

from typing import Final

import msgspec

from protocol.assay import SAYS_NOTHING, UNREAD, AssayProfile, Call
from protocol.messages import Well

_UNREADABLE: Final = UNREAD | SAYS_NOTHING


class WellEvidence(msgspec.Struct, frozen=True, gc=False):
    """One dilution as the rules see it: the call, the calibrated probability that it flows, and any flag on it."""

    call: Call
    p_inhibited: float
    flagged: bool = False

    @property
    def readable(self) -> bool:
        """Whether the well says anything about inhibition."""
        return self.call not in _UNREADABLE


def evidence(well: Well, profile: AssayProfile) -> WellEvidence:
    """A stored well as the rules see it. Mass that no candidate holds counts for neither side."""
    candidates, inhibited = well.candidates, profile.inhibited
    if len(candidates) == 1 and (only := next(iter(candidates.items())))[1] > 0:
        return WellEvidence(well.call, float(only[0] in inhibited), flagged=bool(well.flags))
    total = sum(candidates.values())
    p = sum([candidates.get(call, 0.0) for call in inhibited]) / total if total > 0 else float(well.call in inhibited)
    return WellEvidence(well.call, p, flagged=bool(well.flags))
