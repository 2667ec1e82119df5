"""Each invariant can fail: a recording in which everything holds is spoilt in one way, and refused."""

from __future__ import annotations

from dataclasses import replace

import pytest

from chaos.doctored import KEY_REFUSED, answer, batch_object, calls, history, refusal, unrun
from chaos.faults import Fate
from chaos.history import AtRest, Backup, Call, Disturbance, Look, Send
from chaos.invariants import INVARIANTS, broken
from chaos.spoilt_deliveries import SPOILT_DELIVERIES


def of(batch):
    return batch.results["b0"]


def lose_a_line(h):
    of(h).output.pop()
    of(h).final = batch_object(completed=2, total=3)


def answer_twice(h):
    of(h).output.append(answer("b0/3"))


def answer_and_refuse(h):
    of(h).error.append(refusal("b0/3"))


def disorder(h):
    of(h).output.reverse()


def swap_answers(h):
    of(h).output[0]["response"], of(h).output[1]["response"] = (
        of(h).output[1]["response"],
        of(h).output[0]["response"],
    )


def answer_unsent(h):
    h.sends = [s for s in h.sends if s.tag != "b0/0"]


def fail_without_words(h):
    of(h).error[0] |= {"response": None, "error": None}


def fail_after_one_fault(h):
    of(h).error.insert(0, refusal("b0/1", 500))
    of(h).output.pop(1)


def answer_what_is_refused(h):
    of(h).output.insert(2, answer("b0/2"))
    of(h).error.clear()


def refuse_as_500(h):
    of(h).error[0] = refusal("b0/2", 500)


def fail_for_the_key(h):
    of(h).error.insert(0, refusal("b0/0", 401, "Unauthorized"))
    of(h).output.pop(0)


def refuse_in_the_words_of_a_sick_server(h):
    h.sends.insert(0, Send("b0/2", 1, 100.9, KEY_REFUSED, 100.9, "broken"))
    of(h).error[0] = refusal("b0/2", message="Out of range float values are not JSON compliant")


def call_it_expired(h):
    of(h).error[0] = unrun("b0/2", "batch_expired")


def miscount(h):
    of(h).final = batch_object(completed=2)


def miscount_failures(h):
    of(h).final = batch_object(failed=0, total=3)


def complete_early(h):
    of(h).final = batch_object(total=5)


def grow(h, **fields):
    """The batch has a line less when it is first seen in progress."""
    h.calls[1].body["request_counts"] |= {"total": 3}
    h.calls[1].body.update(fields)


def fail_the_batch(h):
    of(h).final = batch_object("failed")


def never_end(h):
    of(h).final = None


def complete_what_was_cancelled(h):
    of(h).cancelled_at = 102.0


def disagree(h):
    h.looks[0] = Look(102.1, {"b0": frozenset({0, 1})}, {"b0": 3}, {"b0": 3})


def disagree_in_slices(h):
    h.looks[0] = replace(h.looks[0], in_slices={"b0": 2})


def forget_an_outcome(h):
    h.looks.append(Look(105.0, {"b0": frozenset({0, 1, 3})}, {"b0": 3}, {"b0": 3}))


def make_two(h):
    of(h).created.append("batch_1")


def show_a_stranger(h):
    h.listed |= {"batch_1"}


def store_nothing(h):
    h.at_rest = replace(h.at_rest, batches=frozenset())


def send_the_settled(h):
    h.sends.append(Send("b0/0", 0, 103.5, Fate.ANSWERED, 103.6, "delivered"))


def send_again_for_nothing(h):
    h.looks.clear()
    h.sends.append(Send("b0/0", 0, 101.2, Fate.ANSWERED, 101.3, "delivered"))


def ask_for_a_third_opinion(h):
    h.looks.clear()
    h.disturbances.clear()
    h.sends = [s for s in h.sends if s.tag != "b0/3"]
    h.sends.append(Send("b0/2", 2, 101.4, Fate.REFUSED, 101.5, "delivered"))


def ask_the_same_server_again(h):
    ask_for_a_third_opinion(h)
    h.sends = [s for s in h.sends if s.tag != "b0/2" or s.upstream == 0]
    h.sends.append(Send("b0/2", 0, 101.2, Fate.REFUSED, 101.3, "delivered"))


def excuse_others_with_a_sick_server(h):
    send_again_for_nothing(h)
    h.disturbances.append(Disturbance("sick", "upstream0", 100.0, 103.0))


def send_after_cancel(h):
    of(h).cancelled_at = 101.0
    h.disturbances.clear()


def uncount(h):
    h.calls = calls(batch_object("in_progress", completed=2), batch_object(completed=1))


def rise_again(h):
    h.calls += calls(batch_object("in_progress"))


def change_at_rest(h):
    h.calls += calls(batch_object(output_file_id="file-2"))


def go_back(h):
    h.calls = calls(batch_object("finalizing"), batch_object("in_progress"))


def age_backwards(h):
    h.calls = calls(batch_object(in_progress_at=9))


def answer_500(h):
    h.calls.append(Call("GET /v1/batches", 102, 102.1, 500))


def answer_html(h):
    h.calls.append(Call("GET /v1/batches", 102, 102.1, 503, "not OpenAI's error object: ''"))


def answer_503_idly(h):
    h.calls.append(Call("GET /v1/batches", 120, 120.1, 503))


def refuse_a_good_request(h):
    h.calls.append(Call("POST /v1/files", 102, 102.1, 400))


def say_nothing(h):
    h.calls.append(Call("GET /v1/batches", 102, 102.1, None, "ServerDisconnected"))


def corrupt(h):
    h.at_rest = replace(h.at_rest, integrity="row 3 missing from index")


def lose_bytes(h):
    h.at_rest = replace(h.at_rest, missing=("files/x",))


def leave_bytes(h):
    h.disturbances.clear()
    h.at_rest = replace(h.at_rest, unnamed=("files/x",))


def excuse_bytes_with_a_deliverer_that_died(h):
    h.disturbances = [Disturbance("down", "deliverer", 102.0, 103.0, is_bidden=True, code=-9)]
    h.at_rest = replace(h.at_rest, unnamed=("files/x",))


def keep_orphans(h):
    h.orphans_were_due = True
    h.at_rest = replace(h.at_rest, unnamed=("files/x",))


def leave_rows(h):
    h.at_rest = AtRest("ok", rows_left={"slices": 1}, batches=h.at_rest.batches)


def leave_temporary(h):
    h.at_rest = replace(h.at_rest, temporary=("tmp/x",))


def damage(h):
    h.at_rest = replace(h.at_rest, damage=("counts of batch_0: it counts 3, there are 4",))


def back_up_damage(h):
    h.backups.append(Backup(102, 103, 0, ("segments of batch_0: one is gone",)))


def fail_to_back_up(h):
    h.backups.append(Backup(102, 103, 4))


def die(h):
    h.disturbances.append(Disturbance("down", "gateway", 102, 103, is_bidden=False, code=-9))


def give_up(h):
    h.disturbances.append(Disturbance("down", "gateway", 102, 103, is_bidden=False, code=1))


def cling(h):
    h.disturbances.append(Disturbance("stopped", "gateway", 110, 130, code=-999))


def break_loudly(h):
    h.logs["gateway.log"] = "Traceback (most recent call last):\n  File x\nKeyError: 1\n"


def hang(h):
    h.stuck = "it did not end within 90 s"


SPOILT = [
    (hang, "every history ends"),
    (lose_a_line, "each line is in one file once"),
    (answer_twice, "each line is in one file once"),
    (answer_and_refuse, "each line is in one file once"),
    (disorder, "each line is in one file once"),
    (swap_answers, "answers belong to their lines"),
    (answer_unsent, "answers belong to their lines"),
    (fail_without_words, "answers belong to their lines"),
    (fail_after_one_fault, "lines fail only for a reason"),
    (answer_what_is_refused, "lines fail only for a reason"),
    (refuse_as_500, "lines fail only for a reason"),
    (fail_for_the_key, "no line fails for a servers fault"),
    (refuse_in_the_words_of_a_sick_server, "no line fails for a servers fault"),
    (call_it_expired, "lines fail only for a reason"),
    (miscount, "counts are those of the files"),
    (miscount_failures, "counts are those of the files"),
    (complete_early, "counts are those of the files"),
    (fail_the_batch, "batches end as they must"),
    (never_end, "batches end as they must"),
    (complete_what_was_cancelled, "batches end as they must"),
    (disagree, "rows agree at every moment"),
    (disagree_in_slices, "rows agree at every moment"),
    (forget_an_outcome, "rows agree at every moment"),
    (make_two, "a create makes one batch"),
    (show_a_stranger, "a create makes one batch"),
    (store_nothing, "a create makes one batch"),
    (send_the_settled, "nothing that is settled is sent again"),
    (send_again_for_nothing, "what is sent again is explained"),
    (ask_for_a_third_opinion, "what is sent again is explained"),
    (ask_the_same_server_again, "what is sent again is explained"),
    (excuse_others_with_a_sick_server, "what is sent again is explained"),
    (send_after_cancel, "nothing starts after a cancel"),
    (uncount, "what clients see only moves forward"),
    (rise_again, "what clients see only moves forward"),
    (grow, "what clients see only moves forward"),
    (change_at_rest, "what clients see only moves forward"),
    (go_back, "what clients see only moves forward"),
    (age_backwards, "what clients see only moves forward"),
    (answer_500, "no answer is dishonest"),
    (answer_html, "no answer is dishonest"),
    (answer_503_idly, "no answer is dishonest"),
    (refuse_a_good_request, "no answer is dishonest"),
    (say_nothing, "the gateway answers unless it is down"),
    (corrupt, "the database is whole"),
    (lose_bytes, "files and rows belong together"),
    (leave_bytes, "files and rows belong together"),
    (keep_orphans, "files and rows belong together"),
    (leave_rows, "files and rows belong together"),
    (leave_temporary, "files and rows belong together"),
    (damage, "fsck finds nothing wrong"),
    (back_up_damage, "a backup is whole"),
    (fail_to_back_up, "a backup is whole"),
    (excuse_bytes_with_a_deliverer_that_died, "files and rows belong together"),
    (die, "processes end only when told"),
    (give_up, "processes end only when told"),
    (cling, "processes end only when told"),
    (break_loudly, "logs hold no traceback"),
    *SPOILT_DELIVERIES,
]


def test_a_history_in_which_everything_holds_passes():
    """The kill and the fault in it explain what was sent again."""
    assert broken(history()) == []


def test_an_open_batch_may_grow():
    """Until it is closed."""
    recorded = history()

    grow(recorded, open=True)

    assert broken(recorded) == []


@pytest.mark.parametrize(("spoil", "invariant"), SPOILT, ids=[s.__name__ for s, _ in SPOILT])
def test_a_spoilt_recording_is_refused(spoil, invariant):
    """By the invariant that is about it."""
    recorded = history()

    spoil(recorded)

    assert invariant in {breach.invariant for breach in broken(recorded)}


def test_every_invariant_is_shown_to_be_able_to_fail():
    """None is left without a recording that it refuses."""
    names = {invariant.__name__.replace("_", " ") for invariant in INVARIANTS}

    assert names == {invariant for _, invariant in SPOILT}
