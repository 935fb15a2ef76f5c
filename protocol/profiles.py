"""The assay profiles that ship with Wellread. Layouts are laboratories' own; these are starting points, held by tests.

Titrations from EU Directive 92/66/EEC, annex III, ch. 4 and 6. MIC: CLSI M07 and M27, the EUCAST reading guide for
broth microdilution (docs/decisions/0011-assays-beyond-hi.md says which rule is where).
"""

from typing import Final

import msgspec

from protocol.assay import (
    AssayProfile,
    Call,
    ColourClass,
    ColourCriteria,
    ControlWells,
    GrowthCriteria,
    QualityLimits,
    Range,
    Series,
)
from protocol.plate import plate_format

_ROWS: Final = plate_format(96).row_labels()
# Two-fold from 8 mg/L, as laboratories round them.
_FROM_8: Final = (8.0, 4.0, 2.0, 1.0, 0.5, 0.25, 0.125, 0.064, 0.032, 0.016, 0.008, 0.004)
_FROM_128: Final = (128.0, 64.0, 32.0, 16.0, 8.0, 4.0, 2.0, 1.0, 0.5, 0.25, 0.125, 0.064)
_FROM_64: Final = (64.0, 32.0, 16.0, 8.0, 4.0, 2.0, 1.0, 0.5, 0.25, 0.125)

# A colour is the median of a disc: what spoils it is light and overlap, not softness.
_COLOUR_LIMITS: Final = QualityLimits(
    most_blur_pitch=0.08,
    most_motion_pitch=0.15,
    least_light=0.15,
    least_pitch_px=18.0,
    least_contrast=0.04,
    least_well_contrast=0.0,
    least_rim=0.004,
)


def _rows(columns: int) -> tuple[Series, ...]:
    form = plate_format(96)
    return tuple(Series(row=label, wells=form.row(label)[:columns]) for label in _ROWS)


def _column(column: int) -> tuple[str, ...]:
    return tuple(f"{row}{column}" for row in _ROWS)


def _drug(row: str, title: str, concentrations: tuple[float, ...]) -> Series:
    """Dilutions from column 12, the strongest, towards column 1."""
    wells = tuple(f"{row}{column}" for column in range(12, 12 - len(concentrations), -1))
    return Series(row, wells, concentrations, title)


# Resazurin is blue to purple, resorufin (growth) pink. Between them nobody can say.
_RESAZURIN: Final = ColourCriteria(
    (
        ColourClass(
            Call.GROWTH, (Range("hue_degrees", 3.0, at_least=-14.0, at_most=60.0), Range("chroma", 2.5, at_least=10.0))
        ),
        ColourClass(
            Call.CLEAR, (Range("hue_degrees", 3.0, at_least=-110.0, at_most=-16.0), Range("chroma", 2.5, at_least=15.0))
        ),
    )
)
# Coloured or not, against blanks or the plate's light; a dye so dark that it has no hue is a colour too.
_COLOURED: Final = ColourCriteria(
    (
        ColourClass(Call.POSITIVE, (Range("delta_chroma", 2.5, at_least=15.0),)),
        ColourClass(Call.POSITIVE, (Range("delta_lightness", 6.0, at_most=-45.0),)),
        ColourClass(
            Call.NEGATIVE, (Range("delta_chroma", 2.5, at_most=9.0), Range("delta_lightness", 6.0, at_least=-32.0))
        ),
    )
)

# Chosen on renders that no other figure is taken from: docs/decisions/0030.
_LEAST_WITHIN_ONE: Final = 0.75

_HI: Final = (
    AssayProfile(
        name="hi-96",
        version=2,
        title="Haemagglutination inhibition, 12 dilutions per row",
        plate_format=96,
        series=_rows(12),
        least_within_one=_LEAST_WITHIN_ONE,
    ),
    AssayProfile(
        name="hi-96-serum-control",
        version=2,
        title="Haemagglutination inhibition, 11 dilutions per row, serum control in column 12",
        plate_format=96,
        series=_rows(11),
        controls=(
            # The serum control holds serum and cells but no antigen: nothing can agglutinate, so it streams.
            ControlWells(role="serum_control", wells=_column(12), expected=(Call.FLOWING,)),
        ),
        least_within_one=_LEAST_WITHIN_ONE,
    ),
)

_HA: Final = AssayProfile(
    name="ha-titration",
    version=1,
    title="Haemagglutination titration, 11 dilutions per row, cell control in column 12",
    plate_format=96,
    series=_rows(11),
    # Without virus the cells settle: they stream on a tilted stage and lie as a button on a level one.
    controls=(ControlWells("rbc_control", _column(12), (Call.FLOWING, Call.BUTTON)),),
    # Complete agglutination only: a ring (`partial`) is beyond the endpoint.
    inhibited=(Call.DIFFUSE,),
    reported_rule="last_agglutinated",
    reports="ha_titre",
)

_MIC: Final = (
    AssayProfile(
        name="mic-96",
        version=1,
        title="Antifungal MIC, resazurin: eight drugs, strongest in column 12, growth control in H1",
        plate_format=96,
        series=(
            _drug("A", "anidulafungin", _FROM_8),
            _drug("B", "micafungin", _FROM_8),
            _drug("C", "caspofungin", _FROM_8),
            _drug("D", "posaconazole", _FROM_8),
            _drug("E", "voriconazole", _FROM_8),
            _drug("F", "itraconazole", _FROM_8),
            _drug("G", "fluconazole", _FROM_128),
            _drug("H", "amphotericin B", _FROM_8[:11]),
        ),
        controls=(ControlWells("growth_control", ("H1",), (Call.GROWTH,)),),
        inhibited=(Call.CLEAR,),
        reported_rule="unbroken",
        judged_by="colour",
        reports="mic",
        concentration_unit="mg/L",
        colour=_RESAZURIN,
        limits=_COLOUR_LIMITS,
    ),
    AssayProfile(
        name="mic-96-pellets",
        version=1,
        title="MIC by pellets or turbidity: 10 dilutions per row, growth control in column 11, sterility in column 12",
        plate_format=96,
        series=tuple(Series(row, plate_format(96).row(row)[:10], _FROM_64) for row in _ROWS),
        controls=(
            ControlWells("growth_control", _column(11), (Call.GROWTH,)),
            ControlWells("sterility_control", _column(12), (Call.CLEAR,)),
        ),
        # Complete inhibition. For drugs read at 50 or 80 % inhibition a laboratory adds `weak_growth` here.
        inhibited=(Call.CLEAR,),
        reported_rule="unbroken",
        judged_by="growth",
        reports="mic",
        concentration_unit="mg/L",
        growth=GrowthCriteria(),
        limits=_COLOUR_LIMITS,
    ),
)

_COLOUR: Final = (
    AssayProfile(
        name="colour-96",
        version=1,
        title="Coloured or not, well by well, against the plate's own light",
        plate_format=96,
        series=(),
        samples=plate_format(96).names(),
        inhibited=(Call.POSITIVE,),
        judged_by="colour",
        reports="calls",
        colour=_COLOURED,
        limits=_COLOUR_LIMITS,
    ),
    AssayProfile(
        name="colour-96-blanks",
        version=1,
        title="Coloured or not, well by well, against blank wells in column 12",
        plate_format=96,
        series=(),
        samples=tuple(name for name in plate_format(96).names() if name not in _column(12)),
        controls=(ControlWells("blank", _column(12), (Call.NEGATIVE,)),),
        inhibited=(Call.POSITIVE,),
        judged_by="colour",
        reports="calls",
        colour=_COLOURED,
        limits=_COLOUR_LIMITS,
    ),
)

PROFILES: Final[dict[str, AssayProfile]] = {profile.name: profile for profile in (*_HI, _HA, *_MIC, *_COLOUR)}

# A version that was shipped is never changed: runs that were accepted by it stay as they are, and readers that still
# have it are heard.
_EARLIER: Final = tuple(msgspec.structs.replace(profile, version=1, least_within_one=None) for profile in _HI)
SHIPPED: Final[dict[tuple[str, int], AssayProfile]] = {
    (profile.name, profile.version): profile for profile in (*_EARLIER, *PROFILES.values())
}


def profile_named(name: str, version: int | None = None) -> AssayProfile:
    """The shipped profile of this name, the newest or of this version; KeyError with those that exist."""
    newest = PROFILES.get(name)
    if newest is None:
        raise KeyError(f"unknown assay profile: {name!r} (expected one of {', '.join(sorted(PROFILES))})")
    if version is None:
        return newest
    profile = SHIPPED.get((name, version))
    if profile is None:
        known = " or ".join(str(number) for of, number in SHIPPED if of == name)
        raise KeyError(f"unknown version of assay profile {name!r}: {version!r} (expected {known})")
    return profile
