"""Profiles as versioned data: adding, activating, trying; runs are interpreted by the version of their time."""

from typing import Any

import msgspec
import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from central.assays.registry import (
    ProfileError,
    UnknownProfileError,
    activate,
    active_versions,
    add,
    assays_of,
    list_versions,
    read_profile,
)
from central.assays.trial import Trial, try_profile
from central.audit.chain import COMMAND, Actor
from central.db import reading
from central.people.sites import EVERY_SITE
from central.review.changes import interpret
from central.review.corrections import CorrectionError
from central.review.verify import verify
from protocol.assay import AssayProfile, Call
from protocol.messages import Well
from protocol.profiles import PROFILES, profile_named
from tests.central.review.reviews import RUN, accept, dossier, override, people, read_plate, say, sign
from tests.make import HI, NOON, make_code, make_reading_id, make_wells, replace

pytestmark = pytest.mark.anyio

# A laboratory that counts a ring as inhibited, and reports the fit.
OWN: AssayProfile = replace(HI, version=1001, title="Ours", inhibited=(Call.FLOWING, Call.PARTIAL))
RING = make_wells(6) | {"A7": replace(make_wells()["A7"], call=Call.PARTIAL, candidates={Call.PARTIAL: 1.0})}


async def adopted(engine: AsyncEngine, profile: AssayProfile = OWN) -> None:
    """The profile, added and active."""
    await add(engine, profile, actor=COMMAND, now=NOON)
    await activate(engine, (profile.name, profile.version), reason="as we read", actor=COMMAND, now=NOON)


async def tried(engine: AsyncEngine, profile: AssayProfile, **options: Any) -> Trial:
    """What would change."""
    async with reading(engine) as connection:
        return await try_profile(connection, profile, **options)


def test_a_file_is_read_as_json_or_toml() -> None:
    assert read_profile(msgspec.json.encode(OWN), toml=False) == OWN
    series = "".join(f'[[series]]\nrow = "{each.row}"\nwells = {list(each.wells)}\n' for each in OWN.series)
    head = 'name = "hi-96"\nversion = 1001\ntitle = "Ours"\nplate_format = 96\ninhibited = ["flowing", "partial"]\n'
    head += "least_within_one = 0.75\n"
    assert read_profile((head + series).encode(), toml=True) == OWN


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        ({"version": 2}, "version 2"),
        ({"name": "hi-97"}, "name 'hi-97'"),
        ({"plate_format": 384}, "plate_format 384"),
        ({"first_dilution": 0}, "first_dilution 0"),
    ],
)
def test_a_profile_that_cannot_be_a_version_is_refused_by_its_value(fields: dict[str, Any], why: str) -> None:
    with pytest.raises(ProfileError, match=why):
        read_profile(msgspec.json.encode(replace(OWN, **fields)), toml=False)


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff", b"[" * 50_000, b" " * 70_000])
@pytest.mark.parametrize("toml", [True, False])
def test_a_bad_file_is_refused(content: bytes, toml: bool) -> None:
    with pytest.raises(ProfileError):
        read_profile(content, toml=toml)


async def test_a_version_is_never_changed_and_is_not_active_before_it_is_activated(engine: AsyncEngine) -> None:
    await add(engine, OWN, actor=COMMAND, now=NOON)
    with pytest.raises(ProfileError, match="here already"):
        await add(engine, replace(OWN, title="Other"), actor=COMMAND, now=NOON)
    async with reading(engine) as connection:
        assert (await active_versions(connection))["hi-96"] == HI.version
        listed = {(each.name, each.version): each for each in await list_versions(connection)}
        assert not listed["hi-96", 1001].active
        assert (await assays_of(connection, [("hi-96", 1001)]))["hi-96", 1001] == OWN
        with pytest.raises(UnknownProfileError):
            await assays_of(connection, [("hi-96", 1002)])


async def test_activation_needs_a_reason_and_the_shipped_version_can_come_back(engine: AsyncEngine) -> None:
    await add(engine, OWN, actor=COMMAND, now=NOON)
    with pytest.raises(ProfileError, match="no reason"):
        await activate(engine, ("hi-96", 1001), reason=" ", actor=COMMAND, now=NOON)
    with pytest.raises(UnknownProfileError):
        await activate(engine, ("hi-96", 1002), reason="x", actor=COMMAND, now=NOON)
    await activate(engine, ("hi-96", 1001), reason="as we read", actor=COMMAND, now=NOON)
    later = NOON.replace(hour=13)
    assert (await activate(engine, ("hi-96", HI.version), reason="as before", actor=COMMAND, now=later)).shipped
    async with reading(engine) as connection:
        assert (await active_versions(connection))["hi-96"] == HI.version


async def test_runs_that_come_in_are_interpreted_by_the_active_version_and_older_ones_stay(engine: AsyncEngine) -> None:
    await read_plate(engine, 1, wells=RING)
    await adopted(engine)
    second = await read_plate(engine, 2, enrolled=True, wells=RING, code=make_code(plate_number="2"))
    before, now = await dossier(engine), await dossier(engine, second)
    assert (before.run.assay.version, before.run.endpoints["A"].last_flowing) == (HI.version, 6)
    assert (now.run.assay.version, now.run.endpoints["A"].last_flowing) == (1001, 7)
    assert now.own["A"]["last_flowing"] == 6
    assert now.run.endpoints == now.now.endpoints


async def test_a_trial_says_which_titres_would_change_and_changes_nothing(engine: AsyncEngine) -> None:
    await read_plate(engine, 1, wells=RING)
    await read_plate(engine, 2, enrolled=True, code=make_code("S-2"))
    found = await tried(engine, OWN)
    assert (found.runs, found.rows, found.titres) == (2, 16, 1)
    assert [(each.run_id, each.row, each.before, each.after) for each in found.changed] == [(RUN, "A", "1:64", "1:128")]
    assert (await tried(engine, OWN, submission="S-2")).titres == 0
    assert (await tried(engine, OWN, last=1)).runs == 1
    assert (await dossier(engine)).run.assay.version == HI.version


async def test_a_trial_takes_what_reviewers_said_into_account(engine: AsyncEngine) -> None:
    rita = (await people(engine))["rita"]
    await read_plate(engine, 1, wells=RING)
    await say(engine, rita, override("A7", Call.BUTTON))
    assert (await tried(engine, OWN)).titres == 0


async def test_an_open_run_is_interpreted_again_on_request_and_a_signed_one_never(engine: AsyncEngine) -> None:
    rita = (await people(engine))["rita"]
    await read_plate(engine, 1, wells=RING)
    await adopted(engine)
    who: dict[str, Any] = {"sites": EVERY_SITE, "user_id": rita, "actor": Actor("person", rita), "now": NOON}
    found = await interpret(engine, RUN, 1001, seen=1, **who)
    assert (found.run.endpoints["A"].last_flowing, found.run.revision) == (7, 2)
    with pytest.raises(CorrectionError, match="already"):
        await interpret(engine, RUN, 1001, seen=2, **who)
    with pytest.raises(UnknownProfileError):
        await interpret(engine, RUN, 1002, seen=2, **who)
    await say(engine, rita, accept())
    await sign(engine, rita)
    with pytest.raises(CorrectionError, match="signed"):
        await interpret(engine, RUN, HI.version, seen=3, **who)
    assert (await dossier(engine, make_reading_id(1))).run.assay.version == 1001


async def test_a_run_of_before_the_limit_keeps_its_titre_and_one_that_comes_in_later_does_not(
    engine: AsyncEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    rita = (await people(engine))["rita"]
    unsure = Well(Call.FLOWING, 0.55, {Call.FLOWING: 0.55, Call.PARTIAL: 0.45})
    island: dict[str, Any] = {"wells": make_wells(5) | {"A8": unsure}, "profile_version": 1}
    with monkeypatch.context() as before:
        before.setitem(PROFILES, "hi-96", profile_named("hi-96", 1))
        await read_plate(engine, 1, **island)
        await say(engine, rita, accept())
        await sign(engine, rita)
    second = await read_plate(engine, 2, enrolled=True, code=make_code(plate_number="2"), **island)
    old, new = await dossier(engine), await dossier(engine, second)
    assert (old.now.endpoints["A"].reported(old.run.assay), new.now.endpoints["A"].reported(new.run.assay)) == (8, None)
    assert (old.run.assay.version, new.run.assay.version, new.own["A"]["grade"]) == (1, HI.version, "low")
    assert [old.holds(each) for each in old.signatures] == [True]
    assert (await verify(engine)).differences == ()
