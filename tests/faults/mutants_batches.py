"""The planted bugs of batches: a backlog travels many readings to a message, and each must be treated as if alone."""

from typing import Final

from tests.faults.mutants import Edit, Mutant


def _bug(name: str, module: str, old: str, new: str, caught_by: str) -> Mutant:
    return Mutant(name, (Edit(module, old, new),), caught_by)


_SYNC: Final = "tests/edge_agent/link/test_sync.py::"
_WINDOW: Final = "tests/edge_agent/link/test_window.py::"
_PLAN: Final = "tests/central/intake/test_plan.py::"
_SETTLE: Final = "        self._outbox.settle(ack.accepted)\n"
_ENCLOSED: Final = "document = delivery.envelope if isinstance(delivery, Enclosed) else decompress(delivery.payload)"

BATCHES: Final = (
    _bug(
        "an answer to some of a batch is taken for all of it", "edge_agent.link.conversation", _SETTLE,
        "        self._outbox.settle(self._window.in_flight if len(ack.accepted) > 1 else ack.accepted)\n",
        f"{_SYNC}test_of_a_batch_each_reading_has_an_answer_of_its_own",
    ),
    _bug(
        "an answer to some of a batch is taken for all of it (simulated)", "edge_agent.link.conversation", _SETTLE,
        "        self._outbox.settle(self._window.in_flight if len(ack.accepted) > 1 else ack.accepted)\n",
        "seeds 1-20",
    ),
    _bug(
        "what is refused of a batch is settled with the rest", "edge_agent.link.conversation", _SETTLE,
        "        self._outbox.settle([*ack.accepted, *(no.id for no in ack.rejected if no.id and ack.accepted)])\n",
        f"{_SYNC}test_of_a_batch_each_reading_has_an_answer_of_its_own",
    ),
    _bug(
        "an answer to some of a batch makes room for all of it", "edge_agent.link.conversation",
        "        answered = list(ack.accepted)\n", "        answered = list(self._window.in_flight)\n",
        f"{_SYNC}test_of_a_batch_each_reading_has_an_answer_of_its_own",
    ),
    _bug(
        "the order within a batch is turned round", "edge_agent.link.conversation",
        "batches[-1].append((one, envelope))", "batches[-1].insert(0, (one, envelope))",
        f"{_SYNC}test_a_backlog_goes_in_batches_to_a_central_that_takes_them",
    ),
    _bug(
        "what was just read waits for company", "edge_agent.link.conversation",
        "self._batches and one.historical and ", "self._batches and ",
        f"{_SYNC}test_a_backlog_goes_in_batches_to_a_central_that_takes_them",
    ),
    _bug(
        "a batch to a central that takes none", "edge_agent.link.conversation",
        "self._batches and one.historical and ", "one.historical and ",
        f"{_SYNC}test_a_central_that_says_nothing_of_batches_gets_none",
    ),
    _bug(
        "what holds up its batch is never sent alone", "edge_agent.link.conversation",
        " and self._window.attempts(one.id) < SENT_TOGETHER", "", f"{_SYNC}test_what_got_no_answer_twice_goes_alone",
    ),
    _bug(
        "a batch without a bound", "edge_agent.link.conversation",
        "len(batches[-1]) == MOST_IN_BATCH or size > MOST_BATCH_BYTES", "False",
        f"{_SYNC}test_a_batch_is_bounded_in_number_and_in_bytes",
    ),
    _bug(
        "the window never shrinks", "edge_agent.link.window",
        "            return max(SEND_WINDOW, self.size // 2)\n", "            return self.size\n",
        f"{_WINDOW}test_a_window_widens_while_answers_are_quick_and_halves_when_one_is_slow",
    ),
    _bug(
        "a slow central is sent everything twice", "edge_agent.link.window",
        "return window._patient(2 * max(waits_s)) if waits_s else window", "return window",
        f"{_WINDOW}test_patience_goes_as_it_came_and_is_bounded",
    ),
    _bug(
        "one bad reading of a batch refuses all of it", "central.intake.plan",
        "        return [plan(one, now) for one in _enclosed(delivery)]\n",
        "        plans = [plan(one, now) for one in _enclosed(delivery)]\n"
        "        bad = [each for each in plans if isinstance(each, Refused)]\n"
        "        return [refuse(delivery, bad[0].code, bad[0].detail)] if bad else plans\n",
        f"{_PLAN}test_a_batch_is_planned_reading_by_reading_as_if_each_had_come_alone",
    ),
    _bug(
        "the digest is not checked within a batch", "central.intake.plan", _ENCLOSED,
        f"{_ENCLOSED}\n        if isinstance(delivery, Enclosed):\n"
        "            from protocol.codec import digest\n"
        "            believed = decode_document(document, ReadingEnvelope)\n"
        "            document = as_json(msgspec.structs.replace(believed, digest=digest(bytes(believed.reading))))",
        f"{_PLAN}test_a_reading_that_was_altered_on_its_way_is_refused_among_others_too",
    ),
    _bug(
        "a batch may speak for another device", "central.intake.plan", "    if batch.device_id != device_id:",
        "    if False:", f"{_PLAN}test_a_batch_that_is_none_is_refused_once",
    ),
    _bug(
        "what is twice in one batch is two runs", "central.intake.decide",
        "            by_id[each.id] = by_place[each.place] = run\n", "",
        "tests/central/intake/test_ingest.py::test_a_reading_that_is_twice_in_one_message_is_one_run",
    ),
)  # fmt: skip
