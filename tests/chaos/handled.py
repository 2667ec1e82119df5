"""Invariants about the handler of results: it gets all of each batch that has some, and nothing else.

That its idempotency key is the id of the event is among those about `deliveries`.
"""

from __future__ import annotations

from collections.abc import Iterator

from .history import Handled, History, Noted, Result

_WITH_RESULTS = frozenset({"completed", "expired"})
_WELL = "well"


def every_result_is_handled(history: History) -> Iterator[str]:
    """Each line of a batch that completed or expired, at least once, and to the end."""
    if history.stuck or history.schedule.handling is None:
        return
    for result in _handed_over(history):
        runs = _runs_of(history, result)
        if not any(run.end == _WELL for run in runs):
            yield f"{result.name}: its handler never got to the end"
        handled = {line.get("custom_id") for run in runs for line in run.lines}
        for line in (*result.output, *result.error):
            if line["custom_id"] not in handled:
                yield f"{result.name}: {line['custom_id']} was never handled"


def what_is_handled_is_in_the_files(history: History) -> Iterator[str]:
    """Line by line, of batches that clients know and that ended with results."""
    results = {result.batch_id: result for result in history.results.values() if result.batch_id}
    for run in history.handled:
        if (result := results.get(run.batch_id)) is None:
            yield f"the handler got {run.batch_id}, which nobody made"
            continue
        if result.final is None or result.output is None or result.error is None:
            continue  # its client deleted it first
        if result.final["status"] not in _WITH_RESULTS:
            yield f"the handler got {result.name}, which ended {result.final['status']}"
        lines = {line["custom_id"]: line for line in (*result.output, *result.error)}
        for line in run.lines:
            if lines.get(line.get("custom_id")) != line:
                yield f"{result.name}: the handler got {line}, which is in none of its files"


def each_attempt_goes_on_behind_a_checkpoint(history: History) -> Iterator[str]:
    """With what it kept; it gets all that follows, in input order, and no two are under way at once."""
    for result in history.results.values():
        kept, ended_at = {0: None}, 0.0
        least = 0
        for run in _runs_of(history, result):
            if run.start not in kept or run.state != kept[run.start] or run.start < least:
                yield f"{result.name}: an attempt began at {run.start} with {run.state}"
            if run.began_at < ended_at:
                yield f"{result.name}: two attempts were under way at once"
            least = run.start
            kept |= {taken: {"taken": taken} for taken in run.checkpoints}
            ended_at = run.ended_at
            yield from _gaps(result, run)


def _gaps(result: Result, run: Handled) -> Iterator[str]:
    got = [line.get("custom_id") for line in run.lines]
    if got != result.custom_ids[run.start : run.start + len(got)]:
        yield f"{result.name}: an attempt from {run.start} on got its results in disorder"
    whole = len(result.custom_ids) if result.output or result.error else 0
    if run.end == _WELL and result.final is not None and run.start + len(got) != whole:
        yield f"{result.name}: an attempt ended with {run.start + len(got)} of {whole} results"


def the_log_tells_what_was_handled(history: History) -> Iterator[str]:
    """One delivery a batch that has results: made, to its last line; none else, and none was given up."""
    if history.at_rest is None or history.stuck or history.schedule.handling is None:
        return
    handed_over = list(_handed_over(history))
    for result in handed_over:
        noted = _noted(history, result.batch_id)
        if len(noted) != 1:
            yield f"{result.name} has {len(noted)} deliveries to its handler"
        total = len(result.output) + len(result.error)
        for one in noted:
            if (one.state, one.lines_done) != ("delivered", total):
                yield f"{result.name}: {one}, and it has {total} results"
    names = {result.batch_id: result for result in history.results.values()}
    for one in history.at_rest.handled:
        result = names.get(one.batch_id)
        if result is None or (result.final and result.final["status"] not in _WITH_RESULTS):
            yield f"{one} is for nobody"


def no_handler_outlives_its_deliverer(history: History) -> Iterator[str]:
    """Its processes are gone when all is over."""
    if history.handlers_left:
        yield f"processes of the handler are left: {history.handlers_left}"


def _handed_over(history: History) -> Iterator[Result]:
    """The batches that ended with results, and were not deleted before these could be handled."""
    for result in history.results.values():
        if result.final is None or result.deleted_at is not None:
            continue
        is_read = result.output is not None and result.error is not None
        if result.final["status"] in _WITH_RESULTS and is_read:
            yield result


def _runs_of(history: History, result: Result) -> list[Handled]:
    return [run for run in history.handled if result.batch_id and run.batch_id == result.batch_id]


def _noted(history: History, batch_id: str) -> list[Noted]:
    if history.at_rest is None:
        return []
    return [one for one in history.at_rest.handled if one.batch_id == batch_id]
