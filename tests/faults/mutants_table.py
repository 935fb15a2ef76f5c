"""The planted bugs: each is a mistake that somebody has made, or would make, in exactly this place."""

from typing import Final

from tests.faults.mutants import Edit, Mutant
from tests.faults.mutants_batches import BATCHES
from tests.faults.mutants_deliveries import DELIVERIES


def _bug(name: str, module: str, old: str, new: str, caught_by: str) -> Mutant:
    return Mutant(name, (Edit(module, old, new),), caught_by)


_SYNC: Final = "tests/edge_agent/link/test_sync.py::"
_TALK: Final = "tests/edge_agent/link/test_conversation.py::"
_OUTBOX: Final = "tests/edge_agent/outbox/test_outbox.py::"
_INGEST: Final = "tests/central/intake/test_ingest.py::"
_SINGLE: Final = "        if code == NO_MATCHING_SUBSCRIBERS:\n            self._presence(online=False)"

DEVICE: Final = (
    _bug(
        "delete on the broker's acknowledgement", "edge_agent.link.conversation", _SINGLE,
        f"        if code == 0:\n            self._outbox.settle(reading_ids)\n{_SINGLE}",
        f"{_SYNC}test_the_brokers_own_word_settles_nothing",
    ),
    _bug(
        "delete on the broker's acknowledgement (simulated)", "edge_agent.link.conversation", _SINGLE,
        f"        if code == 0:\n            self._outbox.settle(reading_ids)\n{_SINGLE}", "seeds 1-20",
    ),
    _bug(
        "a rejection treated as an acceptance", "edge_agent.link.conversation",
        "self._outbox.quarantine(reading_id, rejection.code, rejection.detail)", "self._outbox.settle([reading_id])",
        f"{_SYNC}test_a_rejected_reading_is_set_aside_with_centrals_words",
    ),
    _bug(
        "a rejection treated as an acceptance (simulated)", "edge_agent.link.conversation",
        "self._outbox.quarantine(reading_id, rejection.code, rejection.detail)", "self._outbox.settle([reading_id])",
        "seeds 1-20",
    ),
    _bug(
        "an answer to another outbox settles", "edge_agent.link.conversation", "if ack.epoch != self._outbox.epoch:",
        "if False:", f"{_SYNC}test_an_acknowledgement_for_another_outbox_settles_nothing",
    ),
    _bug(
        "no account to another central", "edge_agent.link.conversation",
        "if status.online and status.instance != self._instance:", "if status.online and not self._instance:",
        f"{_TALK}test_another_central_is_accounted_to_anew_but_not_by_the_whole_fleet_at_once",
    ),
    _bug(
        "no account at all (simulated)", "edge_agent.link.conversation",
        "if self._ledger_due_s is None or now_s < self._ledger_due_s:", "if True:", "seeds 1-20",
    ),
    _bug(
        "an account whenever asked, however often", "edge_agent.link.conversation",
        "due_s = max(self._now_s() + delay_s, self._ledger_sent_s + LEDGER_AT_MOST_EVERY_S)",
        "due_s = self._now_s() + delay_s",
        f"{_TALK}test_however_often_central_asks_a_device_does_not_account_all_the_time",
    ),
    _bug(
        "an absent central is not waited for", "edge_agent.link.conversation",
        "size = SEND_WINDOW if online else PROBE_WINDOW", "size = SEND_WINDOW",
        f"{_SYNC}test_while_central_is_away_only_a_probe_goes_out",
    ),
    _bug(
        "the window never sends again", "edge_agent.link.window", "self.in_flight[one.id].resend_at_s <= now_s]",
        "self.in_flight[one.id].resend_at_s <= now_s - 1e9]",
        "tests/edge_agent/link/test_window.py::test_an_unanswered_reading_is_sent_again_later_each_time",
    ),
    _bug(
        "the window never sends again (simulated)", "edge_agent.link.window",
        "self.in_flight[one.id].resend_at_s <= now_s]", "self.in_flight[one.id].resend_at_s <= now_s - 1e9]",
        "seeds 1-20",
    ),
    _bug(
        "sent again without a bound", "protocol.delivery",
        "return min(FIRST_RETRY_S * 2.0 ** min(attempt - 1, 16), LONGEST_RETRY_S) * (1 + 0.2 * jitter)", "return 0.0",
        "tests/protocol/test_delivery.py::test_the_wait_grows_and_is_bounded",
    ),
    _bug(
        "more in flight than the window holds", "edge_agent.link.window",
        "return max(0, self.size - len(self.in_flight))", "return self.size",
        "tests/edge_agent/link/test_window.py::test_the_backlog_leaves_room_for_live_readings",
    ),
    _bug(
        "the backlog before what was just read", "edge_agent.link.window", "return overdue + live + backlog",
        "return overdue + backlog + live",
        "tests/edge_agent/link/test_window.py::test_live_readings_go_before_the_backlog_and_each_lane_in_order",
    ),
    _bug(
        "the backlog takes the whole window", "edge_agent.link.window", "KEPT_FOR_LIVE: Final = 4",
        "KEPT_FOR_LIVE: Final = 0",
        "tests/edge_agent/link/test_window.py::test_the_backlog_leaves_room_for_live_readings",
    ),
    _bug(
        "what central lacks after a restore is not sent again (simulated)", "protocol.delivery",
        "Event.UNANSWERED: State.SETTLED,\n        Event.MISSED: State.PENDING,",
        "Event.UNANSWERED: State.SETTLED,\n        Event.MISSED: State.SETTLED,", "seeds 1-40",
    ),
    _bug(
        "a quarantined reading never settles", "protocol.delivery",
        "committed is committed.\n        Event.ACCEPTED: State.SETTLED,",
        "committed is committed.\n        Event.ACCEPTED: State.QUARANTINED,",
        "tests/simulation/test_order.py::test_what_central_committed_is_settled_although_a_copy_of_it_was_refused",
    ),
    _bug(
        "settled by number, without the digest", "protocol.ledger",
        "if len(there) != told or day_digest(there) != held.digest:", "if len(there) != told:",
        "tests/protocol/test_ledger.py::test_nothing_is_settled_by_its_number_where_one_reading_is_another",
    ),
    _bug(
        "settled by number, without the digest (simulated)", "protocol.ledger",
        "if len(there) != told or day_digest(there) != held.digest:", "if len(there) != told:", "seeds 1-60",
    ),
    _bug(
        "an account without what is unsettled", "protocol.ledger",
        "ranges, sum(not entry.settled for entry in told), day_digest(told)", "ranges, 0, day_digest(told)",
        f"{_TALK}test_a_device_accounts_once_it_knows_that_central_is_there",
    ),
    _bug(
        "what was captured since the account is sent again", "protocol.ledger",
        "asked = [entry for entry in own if entry.seq <= held.through]", "asked = list(own)",
        "tests/protocol/test_ledger.py::test_a_reading_captured_and_accepted_since_the_account_is_left_alone",
    ),
    _bug(
        "synchronous NORMAL", "edge_agent.outbox.file", '"synchronous = FULL"', '"synchronous = NORMAL"',
        f"{_OUTBOX}test_settings_that_saved_rests_on_are_asserted",
    ),
    _bug(
        "the sequence is reset when the outbox is empty", "edge_agent.outbox.keeping",
        'seq = int(self.file.told("last_seq") or 0) + 1',
        'seq = self.file.rows("SELECT coalesce(max(seq), 0) + 1 AS n FROM readings")[0]["n"]',
        f"{_OUTBOX}test_the_epoch_stays_and_sequence_numbers_are_never_given_twice",
    ),
    Mutant(
        "the picture after the row",
        (
            Edit("edge_agent.outbox.keeping", "            write_durably(self.pictures / name, photograph)\n", ""),
            Edit(
                "edge_agent.outbox.keeping", "            self._unsaid.pop()\n",
                "            self._unsaid.pop()\n            write_durably(self.pictures / name, photograph)\n",
            ),
        ),
        f"{_OUTBOX}test_a_picture_that_cannot_be_written_leaves_no_row",
    ),
    _bug(
        "unsettled readings are pruned", "edge_agent.outbox.retention",
        "if row.state is not State.SETTLED or row.picture_needed:", "if False:",
        "tests/edge_agent/outbox/test_retention.py::test_nothing_that_central_lacks_is_ever_planned",
    ),
    _bug(
        "pictures of unsettled readings are pruned (simulated)", "edge_agent.outbox.retention",
        "if row.state is not State.SETTLED or row.picture_needed:", "if False:", "seeds 1-20",
    ),
    Mutant(
        "quarantined readings are pruned",
        (
            Edit(
                "edge_agent.outbox.retention", "if row.state is not State.SETTLED or row.picture_needed:",
                "if row.state is State.PENDING or row.picture_needed:",
            ),
            Edit("edge_agent.outbox.pruning", "(other.state != 'settled' OR", "(other.state = 'pending' OR"),
            Edit(
                "edge_agent.outbox.pruning", " WHERE state = 'settled' AND seq > ?",
                " WHERE state != 'pending' AND seq > ?",
            ),
            Edit(
                "edge_agent.outbox.pruning", "WHERE seq = ? AND state = ?\", [seq, State.SETTLED]",
                "WHERE seq = ?\", [seq]",
            ),
        ),
        "tests/simulation/test_order.py::test_pruning_keeps_what_was_set_aside_whatever_room_is_wanted",
    ),
    _bug(
        "a picture is pruned before it was uploaded", "edge_agent.outbox.retention",
        "if row.state is not State.SETTLED or row.picture_needed:", "if row.state is not State.SETTLED:",
        "tests/edge_agent/outbox/test_retention.py::test_nothing_that_central_lacks_is_ever_planned",
    ),
    _bug(
        "readings grow old by the reader's own clock", "edge_agent.outbox.outbox",
        "self._central_now = central_now or (lambda: clocks().at)", "self._central_now = lambda: clocks().at",
        "tests/edge_agent/outbox/test_pruning.py::test_a_clock_that_is_years_ahead_makes_nothing_old",
    ),
    _bug(
        "the digest is not checked before sending", "edge_agent.outbox.rows", '        if found != row["digest"]:',
        "        if False:", f"{_OUTBOX}test_a_damaged_row_is_set_aside_with_the_reason_and_never_sent",
    ),
    _bug(
        "a row's seal is not checked", "edge_agent.outbox.rows", '    if row["seal"] != expected:', "    if False:",
        "tests/edge_agent/outbox/test_file.py::test_whatever_is_wrong_in_a_row_the_rest_goes_on_and_nothing_leaves_altered",
    ),
    _bug(
        "the order is the clock's", "edge_agent.outbox.outbox", "AND {condition} ORDER BY seq LIMIT ?",
        "AND {condition} ORDER BY put_at LIMIT ?",
        "tests/simulation/test_order.py::test_readings_leave_in_the_order_of_their_numbers_whatever_the_clock_says",
    ),
    _bug(
        "a photograph is not synced", "edge_agent.durable", "        os.fsync(descriptor)\n    partial.replace(path)",
        "    partial.replace(path)",
        "tests/simulation/test_order.py::test_a_photograph_is_synced_before_it_has_its_name",
    ),
    _bug(
        "a photograph's name is not synced", "edge_agent.durable",
        "    partial.replace(path)\n    sync_folder(path.parent)\n", "    partial.replace(path)\n",
        "tests/simulation/test_order.py::test_a_photograph_is_synced_before_it_has_its_name",
    ),
    _bug(
        "the depth of the outbox lies", "edge_agent.outbox.backlog",
        'int(self._file.told("last_seq") or 0), sum(counts.values()), quarantined,',
        'int(self._file.told("last_seq") or 0), 0, quarantined,', f"{_OUTBOX}test_depth_counts_what_central_lacks",
    ),
)  # fmt: skip

CENTRAL: Final = (
    _bug(
        "answered although it was not committed", "central.intake.ingest",
        "        if not row_at_fault(error):\n            raise DatabaseUnavailableError(_brief(error)) from error\n"
        "    return _merge",
        "        if not row_at_fault(error):\n"
        "            sure = decide(plans, (), {each.device_id for each in plans})\n"
        "            return Outcome(answers(sure, (), now), (), 0, 0)\n"
        "    return _merge",
        f"{_INGEST}test_a_database_that_is_away_answers_nothing_and_keeps_nothing",
    ),
    _bug(
        "nothing is recognised (simulated)", "central.intake.decide",
        "by_id, by_place = {run.id: run for run in runs}, {run.place: run for run in runs}",
        "by_id: dict[str, HeldRun] = {}\n    by_place: dict[Place, HeldRun] = {}", "seeds 1-20",
    ),
    _bug(
        "nothing is recognised", "central.intake.decide",
        "by_id, by_place = {run.id: run for run in runs}, {run.place: run for run in runs}",
        "by_id: dict[str, HeldRun] = {}\n    by_place: dict[Place, HeldRun] = {}",
        "tests/central/intake/test_decide.py::test_what_is_here_is_accepted_again",
    ),
    _bug(
        "only lately accepted readings are recognised (simulated)", "central.intake.decide", "runs = tuple(held)",
        "runs = tuple(held)[:1]", "seeds 1-30",
    ),
    _bug(
        "a conflict overwrites", "central.intake.decide",
        "elif known is not None or each.place in by_place:", "elif False:",
        "tests/central/intake/test_decide.py::test_the_same_id_with_other_content_is_a_conflict_even_from_another_place",
    ),
    _bug(
        "a place may be taken twice (simulated)", "central.intake.decide",
        "elif known is not None or each.place in by_place:", "elif known is not None:", "seeds 1-60",
    ),
    _bug(
        "a conflict is accepted", "central.intake.decide", "known.digest == each.digest:", "known.digest:",
        f"{_INGEST}test_same_id_with_other_content_is_a_conflict",
    ),
    _bug(
        "two outboxes of a device are one", "central.intake.plan",
        'return self.device_id, self.epoch, int(self.row["seq"])', 'return self.device_id, "", int(self.row["seq"])',
        f"{_INGEST}test_the_same_sequence_number_in_another_epoch_is_another_reading",
    ),
    _bug(
        "another place of a run is forgotten", "central.intake.ingest",
        "        await _put_elsewhere(connection, decision.elsewhere)\n", "",
        "tests/central/intake/test_accounts.py::test_what_came_from_another_outbox_before_is_held_in_this_one_too",
    ),
    _bug(
        "a batch with one bad row is dropped whole", "central.intake.ingest",
        "return _merge([await _commit_alone(engine, each, now) for each in plans])", "return Outcome((), (), 0, 0)",
        f"{_INGEST}test_one_row_that_the_database_refuses_does_not_hold_up_the_others",
    ),
    _bug(
        "one bad row holds up the batch", "central.intake.ingest",
        "        if not row_at_fault(error):\n            raise DatabaseUnavailableError(_brief(error)) from error\n"
        "    return _merge",
        "        raise DatabaseUnavailableError(_brief(error)) from error\n    return _merge",
        f"{_INGEST}test_one_row_that_the_database_refuses_does_not_hold_up_the_others",
    ),
    _bug(
        "poison is answered and not kept", "central.intake.ingest",
        "        await keep_letters(connection, decision.refused, now)\n", "",
        f"{_INGEST}test_poison_is_kept_once_and_the_good_message_behind_it_is_accepted",
    ),
    _bug(
        "a device that was shut out is answered", "central.intake.ingest",
        "one_of(connection, devices.c.id, ids), devices.c.revoked_at.is_(None))",
        "one_of(connection, devices.c.id, ids))",
        f"{_INGEST}test_a_revoked_device_is_refused",
    ),
    _bug(
        "any device may deliver (simulated)", "central.intake.decide",
        "elif each.device_id not in enrolled:", "elif False:",
        "seeds 1-40",
    ),
    _bug(
        "a device that was shut out is told what is here", "central.intake.accounts",
        "devices.c.id == device_id, devices.c.revoked_at.is_(None))", "devices.c.id == device_id)",
        "tests/central/intake/test_accounts.py::test_nobody_but_an_enrolled_device_is_told_what_is_here",
    ),
    _bug(
        "the will of an older session is believed", "central.fleet.devices",
        "not status.online and status.session != known.session)", "False)",
        "tests/central/fleet/test_fleet.py::test_a_will_of_a_session_that_is_over_says_nothing",
    ),
    _bug(
        "the digest is not checked at ingest", "protocol.codec", "    if found != message.digest:", "    if False:",
        "tests/protocol/test_codec.py",
    ),
    _bug(
        "a message may name another device than its topic", "central.intake.plan",
        "    if envelope.device_id != device_id:", "    if False:", "tests/central/intake/test_plan.py",
    ),
    _bug(
        "a picture is taken without its digest", "central.results.images", "            if found != sha256:",
        "            if False:", "tests/central/results/test_images.py::test_other_bytes_than_promised_are_removed",
    ),
    _bug(
        "a picture has its name before it is whole", "central.results.images",
        "            part.seek(0)\n            found =",
        "            _part(whole).rename(whole)\n            part.seek(0)\n            found =",
        "tests/central/results/test_images.py::test_other_bytes_than_promised_are_removed",
    ),
    _bug(
        "central syncs only now and then", "central.db", '"PRAGMA synchronous = FULL"', '"PRAGMA synchronous = NORMAL"',
        "tests/central/test_db.py::test_sqlite_syncs_every_commit",
    ),
)  # fmt: skip

MUTANTS: Final = DEVICE + CENTRAL + BATCHES + DELIVERIES
