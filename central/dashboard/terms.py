"""The words of the pages for calls, flags, grades and rules, one table each, in the words of each assay. Pure.

A well that was not read always has its own letter and words; it never looks like a negative one.
"""

from typing import Final

from protocol.assay import Call, EndpointRule, Reports
from protocol.messages import Opinion

LETTERS: Final[dict[Call, str]] = {
    Call.FLOWING: "F",
    Call.BUTTON: "B",
    Call.PARTIAL: "P",
    Call.DIFFUSE: "D",
    Call.EMPTY: "E",
    Call.GROWTH: "G",
    Call.WEAK_GROWTH: "W",
    Call.CLEAR: "C",
    Call.POSITIVE: "+",
    Call.NEGATIVE: "o",
    Call.INDETERMINATE: "I",
    Call.OBSCURED: "X",
    Call.NOT_READ: "?",
}
CALL_WORDS: Final[dict[Call, str]] = {
    Call.FLOWING: "flowing",
    Call.BUTTON: "button",
    Call.PARTIAL: "partial",
    Call.DIFFUSE: "diffuse",
    Call.EMPTY: "empty, no cells",
    Call.GROWTH: "growth",
    Call.WEAK_GROWTH: "weak growth",
    Call.CLEAR: "clear, no growth",
    Call.POSITIVE: "positive",
    Call.NEGATIVE: "negative",
    Call.INDETERMINATE: "indeterminate: between two classes",
    Call.OBSCURED: "obscured, not read",
    Call.NOT_READ: "not read",
}
WELL_FLAGS: Final[dict[str, str]] = {
    "low_confidence": "low confidence",
    "not_seen": "placed by the lattice, not seen",
    "glare": "glare",
    "haze": "lost to haze",
    "covered": "something lies over it",
    "out_of_picture": "out of the picture",
    "disputed": "disputed: the measurement contradicts the call",
    "no_contrast": "growth and sterility controls look alike",
    "no_blanks": "no blank well could be seen",
    "overridden": "as a reviewer says",
    "orientation_doubted": "the plate may lie the other way round",
    "orientation_unconfirmed": "nothing in the picture shows which way the plate lies",
}
OPINION_WORDS: Final[dict[Opinion, str]] = {
    "streams": "it streams",
    "does_not_stream": "it does not stream",
    "undecided": "undecided",
}
ROW_FLAGS: Final[dict[str, str]] = {
    "prozone": "a well before the endpoint does not flow (prozone)",
    "gap": "a well before the endpoint was not read",
    "island": "a well beyond two that do not flow flows",
    "skipped": "a well on the wrong side of the endpoint (skipped well)",
    "trailing": "weak growth over several dilutions (trailing endpoint)",
    "at_limit": "flows to the last dilution: the titre is at least this",
    "below": "nothing flows: the titre is below the first dilution",
    "control_failed": "a control failed",
    "uncertain": "the titre may lie more than one dilution off: none is given until somebody has judged the wells",
}
ROW_FLAGS_SHORT: Final[dict[str, str]] = {
    "prozone": "prozone",
    "gap": "gap",
    "island": "island",
    "skipped": "skipped",
    "trailing": "trailing",
    "at_limit": "at limit",
    "below": "below",
    "control_failed": "control failed",
    "uncertain": "uncertain",
}
# Where nothing flows, the same flags say it in the words of the assay.
ROW_FLAGS_OF: Final[dict[Reports, dict[str, str]]] = {
    "mic": {
        "at_limit": "no growth at the weakest concentration: the MIC is at most this",
        "below": "growth at the strongest concentration: the MIC is above this",
    },
    "ha_titre": {
        "island": "a well beyond two that do not agglutinate agglutinates",
        "at_limit": "agglutinates to the last dilution: the titre is at least this",
        "below": "nothing agglutinates: the titre is below the first dilution",
    },
}
RESULT_HEADS: Final[dict[Reports, str]] = {"serum_titre": "Titre", "ha_titre": "HA titre", "mic": "MIC", "calls": ""}
RULE_HEADS: Final[dict[EndpointRule, str]] = {
    "last_flowing": "Last flowing",
    "last_agglutinated": "Last agglutinated",
    "unbroken": "Last without growth",
    "step_fit": "First rule",
}
# Flags for which a person should look at the well again.
DOUBTS: Final = frozenset({"low_confidence", "disputed"})
GRADES: Final = ("low", "medium", "high")
