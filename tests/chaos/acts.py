"""The acts of a schedule: what is done to processes, model servers, the disk and the clock, and undone."""

from __future__ import annotations

import asyncio
import math
import os
import signal
import time
from contextlib import suppress

from waiting import pass_time, until

from . import audit, front
from .crew import fired, run_command
from .faults import Reception
from .history import Backup
from .schedule import Act, Moment, Verb
from .stage import DISK_USERS, Stage

_TICK_S = 0.05
_FAILPOINT_S = 1.5
_HANDLER_S = 3.0
_FROZEN_S = 0.5
_UPSTREAM = {
    Verb.VANISH: "down",
    Verb.LOADING: "down",
    Verb.FREEZE: "frozen",
    Verb.SICKEN: "sick",
}


async def perform(stage: Stage, act: Act) -> None:
    """Wait for the moment of one act, and do it; returns when it is undone."""
    if act.moment is Moment.TOLD:
        await stage.until_told(act.at, latest_s=act.latest_s)
    else:
        await stage.until(act.at, latest_s=act.latest_s)
        if act.verb in {Verb.KILL, Verb.TERM, Verb.READ_ONLY}:
            await _let_failpoints_happen(stage)
    if act.target.startswith("upstream"):
        await _act_on_upstream(
            stage, act, stage.upstreams[int(act.target.removeprefix("upstream"))]
        )
    elif act.target == "receiver":
        await _act_on_receiver(stage, act)
    elif act.target == "handler":
        await _act_on_handler(stage, act)
    elif act.target == "disk":
        async with stage.disk_acts:
            await _act_on_disk(stage, act)
    elif act.target == "clock":
        if stage.clock is not None:
            stage.clock.jump(act.seconds)
            stage.disturb("jump", "clock")
    elif act.target == "second":
        _start_second(stage)
    else:
        await _act_on_process(stage, act, stage.kept[act.target])


async def back_up(stage: Stage, share: float) -> None:
    """Run `batchline backup`; once more without its failpoint, where it has one."""
    await stage.until(share, latest_s=2.0)
    armed = dict(stage.schedule.failpoints).get("backup", "")
    target = stage.folder / "backup"
    for failpoints in (armed, "") if armed else ("",):
        began_at = time.monotonic()
        code = await run_command(
            ("backup", str(target)),
            stage.kept["gateway"].role.environment | {"BATCHLINE_TEST_FAILPOINTS": failpoints},
            stage.folder / "backup.log",
        )
        found = await asyncio.to_thread(audit.damage, target) if target.exists() else ()
        stage.history.backups.append(Backup(began_at, time.monotonic(), code, found))


async def _let_failpoints_happen(stage):
    """Wait a little for the failpoint that this seed is about, or a death would disarm it."""
    point, action = stage.schedule.pair
    due = time.monotonic() + _FAILPOINT_S * stage.slowness
    await until(
        lambda: (point, action) in fired(stage.logs()) or time.monotonic() > due,
        within_s=math.inf,
        every_s=_TICK_S,
    )


async def _act_on_process(stage, act, kept):
    match act.verb:
        case Verb.KILL:
            kept.take_down(signal.SIGKILL, act.seconds, act.failpoints)
        case Verb.TERM:
            kept.take_down(signal.SIGTERM, act.seconds, act.failpoints)
        case Verb.FREEZE:
            await kept.freeze(act.seconds)
        case Verb.RELOAD if kept.pid is not None:
            stage.disturb("reload", act.target)
            front.reload(kept.pid)
        case Verb.KILL_WORKER if kept.pid is not None:
            stage.disturb("worker", act.target)
            front.kill_worker(kept.pid)


async def _act_on_upstream(stage, act, upstream):
    done = stage.disturb(_UPSTREAM[act.verb], act.target)
    done.ended_at = None
    match act.verb:
        case Verb.VANISH:
            await upstream.vanish()
        case Verb.LOADING:
            upstream.is_loading = True
        case Verb.FREEZE:
            upstream.freeze()
        case Verb.SICKEN:
            upstream.sick = act.form
    try:
        await pass_time(act.seconds)
    finally:
        if act.verb is Verb.VANISH:
            await upstream.listen()
        if act.verb is Verb.SICKEN:
            upstream.sick = ""
        upstream.is_loading = False
        upstream.thaw()
        done.ended_at = time.monotonic()


async def _act_on_receiver(stage, act):
    receiver = stage.receiver
    done = stage.disturb("down" if act.verb is Verb.VANISH else "falters", "receiver")
    done.ended_at = None
    if act.verb is Verb.VANISH:
        await receiver.vanish()
    else:
        receiver.reception = Reception(act.form)
    try:
        await pass_time(act.seconds)
    finally:
        if act.verb is Verb.VANISH:
            await receiver.listen()
        receiver.reception = Reception.TAKEN
        done.ended_at = time.monotonic()


async def _act_on_handler(stage, act):
    """Wait for its process; it may not come while the history lasts."""
    due = time.monotonic() + _HANDLER_S * stage.slowness
    await until(
        lambda: stage.handler_pid() or time.monotonic() > due, within_s=math.inf, every_s=_TICK_S
    )
    await pass_time(act.seconds)
    if (pid := stage.handler_pid()) is None:
        return
    done = stage.disturb("killed" if act.verb is Verb.KILL else "frozen", "handler")
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL if act.verb is Verb.KILL else signal.SIGSTOP)
        if act.verb is Verb.FREEZE:
            await pass_time(_FROZEN_S)
            done.ended_at = time.monotonic()
            os.kill(pid, signal.SIGCONT)


async def _act_on_disk(stage, act):
    if stage.disk is None:
        return
    done = stage.disturb("full" if act.verb is Verb.FULL else "read-only", "disk")
    done.ended_at = None
    try:
        if act.verb is Verb.FULL:
            await asyncio.to_thread(stage.disk.fill, int(act.latest_s * 1000) % 3000)
            await pass_time(act.seconds)
        else:
            await _make_read_only(stage, act.seconds)
    finally:
        stage.disk.make_room()
        done.ended_at = time.monotonic()


async def _make_read_only(stage, seconds):
    users = [stage.kept[name] for name in DISK_USERS if stage.kept[name].pid]
    for kept in users:
        await kept.hold_down()
    is_read_only = await stage.disk.remount("ro")
    for kept in users:
        kept.let_up()
    if not is_read_only:
        stage.history.played_without.append("a read-only disk (it was busy)")
    try:
        await pass_time(seconds)
    finally:
        await stage.disk.remount("rw")


def _start_second(stage):
    if stage.schedule.second == "rival":
        (stage.data / "dispatcher.lock").unlink(missing_ok=True)
        stage.disturb("rival", "dispatcher")
    stage.kept["second"].start()
