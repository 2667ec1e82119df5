"""The part of `Settings` for where our processes listen, and where they show their metrics."""

from __future__ import annotations

from pydantic import BaseModel, Field

from batchline.serving.listening import LOOPBACK

from .types import Host, Published


class ListeningSettings(BaseModel):
    """Addresses and ports of the processes."""

    host: Host = Field(
        "127.0.0.1",
        description="Address the gateway listens on; `0.0.0.0`: all of IPv4, `::`: all of IPv4 and IPv6",
    )
    published_on: Published | None = Field(
        None,
        description="In a container: the address on which its engine publishes the gateway's port; it then "
        "decides, instead of `BATCHLINE_HOST`, whether other machines reach the gateway",
    )
    port: int = Field(5000, ge=0, le=65535, description="Port the gateway listens on")
    dispatcher_host: Host = Field(
        "127.0.0.1",
        description="Address of the dispatcher's /health and /metrics, which ask no key",
    )
    dispatcher_port: int = Field(
        5001, ge=0, le=65535, description="Port of the dispatcher's /health and /metrics"
    )
    deliverer_host: Host = Field(
        "127.0.0.1",
        description="Address of the deliverer's /health and /metrics, which ask no key",
    )
    deliverer_port: int = Field(
        5002, ge=0, le=65535, description="Port of the deliverer's /health and /metrics"
    )
    serve_metrics: bool = Field(
        True,  # noqa: FBT003
        description="Serve `/metrics`; false: no process has it",
    )
    metrics_port: int | None = Field(
        None,
        ge=0,
        le=65535,
        description="A port of its own for the gateway's `/metrics`, beside that on its own; who may read "
        "them is the same on both",
    )
    metrics_host: Host | None = Field(
        None, description="Address of that port; unset: `127.0.0.1`; needs `BATCHLINE_METRICS_PORT`"
    )

    @property
    def listening_hosts(self) -> tuple[str, ...]:
        """The addresses of all of them."""
        return (
            self.host,
            self.dispatcher_host,
            self.deliverer_host,
            *filter(None, [self.metrics_host]),
        )

    @property
    def listening_ports(self) -> frozenset[int]:
        """The ports of all of them."""
        ports = (self.port, self.dispatcher_port, self.deliverer_port)
        return frozenset((*ports, self.metrics_address[1]) if self.metrics_address else ports)

    @property
    def metrics_address(self) -> tuple[str, int] | None:
        """Where the gateway's metrics have a port of their own; None: nowhere."""
        if self.metrics_port is None or not self.serve_metrics:
            return None
        return self.metrics_host or LOOPBACK, self.metrics_port
