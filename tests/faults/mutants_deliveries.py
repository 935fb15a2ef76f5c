"""The planted bugs of deliveries: files that arrive twice, half, never, or say what nobody approved."""

from typing import Final

from tests.faults.mutants import Edit, Mutant


def _bug(name: str, module: str, old: str, new: str, caught_by: str) -> Mutant:
    return Mutant(name, (Edit(f"central.deliveries.{module}", old, new),), f"tests/central/deliveries/{caught_by}")


_FOLDER: Final = "targets.folder"

DELIVERIES: Final = (
    _bug(
        "a file is named before that is written down", "outbox",
        "            place = await (await worker.target(row)).prepare(_file(row))\n",
        "            place = await (await worker.target(row)).prepare(_file(row))\n"
        "            await (await worker.target(row)).finish(_file(row), place)\n",
        "test_outbox.py::test_a_worker_that_dies_at_any_step_is_followed_by_one_that_places_nothing_twice",
    ),
    Mutant(
        "every try writes into one unfinished file",
        (
            Edit("central.deliveries.targets.folder", "{token_hex(4)}", "one"),
            Edit("central.deliveries.targets.folder", "os.O_EXCL", "os.O_TRUNC"),
        ),
        "tests/central/deliveries/test_outbox.py"
        "::test_a_worker_who_was_held_up_while_it_wrote_does_not_bring_back_what_was_swept",
    ),
    _bug(
        "an unfinished file has a name that importers look for", _FOLDER,
        'return f".{file.name}.', 'return f"{file.name}.',
        "test_outbox.py::test_an_unfinished_file_that_somebody_changed_is_not_handed_over",
    ),
    _bug(
        "an unfinished file is not synced", _FOLDER, "os.fsync(unfinished.fileno())", "pass",
        "test_meanwhile.py::test_a_file_is_on_the_disk_before_it_has_its_name_and_the_name_before_that_is_written_down",
    ),
    _bug(
        "a name is not synced", _FOLDER, "dst_dir_fd=folder)\n            os.fsync(folder)", "dst_dir_fd=folder)",
        "test_meanwhile.py::test_a_file_is_on_the_disk_before_it_has_its_name_and_the_name_before_that_is_written_down",
    ),
    _bug(
        "a file is named without a look at its digest", _FOLDER,
        "if _digest(folder, part) != hashlib.sha256(file.content).hexdigest():", "if False:",
        "test_outbox.py::test_an_unfinished_file_that_somebody_changed_is_not_handed_over",
    ),
    _bug(
        "a share that was unmounted counts as swept", _FOLDER, "if not _is_this(folder, place) or", "if",
        "test_outbox.py::test_another_folder_under_the_same_path_is_not_the_one_that_has_the_file",
    ),
    _bug(
        "what was placed counts as acknowledged", _FOLDER,
        "        await anyio.to_thread.run_sync(self._finish, file, place)\n        return False",
        "        await anyio.to_thread.run_sync(self._finish, file, place)\n        return True",
        "test_outbox.py::test_a_file_is_placed_whole_and_is_known_to_have_arrived_once_it_is_swept",
    ),
    _bug(
        "a lease binds nobody", "outbox", "deliveries.c.leased_until < now)", "deliveries.c.leased_until >= now)",
        "test_outbox.py::test_a_worker_that_dies_at_any_step_is_followed_by_one_that_places_nothing_twice",
    ),
    _bug(
        "a worker whose lease ran out goes on", "outbox",
        "    seen = (deliveries.c.id == row.id, deliveries.c.state == row.state)\n",
        "    seen = (deliveries.c.id == row.id,)\n",
        "test_outbox.py::test_a_worker_whose_lease_ran_out_changes_nothing_that_another_did",
    ),
    _bug(
        "a correction has the name of what it corrects", "render",
        'if results.revision > 1 and "{revision}" not in', 'if results.revision < 1 and "{revision}" not in',
        "test_render.py::test_a_correction_has_another_name",
    ),
    _bug(
        "what was changed since its approval is rendered", "rules",
        "if subject_sha256(dossiers) != row.record_sha256:", "if False:",
        "test_rules.py::test_a_run_that_was_changed_before_its_file_was_made_makes_none",
    ),
    _bug(
        "a row without a result has a line", "tables", "if say or row.endpoint is not None]", "]",
        "test_render.py::test_a_serum_without_a_result_is_in_no_line",
    ),
    _bug(
        "two writers of the feed take one number", "changes", "(number=changes_tip.c.number +",
        "(number=select(changes_tip.c.number).scalar_subquery() +",
        "test_changes.py::test_a_reader_beside_eight_writers_misses_none_and_sees_none_twice",
    ),
)  # fmt: skip
