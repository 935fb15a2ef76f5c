"""One well as the endpoint rules see it: its call, and the probability that it lies on the strong side. Pure."""

import msgspec

from protocol.assay import SAYS_NOTHING, AssayProfile, Call
from protocol.messages import Well


class WellEvidence(msgspec.Struct, frozen=True, gc=False):
    """One dilution as the rules see it: the call, the calibrated probability that it flows, and any flag on it."""

    call: Call
    p_inhibited: float
    flagged: bool = False

    @property
    def readable(self) -> bool:
        """Whether the well says anything about inhibition."""
        return self.call.is_read and self.call not in SAYS_NOTHING


def evidence(well: Well, profile: AssayProfile) -> WellEvidence:
    """A stored well as the rules see it. Mass that no candidate holds counts for neither side."""
    total = sum(well.candidates.values())
    inhibited = sum(well.candidates.get(call, 0.0) for call in profile.inhibited)
    p = inhibited / total if total > 0 else float(well.call in profile.inhibited)
    return WellEvidence(well.call, p, flagged=bool(well.flags))
