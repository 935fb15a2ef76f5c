"""Why a photograph is not read. A refusal is a result: not read is always better than read wrongly.

The codes are public (`wellread-agent read --json`, the device's status) and stable; the detail tells a person what to
do.
"""

from typing import Final, Literal

Reason = Literal[
    "not_an_image",
    "too_large",
    "truncated",
    "too_small",
    "too_dark",
    "too_bright",
    "blurred",
    "hazy",
    "covered",
    "no_plate",
    "several_plates",
    "format_mismatch",
    "orientation_mismatch",
    "orientation_doubted",
    "not_in_seat",
    "wrong_size",
    "uncertain_lattice",
]

REASONS: Final[dict[Reason, str]] = {
    "not_an_image": "the file is not a JPEG or PNG photograph",
    "too_large": "the photograph is larger than a reader may be asked to open",
    "truncated": "the file ends too early or is damaged",
    "too_small": "the wells have too few pixels to tell a tear from a button",
    "too_dark": "the photograph is too dark",
    "too_bright": "the photograph is too bright, or glare hides the wells",
    "blurred": "the photograph is not sharp enough, or something moved",
    "hazy": "haze hides what is in the wells",
    "covered": "something lies over the plate",
    "no_plate": "no plate was found",
    "several_plates": "more than one plate is in view",
    "format_mismatch": "the plate has another number of wells than the assay profile",
    "orientation_mismatch": "the plate does not lie as the bench's seat says",
    "orientation_doubted": "the picture contradicts where the bench's seat says that A1 is",
    "not_in_seat": "the plate lies far from where the bench was calibrated",
    "wrong_size": "the camera gave a picture of another size than the calibrated one",
    "uncertain_lattice": "wells were found, but not which well is which",
}


class Refused(ValueError):  # noqa: N818 - a refusal is a result, not a fault
    """This photograph is not read: `reason` is a stable code, `detail` says what was seen and what to do."""

    def __init__(self, reason: Reason, detail: str) -> None:
        """`detail` names the value and the expectation."""
        super().__init__(f"{reason}: {detail}")
        self.reason: Reason = reason
        self.detail = detail
