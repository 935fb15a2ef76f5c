"""The assay profiles that ship with Wellread. Titration layouts from EU Directive 92/66/EEC, annex III, ch. 4 and 6."""

from typing import Final

from protocol.assay import AssayProfile, Call, ControlWells, Series
from protocol.plate import plate_format


def _rows(columns: int) -> tuple[Series, ...]:
    form = plate_format(96)
    return tuple(Series(row=label, wells=form.row(label)[:columns]) for label in form.row_labels())


PROFILES: Final[dict[str, AssayProfile]] = {
    profile.name: profile
    for profile in (
        AssayProfile(
            name="hi-96",
            version=1,
            title="Haemagglutination inhibition, 12 dilutions per row",
            plate_format=96,
            series=_rows(12),
        ),
        AssayProfile(
            name="hi-96-serum-control",
            version=1,
            title="Haemagglutination inhibition, 11 dilutions per row, serum control in column 12",
            plate_format=96,
            series=_rows(11),
            controls=(
                # The serum control holds serum and cells but no antigen: nothing can agglutinate, so it streams.
                ControlWells(
                    role="serum_control",
                    wells=tuple(f"{row}12" for row in plate_format(96).row_labels()),
                    expected=(Call.FLOWING,),
                ),
            ),
        ),
    )
}


def profile_named(name: str, version: int | None = None) -> AssayProfile:
    """The shipped profile of this name (and version, where given); KeyError with the names that exist."""
    profile = PROFILES.get(name)
    if profile is None:
        raise KeyError(f"unknown assay profile: {name!r} (expected one of {', '.join(sorted(PROFILES))})")
    if version is not None and version != profile.version:
        raise KeyError(f"unknown version of assay profile {name!r}: {version!r} (expected {profile.version})")
    return profile
