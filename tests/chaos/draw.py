"""The choices behind a schedule: how likely what is. The failpoints are covered by turns, the rest is luck."""

from __future__ import annotations

from dataclasses import replace
from random import Random
from zlib import crc32

from batchline.process.failpoints import POINTS

from .draw_deliveries import callbacks, delivery_acts, handler_acts, handling
from .faults import BREAKS_CONNECTION, SICK, STALLS, Fate, Fault
from .schedule import Act, BatchPlan, Intake, LinePlan, Schedule, Step, Verb

_POINTS_CRC = f"{crc32(','.join(POINTS).encode()):08x}"
VERSION = f"6.{_POINTS_CRC}"
"""What makes a seed's schedule: its first number is raised when this module draws otherwise."""

PAIRS = tuple((point, action) for point in POINTS for action in ("crash", "error"))
"""What the seeds cover by turns: seed n is about pair n, modulo their number."""

GATEWAY_POINTS = frozenset({"upload.stored", "append.rows", "append.stored"})
OPEN_POINTS = frozenset({"append.rows", "append.stored", "publish.joined"})
"""Passed only by a batch that takes requests while it runs."""
BACKUP_POINTS = frozenset({"backup.snapshot", "backup.copied"})
DISPATCHER_POINTS = [p for p in POINTS if p not in GATEWAY_POINTS | BACKUP_POINTS]
BOTH_PASS = frozenset({"blob.written", "blob.renamed", "migrate.statement"})
AT_REST = frozenset({"sweep.deleted"})
"""Passed for certain only when the dispatcher starts beside what ended batches have left."""
PER_LINE = frozenset({"send.before", "send.answered"})
PER_GROUP = frozenset(
    {"segment.append", "segment.appended", "settle.synced", "settle.rows", "settle.committed"}
)

MAX_ATTEMPTS = 12
"""So many that what befalls the processes never uses up a line's tries: they are for its own faults."""
TIMEOUT_S = 2.0
_MAX_LINES = 500


def schedule(seed: int) -> Schedule:
    """Turn a seed into its schedule."""
    random = Random(f"batchline 1 {seed}")
    pair = PAIRS[seed % len(PAIRS)]
    batches = _with_intakes(seed, _batches(random), needs_open=pair[0] in OPEN_POINTS)
    second = random.choices(("", "standby", "rival"), (80, 10, 10))[0]
    disk_mib = 24 if random.random() < 0.12 else 0
    shifts_clock = random.random() < 0.12
    upstreams = random.choice((2, 2, 3))
    acts = _acts(random, upstreams=upstreams, disk=disk_mib, clock=shifts_clock, second=second)
    acts += _sick_acts(seed, upstreams)
    acts += delivery_acts(seed, has_disk=disk_mib > 0)
    acts += handler_acts(seed)
    return Schedule(
        seed=seed,
        version=VERSION,
        batches=batches,
        acts=tuple(sorted(acts, key=lambda act: act.at)),
        failpoints=_failpoints(random, pair, seed // len(PAIRS), batches),
        last_failpoints="=".join(pair) if pair[0] in AT_REST else "",
        settings=_settings(random, disk_mib=disk_mib, second=second),
        upstreams=upstreams,
        latency_s=random.choice((0.003, 0.01, 0.03)),
        has_gauges=random.random() < 0.5,
        disk_mib=disk_mib,
        shifts_clock=shifts_clock,
        second=second,
        backup_at=_backup_at(seed, pair),
        callbacks=callbacks(seed, batches),
        handling=handling(seed, batches),
        pair=pair,
    )


def _backup_at(seed: int, pair: tuple[str, str]) -> float | None:
    """Its own luck, so that all else is drawn as it was."""
    random = Random(f"batchline backup 3.{_POINTS_CRC} {seed}")
    wanted = pair[0] in BACKUP_POINTS or random.random() < 0.2
    return round(random.random(), 3) if wanted else None


def _settings(random: Random, *, disk_mib: int, second: str) -> tuple[tuple[str, str], ...]:
    chosen = {
        "max_attempts": str(MAX_ATTEMPTS),
        "request_timeout_s": str(TIMEOUT_S),
        "retry_base_s": "0.02",
        "retry_max_s": "0.2",
        "probe_interval_s": random.choice(("0.1", "0.3")),
        "flush_s": random.choice(("0.003", "0.03", "0.1")),
        "grace_s": random.choice(("0.1", "3")),
        "lease_s": "1.5" if second == "rival" else random.choice(("20", "60")),
        "min_free_bytes": str(4 << 20) if disk_mib else "0",
        "min_completion_window_s": "1",
    }
    in_flight = random.choice(("4", "16", "64", ""))
    if in_flight:
        chosen["max_in_flight"] = in_flight
    return tuple(chosen.items())


# -- batches and their lines


def _batches(random: Random) -> tuple[BatchPlan, ...]:
    sizes: list[int] = []
    for _ in range(random.choice((1, 1, 2, 3, 4))):
        low, high = random.choice(((1, 5), (10, 60), (60, 150), (60, 150), (200, 400)))
        sizes.append(random.randint(low, high))
        if sum(sizes) > _MAX_LINES:
            sizes[-1] = 3
    fault_share = random.choice((0.0, 0.02, 0.1, 0.3))
    made = [_batch(random, f"b{n}", size, fault_share) for n, size in enumerate(sizes)]
    return tuple(made)


def _batch(random: Random, name: str, lines: int, fault_share: float) -> BatchPlan:
    steps: list[tuple[float, Step]] = []
    window = "24h"
    luck = random.random()
    if luck < 0.15:
        steps.append((random.choice((0.0, random.random(), 1.0)), Step.CANCEL))
    elif luck < 0.27:
        at = random.random() * 0.8
        steps += [(at, Step.PAUSE), (at, Step.RESUME)]
    elif luck < 0.33:
        window = random.choice(("1s", "2s", "3s"))
    for step, likely in (
        (Step.DELETE_INPUT, 0.1),
        (Step.DELETE, 0.05),
        (Step.CREATE_AGAIN, 0.15),
        (Step.PARTIAL, 0.3),
    ):
        if random.random() < likely:
            steps.append((random.random(), step))
    return BatchPlan(
        name=name,
        lines=lines,
        begins_at=0.0 if name == "b0" else random.choice((0.0, random.random() * 0.6)),
        window=window,
        special=_special(random, lines, fault_share),
        steps=tuple(sorted(steps, key=lambda s: s[0])),
        retried=random.random() < 0.3 and all(step is not Step.DELETE_INPUT for _, step in steps),
        deleted=random.random() < 0.25,
    )


def _with_intakes(
    seed: int, batches: tuple[BatchPlan, ...], *, needs_open: bool
) -> tuple[BatchPlan, ...]:
    """Choose how each comes in. Its own luck, so that all else is drawn as it was."""
    random = Random(f"batchline intakes {seed}")
    intakes = [random.choice(tuple(Intake)) for _ in batches]
    if needs_open:
        intakes[0] = Intake.OPEN
    return tuple(replace(b, intake=i) for b, i in zip(batches, intakes, strict=True))


def _special(random: Random, lines: int, share: float) -> tuple[tuple[int, LinePlan], ...]:
    found = {}
    stalls = 2  # each costs a request timeout
    for index in range(lines):
        if random.random() >= share:
            continue
        faults: list[Fault] = []
        for _ in range(random.choice((1, 1, 2))):
            fault = random.choice(tuple(Fault))
            if fault in STALLS:
                stalls -= 1
                if stalls < 0:
                    continue
            if fault in BREAKS_CONNECTION and BREAKS_CONNECTION.intersection(faults):
                continue  # a line that kills server after server is another matter
            faults.append(fault)
        found[index] = LinePlan(tuple(faults))
    if random.random() < 0.4:
        found[random.randrange(lines)] = LinePlan((), Fate.REFUSED)
    if random.random() < 0.2:
        found[random.randrange(lines)] = LinePlan((), Fate.BROKEN)
    return tuple(sorted(found.items()))


# -- failpoints


def _failpoints(
    random: Random, pair: tuple[str, str], turn: int, batches: tuple[BatchPlan, ...]
) -> tuple[tuple[str, str], ...]:
    point, action = pair
    armed: dict[str, list[str]] = {"gateway": [], "dispatcher": [], "backup": []}
    process = "gateway" if point in GATEWAY_POINTS else "dispatcher"
    if point in BACKUP_POINTS:
        process = "backup"
    if point in BOTH_PASS and turn % 2 == 0:
        process = "gateway"
    armed[process].append(f"{point}={action}@{_turn(random, point, batches)}")
    if random.random() < 0.25:
        other = random.choice([p for p in DISPATCHER_POINTS if p != point])
        what = random.choice(("sleep:0.3", "sleep:0.05", "error", "crash"))
        armed["dispatcher"].append(f"{other}={what}@{_turn(random, other, batches)}")
    if random.random() < 0.08 and not any("segment.append=" in a for a in armed["dispatcher"]):
        armed["dispatcher"].append(f"segment.append=torn@{random.randint(1, 3)}")
    return tuple((name, "; ".join(texts)) for name, texts in armed.items() if texts)


def _turn(random: Random, point: str, batches: tuple[BatchPlan, ...]) -> int:
    if point in PER_LINE:
        return random.randint(1, max(1, batches[0].lines // 2))
    if point in PER_GROUP:
        return random.choice((1, 1, 2, 3)) if batches[0].lines > 60 else 1
    if point == "migrate.statement":
        return random.randint(1, 20)
    if point in OPEN_POINTS and point != "publish.joined":
        return random.randint(1, 3)
    return 1


# -- what befalls the processes


def _acts(
    random: Random, *, upstreams: int, disk: int, clock: bool, second: str
) -> tuple[Act, ...]:
    acts = [_process_act(random) for _ in range(random.choice((0, 1, 1, 2, 3)))]
    if random.random() < 0.35:
        acts.append(_nginx_act(random))
    if random.random() < 0.3:
        verb = random.choice((Verb.VANISH, Verb.LOADING, Verb.FREEZE))
        target = f"upstream{random.randrange(upstreams)}"
        acts.append(_act(random, verb, target, random.choice((0.2, 0.6, 1.2))))
    if disk:
        verb = random.choice((Verb.FULL, Verb.FULL, Verb.READ_ONLY))
        acts.append(_act(random, verb, "disk", random.choice((0.5, 1.5))))
    if clock:
        jump = random.choice((-600.0, -30.0, 5.0, 45.0, 900.0))
        acts.append(_act(random, Verb.JUMP, "clock", jump))
        if random.random() < 0.5:
            acts.append(_act(random, Verb.JUMP, "clock", -jump))
    if second:
        acts.append(_act(random, Verb.START, "second"))
        verb = random.choice((Verb.KILL, Verb.TERM, Verb.FREEZE))
        acts.append(_act(random, verb, "dispatcher", 2.0 if second == "rival" else 0.8))
    return tuple(acts)


def _sick_acts(seed: int, upstreams: int) -> tuple[Act, ...]:
    """Its own luck, so that all else is drawn as it was: one server, or two at a time, the forms by turns."""
    random = Random(f"batchline sick {seed}")
    forms = tuple(SICK)
    count = random.choices((0, 1, 2), (60, 28, 12))[0]
    return tuple(
        Act(
            at=random.choice((0.0, round(random.random() * 0.6, 3))),
            latest_s=round(random.uniform(0.5, 2.5), 2),
            verb=Verb.SICKEN,
            target=f"upstream{number}",
            seconds=random.choice((0.3, 1.0, 2.0)),
            form=forms[(seed + turn) % len(forms)],
        )
        for turn, number in enumerate(random.sample(range(upstreams), count))
    )


def _act(random: Random, verb: Verb, target: str, seconds: float = 0.0) -> Act:
    share = random.choice((random.random(), random.random(), 0.0, 0.95))
    return Act(round(share, 3), round(random.uniform(0.5, 2.5), 2), verb, target, seconds)


def _process_act(random: Random) -> Act:
    target = random.choices(("dispatcher", "gateway"), (70, 30))[0]
    verb = random.choices((Verb.KILL, Verb.TERM, Verb.FREEZE), (60, 25, 15))[0]
    if verb is Verb.FREEZE:
        return _act(random, verb, target, random.choice((0.1, 0.5, 1.5)))
    act = _act(random, verb, target, random.choice((0.0, 0.0, 0.3)))
    if random.random() < 0.2 and target == "dispatcher":
        point = random.choice(DISPATCHER_POINTS)
        how = random.choice(("crash", "error"))
        return Act(act.at, act.latest_s, verb, target, act.seconds, f"{point}={how}")
    return act


def _nginx_act(random: Random) -> Act:
    verb = random.choice((Verb.KILL, Verb.TERM, Verb.RELOAD, Verb.KILL_WORKER, Verb.FREEZE))
    return _act(
        random, verb, "nginx", random.choice((0.0, 0.4)) if verb is not Verb.FREEZE else 0.5
    )
