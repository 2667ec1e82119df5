"""What must hold after every history: small pure functions over what was recorded.

Each yields one sentence a breach, naming the line or the batch. `broken` runs them all. The rules about
sending lines again are in `resends`, those about the API in `answers`, those about webhooks in `deliveries`,
those about the handler of results in `handled`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from .answers import (
    no_answer_is_dishonest,
    the_gateway_answers_unless_it_is_down,
    what_clients_see_only_moves_forward,
)
from .deliveries import (
    a_batch_has_one_event,
    every_end_is_told,
    nothing_is_left_undelivered,
    what_is_told_has_happened,
    what_is_told_is_signed,
)
from .faults import REFUSAL, SICK, Fate
from .handled import (
    each_attempt_goes_on_behind_a_checkpoint,
    every_result_is_handled,
    no_handler_outlives_its_deliverer,
    the_log_tells_what_was_handled,
    what_is_handled_is_in_the_files,
)
from .history import History, Result
from .resends import (
    cost_a_try,
    nothing_starts_after_a_cancel,
    nothing_that_is_settled_is_sent_again,
    what_is_sent_again_is_explained,
)
from .schedule import Intake

_CANCELS = frozenset({"POST /v1/batches/{id}/cancel", "DELETE /v1/batches/{id}"})
_UNRUN = {"batch_cancelled": "cancelled", "batch_expired": "expired"}
_ENOUGH_FAULTS = 3
"""A line that was dealt fewer is never given up."""


@dataclass(frozen=True, slots=True)
class Breach:
    """One invariant that did not hold."""

    invariant: str
    what: str


def broken(history: History) -> list[Breach]:
    """Check every invariant; return the breaches, at most a few of each kind."""
    return [
        Breach(invariant.__name__.replace("_", " "), what)
        for invariant in INVARIANTS
        for what in list(invariant(history))[:5]
    ]


def _fetched(history: History) -> Iterator[tuple[Result, list[dict], list[dict]]]:
    for result in history.results.values():
        if result.final is not None and result.output is not None and result.error is not None:
            yield result, result.output, result.error


def every_history_ends(history: History) -> Iterator[str]:
    """No batch, process or request hangs."""
    if history.stuck:
        yield history.stuck


def each_line_is_in_one_file_once(history: History) -> Iterator[str]:
    """Output ⊎ error = input, both in input order."""
    for result, output, error in _fetched(history):
        found = Counter(line["custom_id"] for line in output + error)
        wanted = Counter(result.custom_ids)
        if result.final["status"] == "failed":
            continue
        if result.final["status"] == "cancelled" and not result.final["request_counts"]["total"]:
            wanted = Counter()  # cancelled before it was validated: it has no lines yet
        for custom_id in wanted - found:
            yield f"{result.name}: {custom_id} is lost"
        for custom_id in found - wanted:
            yield f"{result.name}: {custom_id} is there {found[custom_id]} times"
        place = {custom_id: n for n, custom_id in enumerate(result.custom_ids)}
        for name, lines in (("output", output), ("error", error)):
            order = [place.get(line["custom_id"], -1) for line in lines]
            if order != sorted(order):
                yield f"{result.name}: the {name} file is not in input order"


def answers_belong_to_their_lines(history: History) -> Iterator[str]:
    """The tag that the model server echoed is that of the line."""
    for result, output, error in _fetched(history):
        tags = dict(zip(result.custom_ids, result.tags, strict=True))
        for line in output:
            tag = tags.get(line["custom_id"])
            try:
                text = line["response"]["body"]["choices"][0]["message"]["content"]
            except (KeyError, IndexError, TypeError):
                yield f"{result.name}: {line['custom_id']} has no answer in the output file"
                continue
            if text != tag:
                yield f"{result.name}: {line['custom_id']} ({tag}) got the answer of {text}"
            if not _was_sent(history, tag):
                yield f"{result.name}: {line['custom_id']} was answered and never sent"
        for line in error:
            has_body = line.get("response") is not None or line.get("error") is not None
            if not has_body:
                yield f"{result.name}: {line['custom_id']} failed without saying why"


def _was_sent(history: History, tag: str | None) -> bool:
    return any(send.tag == tag for send in history.sends)


def lines_fail_only_for_a_reason(history: History) -> Iterator[str]:
    """Refused lines fail as they were refused; others only if enough went wrong with them."""
    plans = {plan.name: plan for plan in history.schedule.batches}
    dealt = _own_faults(history)
    for result, output, error in _fetched(history):
        tags = dict(zip(result.custom_ids, result.tags, strict=True))
        for line in output:
            plan = _plan(plans, tags.get(line["custom_id"]))
            if plan is not None and plan.fate is not Fate.ANSWERED:
                yield f"{result.name}: {line['custom_id']} was to be {plan.fate} and succeeded"
        for line in error:
            tag = tags.get(line["custom_id"])
            plan = _plan(plans, tag)
            if plan is None or _ended_unrun(line, result):
                continue
            status = (line.get("response") or {}).get("status_code")
            match plan.fate:
                case Fate.REFUSED if status != 400 and dealt[tag] < _ENOUGH_FAULTS:
                    yield f"{result.name}: {line['custom_id']} was refused with 400, not {status}"
                case Fate.BROKEN if status != 500 and dealt[tag] < _ENOUGH_FAULTS:
                    yield f"{result.name}: {line['custom_id']} got 500 always, not {_why(line)}"
                case Fate.ANSWERED if dealt[tag] < _ENOUGH_FAULTS:
                    yield (
                        f"{result.name}: {line['custom_id']} failed after {dealt[tag]} faults: "
                        f"{_why(line)}"
                    )


def no_line_fails_for_a_servers_fault(history: History) -> Iterator[str]:
    """A line that a sick server had ends as if it had never been there."""
    plans = {plan.name: plan for plan in history.schedule.batches}
    dealt = _own_faults(history)
    sick = {send.tag: send.dealt for send in history.sends if send.dealt in SICK}
    for result, _, error in _fetched(history):
        tags = dict(zip(result.custom_ids, result.tags, strict=True))
        for line in error:
            tag = tags.get(line["custom_id"])
            plan = _plan(plans, tag)
            if plan is None or tag not in sick or _ended_unrun(line, result):
                continue
            status = (line.get("response") or {}).get("status_code")
            is_own = plan.fate is not Fate.ANSWERED or dealt[tag] >= _ENOUGH_FAULTS
            is_foreign = plan.fate is Fate.REFUSED and status == 400 and REFUSAL not in _why(line)
            if not is_own or is_foreign:
                yield f"{result.name}: {line['custom_id']} failed, {sick[tag]}: {_why(line)}"


def _own_faults(history: History) -> Counter[str]:
    """Count what went wrong with each line itself; what a sick server answers did not."""
    return Counter(send.tag for send in history.sends if cost_a_try(history, send))


def _plan(plans, tag):
    if tag is None:
        return None
    batch, _, index = tag.partition("/")
    return plans[batch].line(int(index)) if batch in plans else None


def _ended_unrun(line, result) -> bool:
    code = (line.get("error") or {}).get("code")
    return code in _UNRUN and result.final["status"] == _UNRUN[code]


def _why(line) -> str:
    return str(line.get("error") or (line.get("response") or {}).get("body"))[:200]


def counts_are_those_of_the_files(history: History) -> Iterator[str]:
    """The counts at the end are what the files hold."""
    for result, output, error in _fetched(history):
        counts = result.final["request_counts"]
        failed = sum(not _ended_unrun(line, result) for line in error)
        found = (len(output), failed)
        if (counts["completed"], counts["failed"]) != found:
            yield f"{result.name}: counts {counts}, the files hold {found[0]} and {found[1]}"
        if counts["total"] not in {len(result.custom_ids), 0}:
            yield f"{result.name}: {counts['total']} in all of {len(result.custom_ids)} lines"
        if result.final["status"] == "completed" and sum(found) != counts["total"]:
            yield f"{result.name} is completed with {sum(found)} of {counts['total']} lines"


def batches_end_as_they_must(history: History) -> Iterator[str]:
    """Valid batches complete, unless they were cancelled or their window was over."""
    windows = {plan.name: plan.window for plan in history.schedule.batches}
    opened = {plan.name for plan in history.schedule.batches if plan.intake is Intake.OPEN}
    for result in history.results.values():
        if result.final is None:
            if result.deleted_at is None and not history.stuck:
                yield f"{result.name} was never seen to end"
            continue
        status = result.final["status"]
        allowed = {"completed"}
        if result.cancelled_at is not None:
            allowed = {"cancelled"}
        elif _was_asked_to_cancel(history, result.name):
            allowed |= {"cancelled"}
        if windows.get(result.name.partition("-")[0], "24h") != "24h":  # a retry's is its parent's
            allowed |= {"expired"}
        if not result.final["request_counts"]["total"] and result.name in opened:
            allowed |= {"failed"}  # its window was over before a request was added
        if status not in allowed:
            yield f"{result.name} ended {status}: {result.final.get('errors')}"


def _was_asked_to_cancel(history: History, name: str) -> bool:
    return any(call.batch == name and call.verb in _CANCELS for call in history.calls)


def rows_agree_at_every_moment(history: History) -> Iterator[str]:
    """Counters, slices and outcomes tell the same, in any snapshot; outcomes only ever come."""
    before: dict[str, frozenset[int]] = {}
    for look in history.looks:
        for name, lines in look.settled.items():
            if not len(lines) == look.counted[name] == look.in_slices[name]:
                yield (
                    f"{name}: {len(lines)} outcomes, {look.counted[name]} counted, "
                    f"{look.in_slices[name]} in its slices"
                )
            for line in before.get(name, frozenset()) - lines:
                yield f"{name}: the outcome of line {line} is gone"
            before[name] = lines


def a_create_makes_one_batch(history: History) -> Iterator[str]:
    """A create that is sent again under its key makes no second batch; none appears or vanishes."""
    known = set()
    for result in history.results.values():
        if len(set(result.created)) > 1:
            # deleted meanwhile, its key is refused with 409
            again = [answer for answer in set(result.created) if answer != result.batch_id]
            if result.deleted_at is None or not all(a.startswith("409") for a in again):
                yield f"{result.name} was created as {', '.join(result.created)}"
        if result.deleted_at is None:
            known.add(result.batch_id)
    if history.at_rest is None or history.stuck:
        return
    for name, found in (("listed", history.listed), ("stored", history.at_rest.batches)):
        if found != known:
            yield f"{name} are {sorted(found)}, of which clients know {sorted(known)}"


def the_database_is_whole(history: History) -> Iterator[str]:
    """PRAGMA integrity_check, after everything was stopped."""
    if history.at_rest is not None and history.at_rest.integrity != "ok":
        yield history.at_rest.integrity


def files_and_rows_belong_together(history: History) -> Iterator[str]:
    """Bytes that rows name are there with their size; others only where a crash left them."""
    rest = history.at_rest
    if rest is None:
        return
    yield from (f"missing: {what}" for what in rest.missing)
    if rest.rows_left:
        yield f"housekeeping never took {dict(rest.rows_left)}"
    if rest.temporary:
        yield f"unfinished files are left: {', '.join(rest.temporary[:5])}"
    if rest.unnamed and history.orphans_were_due:
        yield f"no row names {', '.join(rest.unnamed[:5])}, and they were not collected"
    elif rest.unnamed and not _was_cut(history):
        yield f"no row names {', '.join(rest.unnamed[:5])}, and nothing was cut"


def _was_cut(history: History) -> bool:
    """Tell whether anything was cut between its bytes and its rows: a death, a failure, a full disk."""
    cut = any(
        d.kind in {"full", "read-only", "rival", "busy"}
        or (d.kind == "down" and d.code and d.target != "deliverer")  # who writes no bytes
        for d in history.disturbances
    )
    return cut or any(action in {"crash", "error", "torn"} for _, action in history.fired)


def fsck_finds_nothing_wrong(history: History) -> Iterator[str]:
    """Every check of the product's own proof holds, after everything was stopped."""
    if history.at_rest is not None:
        yield from history.at_rest.damage


def a_backup_is_whole(history: History) -> Iterator[str]:
    """What was made while everything happened stands by itself; only a disk that refuses excuses none."""
    for backup in history.backups:
        yield from backup.damage
        crashed = backup.code == -9 and any("backup" in point for point, _ in history.fired)
        failed = any("backup" in point and action == "error" for point, action in history.fired)
        refused = any(
            d.kind in {"full", "read-only"} and d.overlaps(backup.began_at, backup.ended_at)
            for d in history.disturbances
        )
        if backup.code and not (crashed or failed or refused):
            yield f"the backup ended with {backup.code}"
    if history.backups and history.backups[-1].code == -9:
        yield "the backup after one that was killed was killed too"


def processes_end_only_when_told(history: History) -> Iterator[str]:
    """No process dies by itself, and each leaves in peace when it is asked to."""
    crashes = sum(action in {"crash", "torn"} for _, action in history.fired)
    excuses = any(action == "error" for _, action in history.fired) or any(
        d.kind in {"full", "read-only"} for d in history.disturbances
    )
    for d in history.disturbances:
        if d.kind == "stopped" and d.code:
            why = "had to be killed" if d.code == -999 else f"ended with {d.code}"
            yield f"{d.target} {why} when it was to stop"
        if d.kind != "down" or d.is_bidden or d.code is None:
            continue
        if d.code == -9 and crashes:
            crashes -= 1
        elif not (d.code == 1 and excuses):
            yield f"{d.target} died by itself ({d.code})"


def logs_hold_no_traceback(history: History) -> Iterator[str]:
    """A traceback is a fault that nobody foresaw; an armed failpoint's own is none."""
    for name, text in history.logs.items():
        for part in text.split("Traceback (most recent call last):")[1:]:
            last = next((x for x in part.splitlines()[1:] if x and not x[0].isspace()), "")
            if "is armed with an error" not in part:
                yield f"{name}: {last or part[-200:]}"


INVARIANTS: tuple[Callable[[History], Iterator[str]], ...] = (
    every_history_ends,
    each_line_is_in_one_file_once,
    answers_belong_to_their_lines,
    lines_fail_only_for_a_reason,
    no_line_fails_for_a_servers_fault,
    counts_are_those_of_the_files,
    batches_end_as_they_must,
    rows_agree_at_every_moment,
    a_create_makes_one_batch,
    nothing_that_is_settled_is_sent_again,
    what_is_sent_again_is_explained,
    nothing_starts_after_a_cancel,
    what_clients_see_only_moves_forward,
    no_answer_is_dishonest,
    the_gateway_answers_unless_it_is_down,
    the_database_is_whole,
    files_and_rows_belong_together,
    fsck_finds_nothing_wrong,
    a_backup_is_whole,
    every_end_is_told,
    what_is_told_has_happened,
    a_batch_has_one_event,
    what_is_told_is_signed,
    nothing_is_left_undelivered,
    every_result_is_handled,
    what_is_handled_is_in_the_files,
    each_attempt_goes_on_behind_a_checkpoint,
    the_log_tells_what_was_handled,
    no_handler_outlives_its_deliverer,
    processes_end_only_when_told,
    logs_hold_no_traceback,
)
