"""Keeps a plan running in the foreground, and writes what loads, what is ready and what died."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence

from rich.console import Console
from rich.markup import escape

from batchline.config.exposure import INSECURE_WARNING, is_open_to_others
from batchline.errors import BatchlineError
from batchline.fleet.programs import Program
from batchline.fleet.supervise import Event, Happened, Supervisor
from batchline.process.locks import supervising
from batchline.process.service import run_service, set_up_logging
from batchline.serving.origins import EVERY_HOST_WARNING
from batchline.settings import Settings

from .demo import Demo, run_demo

_HEARTBEAT_S = 15.0  # loading takes a minute: write now and then that it continues


def keep_running(
    stages: Sequence[Sequence[Program]],
    settings: Settings,
    *,
    out: Console,
    demo: Demo | None = None,
) -> int:
    """Run the stages until Ctrl-C or SIGTERM; return the exit code, with no child left."""
    set_up_logging("WARNING", as_json=settings.log_json)
    gateway = next(p for stage in stages for p in stage if p.name == "gateway")

    async def serve(stop: asyncio.Event) -> None:
        with supervising(settings.data_dir) as lock:
            supervisor = Supervisor(stages, report=lambda event: _tell(out, event), lock=lock)
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(supervisor.run(stop))
                greeting = tasks.create_task(_greet(supervisor, stages, gateway.url, out))
                showing = tasks.create_task(_show(demo, greeting, gateway.url, settings, out))
                await stop.wait()
                out.print("Stopping …")
                greeting.cancel()
                showing.cancel()

    if settings.known.takes_every_host:
        out.print(f"[yellow]{EVERY_HOST_WARNING}[/yellow]")
    if is_open_to_others(settings):
        out.print(f"[yellow]{INSECURE_WARNING}[/yellow]")
    code = run_service(serve)
    out.print("Stopped; nothing is left running." if code == 0 else "Stopped.")
    return code


async def _greet(
    supervisor: Supervisor, stages: Sequence[Sequence[Program]], url: str, out: Console
) -> None:
    """Return once everything is ready; write now and then that it is not yet."""
    logs = next(program.log.parent for stage in stages for program in stage)
    out.print(f"Dashboard  [bold]{url}[/bold]   logs in {escape(str(logs))}")
    began = time.monotonic()
    waiting = asyncio.ensure_future(supervisor.wait_ready())
    try:
        while not (await asyncio.wait([waiting], timeout=_HEARTBEAT_S))[0]:
            loading = ", ".join(supervisor.not_ready())
            out.print(f"  … loading {loading} ({time.monotonic() - began:.0f} s)")
    finally:
        waiting.cancel()
    out.print(f"[green]Everything is up[/green] after {time.monotonic() - began:.0f} s.")


async def _show(
    demo: Demo | None, greeting: asyncio.Task[None], url: str, settings: Settings, out: Console
) -> None:
    await asyncio.wait([greeting])
    if demo is not None:
        try:
            await run_demo(demo, url=url, api_key=settings.api_key, out=out)
        except BatchlineError as exc:  # the fleet is up even so
            out.print(f"[red]The demonstration failed:[/red] {escape(str(exc))}")
    out.print(f"\nDashboard  [bold]{url}[/bold]   API  [bold]{url}/v1[/bold]")
    out.print("It stays up; Ctrl-C stops everything.")


def _tell(out: Console, event: Event) -> None:
    name = event.program.name
    match event.what:
        case Happened.READY:
            out.print(f"  [green]✓[/green] {name} ready after {event.after_s:.0f} s")
        case Happened.DIED:
            out.print(
                f"  [red]![/red] {name} ended (exit code {event.exit_code}); starts again in "
                f"{event.delay_s:.0f} s. Log: {escape(str(event.program.log))}"
            )
        case Happened.STOPPED:
            out.print(f"  {name} stopped")
        case Happened.STARTED:
            pass
