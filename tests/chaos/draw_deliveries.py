"""The choices about what comes after the end of a batch: who is told, what the handler does, what befalls both.

Each has luck of its own, so that a seed draws all else as it did before there were deliveries.
"""

from __future__ import annotations

from random import Random

from batchline.process.failpoints import POINTS

from .faults import Failure, Reception
from .schedule import Act, BatchPlan, Handling, Moment, Verb

_PAIRS = 2 * len(POINTS)  # seed n is about pair n modulo their number: each is met with and without
_MOST_FAILURES = 3
"""In one history: after five in a row the deliverer leaves a handler alone for seconds."""


def callbacks(seed: int, batches: tuple[BatchPlan, ...]) -> tuple[str, ...]:
    """Choose the batches that ask for their end to be told by a `callback_url`."""
    random = Random(f"batchline callbacks {seed}")
    return tuple(batch.name for batch in batches if random.random() < 0.4)


def delivery_acts(seed: int, *, has_disk: bool) -> tuple[Act, ...]:
    """Choose what befalls the deliverer, the receiver, and the disk while they are at it."""
    random = Random(f"batchline deliveries {seed}")
    acts = [_deliverer_act(random) for _ in range(random.choice((0, 1, 1, 2)))]
    if random.random() < 0.4:
        acts.append(_receiver_act(random))
    if has_disk and random.random() < 0.6:
        acts.append(_told_act(random, Verb.FULL, "disk", random.choice((0.5, 1.5))))
    return tuple(acts)


def handling(seed: int, batches: tuple[BatchPlan, ...]) -> Handling | None:
    """Choose what the handler does, or that there is none."""
    random = Random(f"batchline handling {seed}")
    if not _is_handled(seed):
        return None
    failures = []
    left = _MOST_FAILURES
    for batch in batches:
        many = min(left, random.choices((0, 1, 2), (50, 35, 15))[0])
        left -= many
        if many:
            failures.append((batch.name, tuple(_failure(random) for _ in range(many))))
    return Handling(
        checkpoint_every=random.choice((0, 1, 10, 50)),
        takes_s=random.choice((0.0, 0.0, 0.3, 1.0)),
        failures=tuple(failures),
    )


def handler_acts(seed: int) -> tuple[Act, ...]:
    """Choose what befalls the process of the handler, `seconds` after it was started."""
    random = Random(f"batchline handler acts {seed}")
    if not _is_handled(seed) or random.random() >= 0.4:
        return ()
    verb = random.choices((Verb.KILL, Verb.FREEZE), (70, 30))[0]
    return (_told_act(random, verb, "handler", random.choice((0.0, 0.3, 0.6))),)


def _is_handled(seed: int) -> bool:
    """Half of the histories have a handler, by turns: each of its attempts is a process that starts cold."""
    return (seed % _PAIRS // 2 + seed // _PAIRS) % 2 == 0


def _failure(random: Random) -> tuple[float, Failure]:
    at = random.choice((0.0, random.random(), random.random(), 1.0))
    return round(at, 3), random.choice(tuple(Failure))


def _deliverer_act(random: Random) -> Act:
    verb = random.choices((Verb.KILL, Verb.TERM, Verb.FREEZE), (60, 20, 20))[0]
    lasts = (0.1, 0.5, 1.5) if verb is Verb.FREEZE else (0.0, 0.0, 0.3)
    return _told_act(random, verb, "deliverer", random.choice(lasts))


def _receiver_act(random: Random) -> Act:
    form = random.choice((None, *(r for r in Reception if r is not Reception.TAKEN)))
    verb = Verb.VANISH if form is None else Verb.FALTER
    # short, since what failed once is told again seconds later
    return _told_act(random, verb, "receiver", random.choice((0.3, 0.8, 1.5)), form or "")


def _told_act(random: Random, verb: Verb, target: str, seconds: float, form: str = "") -> Act:
    at = random.choice((0.0, 0.01, 0.01, 0.01, round(random.random(), 3), 1.0))  # 0.01: the first
    latest_s = round(random.uniform(1.5, 4.0), 2)
    return Act(at, latest_s, verb, target, seconds, form=form, moment=Moment.TOLD)
