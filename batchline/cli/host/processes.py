"""`batchline gateway`, `dispatcher` and `deliver`: run one process in the foreground until told to stop.

The composition root: reads the settings, sets up logging, and calls the `serve` of the process.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Annotated

import typer

from batchline.cli.api.options import Insecure
from batchline.config.exposure import check_exposure
from batchline.process.failpoints import arm
from batchline.process.service import run_service, set_up_logging
from batchline.settings import Settings, armed_failpoints, load_settings

Serve = Callable[[Settings, asyncio.Event], Awaitable[None]]

Data = Annotated[
    Path | None, typer.Option("--data", help="Data directory [default: .batchline/data]")
]


def gateway(
    *,
    host: Annotated[str | None, typer.Option(help="Address [default: 127.0.0.1]")] = None,
    port: Annotated[int | None, typer.Option(help="Port [default: 5000]")] = None,
    insecure: Insecure = None,
    data: Data = None,
) -> None:
    """Run the gateway: the API and the dashboard."""
    settings = load_settings(host=host, port=port, insecure=insecure, data_dir=data)
    check_exposure(settings)
    from gateway.app import serve

    _run(serve, settings)


def dispatcher(
    *,
    port: Annotated[
        int | None, typer.Option(help="Port of its /health and /metrics [default: 5001]")
    ] = None,
    data: Data = None,
    upstream: Annotated[str | None, typer.Option(help="Where lines are sent: nginx")] = None,
    backend: Annotated[
        list[str] | None, typer.Option(help="A model server behind it; may be repeated")
    ] = None,
) -> None:
    """Run the dispatcher: it sends the lines of batches to the model servers."""
    settings = load_settings(
        dispatcher_port=port,
        data_dir=data,
        upstream_url=upstream,
        backend_urls=tuple(backend) if backend else None,
    )
    from dispatcher.app import serve

    _run(serve, settings)


def deliver(
    *,
    port: Annotated[
        int | None, typer.Option(help="Port of its /health and /metrics [default: 5002]")
    ] = None,
    data: Data = None,
) -> None:
    """Run the deliverer: it tells webhooks and handlers the end of batches."""
    settings = load_settings(deliverer_port=port, data_dir=data)
    from deliver.app import serve

    _run(serve, settings)


def _run(serve: Serve, settings: Settings) -> None:
    set_up_logging(settings.log_level, as_json=settings.log_json)
    arm(armed_failpoints())
    raise typer.Exit(run_service(lambda stop: serve(settings, stop)))
