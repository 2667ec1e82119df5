"""Ways to spoil what a recording says of deliveries and handlers, each with the invariant that refuses it."""

from __future__ import annotations

from dataclasses import replace

from .doctored import answer, handled, told


def of(batch):
    return batch.results["b0"]


def tell_the_endpoint_nothing(h):
    h.told = [t for t in h.told if t.asked_by == "b0"]


def tell_the_callback_nothing(h):
    h.told = [t for t in h.told if t.asked_by != "b0"]


def count_what_was_refused_as_told(h):
    h.told = [t for t in h.told if not t.is_taken or t.asked_by == "b0"]


def tell_another_end(h):
    h.told.append(told(kind="batch.failed"))


def tell_the_end_of_a_deleted_batch_as_a_beginning(h):
    of(h).final, of(h).deleted_at, h.calls = None, 104.0, []
    h.told = [told(kind="batch.in_progress"), told("b0")]


def tell_of_a_stranger(h):
    h.told.append(told(batch="batch_1"))


def tell_who_did_not_ask(h):
    h.schedule = replace(h.schedule, callbacks=())


def make_another_event(h):
    h.told.append(told(event="evt_1"))


def name_another_event_in_the_header(h):
    h.told[0].headers["webhook-id"] = "evt_1"


def sign_another_body(h):
    h.told[0].body += " "


def sign_for_another(h):
    h.told[0].headers["webhook-signature"] = told("b0").headers["webhook-signature"]


def sign_nothing(h):
    h.told[0].headers.clear()


def leave_undelivered(h):
    h.at_rest = replace(h.at_rest, undelivered=("delivery 1 of batch_0: pending",))


def handle_nothing(h):
    h.handled.clear()


def handle_part(h):
    h.handled = [handled(of(h), stop=3)]


def lose_a_handled_line(h):
    h.handled[1].lines.pop()


def count_a_death_as_an_end(h):
    h.handled = [handled(of(h), stop=4)]


def handle_another_answer(h):
    h.handled[0].lines[0] = answer("b0/0") | {"error": "x"}


def handle_a_stranger(h):
    h.handled.append(handled(of(h), at=107.0, batch_id="batch_1"))


def handle_what_was_cancelled(h):
    of(h).final["status"] = "cancelled"


def handle_under_another_key(h):
    h.handled[1].key = "evt_1"


def handle_two_under_one_key(h):
    h.told.append(told(batch="batch_1"))


def skip_at_a_resumption(h):
    h.handled[1] = handled(of(h), start=2, at=106.0)


def forget_what_was_kept(h):
    h.handled[1].state = None


def begin_anew(h):
    h.handled.append(handled(of(h), at=107.0))


def disorder_what_is_handled(h):
    h.handled[0].lines.reverse()


def handle_twice_at_once(h):
    h.handled[1].began_at = 105.2


def end_too_early(h):
    h.handled.append(handled(of(h), start=1, stop=3, at=107.0, end="well"))


def log_no_handling(h):
    h.at_rest = replace(h.at_rest, handled=())


def log_two_handlings(h):
    h.at_rest = replace(h.at_rest, handled=h.at_rest.handled * 2)


def log_too_few_lines(h):
    h.at_rest = replace(h.at_rest, handled=(replace(h.at_rest.handled[0], lines_done=3),))


def log_that_it_was_given_up(h):
    h.at_rest = replace(h.at_rest, handled=(replace(h.at_rest.handled[0], state="given_up"),))


def log_a_handling_of_what_failed(h):
    of(h).final["status"] = "failed"


def leave_a_process(h):
    h.handlers_left = (4711,)


SPOILT_DELIVERIES = (
    (tell_the_endpoint_nothing, "every end is told"),
    (tell_the_callback_nothing, "every end is told"),
    (count_what_was_refused_as_told, "every end is told"),
    (tell_another_end, "what is told has happened"),
    (tell_the_end_of_a_deleted_batch_as_a_beginning, "what is told has happened"),
    (tell_of_a_stranger, "what is told has happened"),
    (tell_who_did_not_ask, "what is told has happened"),
    (make_another_event, "a batch has one event"),
    (name_another_event_in_the_header, "a batch has one event"),
    (sign_another_body, "what is told is signed"),
    (sign_for_another, "what is told is signed"),
    (sign_nothing, "what is told is signed"),
    (leave_undelivered, "nothing is left undelivered"),
    (handle_nothing, "every result is handled"),
    (handle_part, "every result is handled"),
    (lose_a_handled_line, "every result is handled"),
    (count_a_death_as_an_end, "every result is handled"),
    (handle_another_answer, "what is handled is in the files"),
    (handle_a_stranger, "what is handled is in the files"),
    (handle_what_was_cancelled, "what is handled is in the files"),
    (handle_under_another_key, "a batch has one event"),
    (handle_two_under_one_key, "a batch has one event"),
    (skip_at_a_resumption, "each attempt goes on behind a checkpoint"),
    (forget_what_was_kept, "each attempt goes on behind a checkpoint"),
    (begin_anew, "each attempt goes on behind a checkpoint"),
    (disorder_what_is_handled, "each attempt goes on behind a checkpoint"),
    (handle_twice_at_once, "each attempt goes on behind a checkpoint"),
    (end_too_early, "each attempt goes on behind a checkpoint"),
    (log_no_handling, "the log tells what was handled"),
    (log_two_handlings, "the log tells what was handled"),
    (log_too_few_lines, "the log tells what was handled"),
    (log_that_it_was_given_up, "the log tells what was handled"),
    (log_a_handling_of_what_failed, "the log tells what was handled"),
    (leave_a_process, "no handler outlives its deliverer"),
)
