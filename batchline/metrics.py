"""Every instrument of the gateway, the dispatcher and the deliverer, declared once.

Labels are bounded: enum words, names of models, backends and handlers, route templates. Never a batch,
file or custom id. docs/metrics.md is generated from this file.
"""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from .states import OutcomeKind

_SECONDS = (0.005, 0.02, 0.1, 0.5, 1, 2, 5, 10, 30, 60, 120, 300, 600, 1800, 3600)


class Metrics:
    """All instruments, on one registry. A process uses those of its part and leaves the rest at 0."""

    def __init__(self, registry: CollectorRegistry | None = None, *, cell: str = "local") -> None:
        self.registry = registry or CollectorRegistry()
        self.cell = cell
        self._declare_service(self.registry)
        self._declare_synchronous(self.registry)
        self._declare_connections(self.registry)
        self._declare_work(self.registry)
        self._declare_backends(self.registry)
        self._declare_tries(self.registry)
        self._declare_storage(self.registry)
        self._declare_housekeeping(self.registry)
        self._declare_database(self.registry)
        self._declare_deliveries(self.registry)

    def _declare_service(self, r: CollectorRegistry) -> None:
        self.build_info = Gauge(
            "batchline_build_info",
            "1, labelled with version and cell",
            ["version", "cell"],
            registry=r,
        )
        self.http_requests = Counter(
            "batchline_http_requests_total",
            "Answers of the gateway",
            ["route", "method", "code"],
            registry=r,
        )
        self.http_seconds = Histogram(
            "batchline_http_request_duration_seconds",
            "Time to answer, by route",
            ["route", "method"],
            buckets=_SECONDS,
            registry=r,
        )
        self.unlogged_requests = Counter(
            "batchline_unlogged_requests_total",
            "Log lines about refused, malformed or failed requests left out: ten a second are kept",
            registry=r,
        )
        self.interactive_in_flight = Gauge(
            "batchline_interactive_requests_in_flight",
            "Interactive requests passed on and not yet answered",
            ["route"],
            registry=r,
        )
        self.interactive_first_byte_seconds = Histogram(
            "batchline_interactive_first_byte_seconds",
            "From an interactive request to the first byte of its answer",
            ["route"],
            buckets=_SECONDS,
            registry=r,
        )

    def _declare_synchronous(self, r: CollectorRegistry) -> None:
        self.sync_requests = Counter(
            "batchline_sync_requests_total",
            "Requests of POST /batch by outcome: answered, refused (by the gateway), failed, timeout",
            ["outcome"],
            registry=r,
        )
        self.sync_requests_open = Gauge(
            "batchline_sync_requests_open",
            "Requests of POST /batch that wait to be sent, or are in flight",
            registry=r,
        )
        self.sync_held_bytes = Gauge(
            "batchline_sync_held_bytes",
            "Bytes of requests and answers that calls of POST /batch hold",
            registry=r,
        )

    def _declare_connections(self, r: CollectorRegistry) -> None:
        self.connections = Gauge(
            "batchline_connections", "Connections of clients to the gateway", registry=r
        )
        self.connections_cut = Counter(
            "batchline_connections_cut_total",
            "Connections of clients ended or turned away: refused (all are busy: 503), idle (a new one "
            "needed the place), late_head, slow_reader",
            ["why"],
            registry=r,
        )
        self.downloads = Gauge(
            "batchline_downloads",
            "Answers under way of which there may be BATCHLINE_MAX_DOWNLOADS, by kind: download, follow",
            ["kind"],
            registry=r,
        )
        self.uploaded_bytes = Counter(
            "batchline_uploads_bytes_total", "Bytes of files stored", registry=r
        )
        self.expired_uploads = Counter(
            "batchline_uploads_expired_total", "Uploads in parts that nobody completed", registry=r
        )

    def _declare_work(self, r: CollectorRegistry) -> None:
        self.batches = Gauge("batchline_batches", "Open batches by status", ["status"], registry=r)
        self.batches_finished = Counter(
            "batchline_batches_finished_total",
            "Batches that ended, by status",
            ["status"],
            registry=r,
        )
        self.batches_failing = Gauge(
            "batchline_batches_failing",
            "Running batches of which most lines fail: more than half of 100 finished ones or more",
            registry=r,
        )
        self.in_flight = Gauge(
            "batchline_requests_in_flight", "Requests sent and not yet answered", registry=r
        )
        self.limit = Gauge(
            "batchline_concurrency_limit", "Requests allowed in flight at present", registry=r
        )
        self.waiting = Gauge(
            "batchline_requests_waiting", "Requests of running batches not finished", registry=r
        )
        self.held_bytes = Gauge(
            "batchline_held_bytes",
            "Bytes of requests read ahead and in flight, and of answers not stored yet",
            registry=r,
        )
        self.finished = Counter(
            "batchline_requests_finished_total",
            "Lines settled, by outcome; cancelled and expired ones count when published",
            ["outcome"],
            registry=r,
        )
        self.prompt_tokens = Counter(
            "batchline_prompt_tokens_total", "Prompt tokens of finished lines", registry=r
        )
        self.completion_tokens = Counter(
            "batchline_completion_tokens_total", "Generated tokens of finished lines", registry=r
        )
        for kind in OutcomeKind:
            self.finished.labels(kind)

    def _declare_backends(self, r: CollectorRegistry) -> None:
        self.backend_up = Gauge(
            "batchline_backend_up", "1 where the backend answers", ["backend"], registry=r
        )
        self.backend_circuit = Gauge(
            "batchline_backend_circuit",
            "1 at the circuit's state: closed (the backend gets its share), half_open (a few), open (none)",
            ["backend", "state"],
            registry=r,
        )
        self.backend_in_flight = Gauge(
            "batchline_backend_requests_in_flight",
            "Lines sent to the backend and not yet answered",
            ["backend"],
            registry=r,
        )
        self.backend_lacks = Gauge(
            "batchline_backend_lacks",
            "What a backend in service was found to lack: models, endpoints, room for long requests",
            ["backend", "what"],
            registry=r,
        )
        self.canaries = Counter(
            "batchline_canaries_total",
            "Small requests of our own that prove whether a doubted backend works, by result",
            ["result"],
            registry=r,
        )
        self.second_opinions = Counter(
            "batchline_second_opinions_total",
            "Lines that one backend refused and another one was asked about, by result",
            ["result"],
            registry=r,
        )
        self.backend_hangs = Counter(
            "batchline_backend_hangs_total",
            "Times that lines were taken away from a backend that hung",
            ["backend"],
            registry=r,
        )

    def _declare_tries(self, r: CollectorRegistry) -> None:
        self.attempts = Counter(
            "batchline_request_attempts_total",
            "Attempts by verdict and reason",
            ["verdict", "reason"],
            registry=r,
        )
        self.retries_waiting = Gauge(
            "batchline_retries_waiting",
            "Lines that wait for another try: for their back-off, for a token of their batch's "
            "retry budget, for their turn alone with a server",
            ["why"],
            registry=r,
        )
        self.retries_held_back = Counter(
            "batchline_retries_held_back_total",
            "Retries that found their batch's retry budget empty and waited",
            registry=r,
        )
        self.isolated_attempts = Counter(
            "batchline_isolated_attempts_total",
            "Attempts at suspects, lines that servers died on, with a server to themselves, by result",
            ["result"],
            registry=r,
        )
        self.poisoned = Counter(
            "batchline_requests_poisoned_total",
            "Lines failed as poison: they kill model servers",
            registry=r,
        )
        self.attempt_seconds = Histogram(
            "batchline_request_duration_seconds",
            "One attempt of one line, send to last byte",
            buckets=_SECONDS,
            registry=r,
        )

    def _declare_storage(self, r: CollectorRegistry) -> None:
        self.settle_seconds = Histogram(
            "batchline_settle_seconds",
            "Making one group of results durable: append, sync, commit",
            buckets=_SECONDS,
            registry=r,
        )
        self.settled_per_group = Histogram(
            "batchline_settle_group_lines",
            "Lines per durable group",
            buckets=(1, 3, 10, 30, 100, 300, 1000, 3000),
            registry=r,
        )
        self.recovered = Counter(
            "batchline_recovered_slices_total",
            "Slices taken back from a dead dispatcher",
            registry=r,
        )
        self.broken_conservation = Counter(
            "batchline_conservation_violations_total",
            "Batches whose result lines did not match their input lines: must stay 0",
            registry=r,
        )
        self.disk_free_bytes = Gauge(
            "batchline_disk_free_bytes", "Free space where the data directory lies", registry=r
        )
        self.sse_clients = Gauge("batchline_sse_clients", "Dashboard pages watching", registry=r)

    def _declare_housekeeping(self, r: CollectorRegistry) -> None:
        self.disk_min_free_bytes = Gauge(
            "batchline_disk_min_free_bytes",
            "The watermark: with less free space uploads are refused and dispatch pauses",
            registry=r,
        )
        self.dispatch_paused = Gauge(
            "batchline_dispatch_paused",
            "1 while dispatch is paused, by cause",
            ["cause"],
            registry=r,
        )
        self.expired_files = Counter(
            "batchline_files_expired_total", "Files that reached their age", registry=r
        )
        self.dropped_batches = Counter(
            "batchline_batches_dropped_total",
            "Ended batches forgotten after batch_ttl_s",
            registry=r,
        )
        self.garbage_pending = Gauge(
            "batchline_garbage_pending",
            "Files and segment folders to be deleted, those included that a running batch still reads",
            registry=r,
        )
        self.unnamed_blobs = Gauge(
            "batchline_unnamed_blobs",
            "Blobs that no row names, to be deleted if that is still so an hour later",
            registry=r,
        )
        self.orphan_blobs = Counter(
            "batchline_orphan_blobs_deleted_total",
            "Blobs deleted because no row names them (unnamed) or their writer died (temporary)",
            ["kind"],
            registry=r,
        )
        self.orphan_bytes = Counter(
            "batchline_orphan_bytes_deleted_total", "Bytes of these blobs", ["kind"], registry=r
        )
        for kind in ("unnamed", "temporary"):
            self.orphan_blobs.labels(kind)
            self.orphan_bytes.labels(kind)

    def _declare_database(self, r: CollectorRegistry) -> None:
        self.pruned_rows = Counter(
            "batchline_pruned_rows_total", "Rows of lines of ended batches deleted", registry=r
        )
        self.vacuumed_pages = Counter(
            "batchline_vacuumed_pages_total",
            "Unused pages of the database given back to the disk",
            registry=r,
        )
        self.database_bytes = Gauge(
            "batchline_database_bytes", "Size of the database file", registry=r
        )
        self.database_free_bytes = Gauge(
            "batchline_database_free_bytes", "Unused part of the database file", registry=r
        )
        self.wal_bytes = Gauge(
            "batchline_database_wal_bytes", "Size of the write-ahead log", registry=r
        )

    def _declare_deliveries(self, r: CollectorRegistry) -> None:
        self.deliveries = Counter(
            "batchline_deliveries_total",
            "Attempts to deliver an event: taken, failed (tried again), given_up",
            ["outcome"],
            registry=r,
        )
        self.deliveries_pending = Gauge(
            "batchline_deliveries_pending", "Deliveries that no receiver has taken yet", registry=r
        )
        self.deliveries_oldest_seconds = Gauge(
            "batchline_deliveries_oldest_seconds",
            "For how long the oldest of them has been waiting",
            registry=r,
        )
        self.handler_lines = Counter(
            "batchline_handler_lines_total",
            "Results that handlers have handled for good, by handler",
            ["handler"],
            registry=r,
        )
        self.handler_attempts = Counter(
            "batchline_handler_attempts_total",
            "Attempts of handlers at batches: done, failed and died (both tried again), given_up",
            ["handler", "outcome"],
            registry=r,
        )
        self.handler_seconds = Histogram(
            "batchline_handler_attempt_duration_seconds",
            "One attempt of a handler at a batch, its process included",
            ["handler"],
            buckets=_SECONDS,
            registry=r,
        )
        self.receivers_out = Gauge(
            "batchline_receivers_out",
            "Receivers that failed several times in a row and are left alone for a while",
            registry=r,
        )


def metrics_table() -> str:
    """Render the Markdown table of docs/metrics.md."""
    rows = ["| metric | type | labels | meaning |", "|---|---|---|---|"]
    for collector in Metrics().__dict__.values():
        if not isinstance(collector, Counter | Gauge | Histogram):
            continue
        name = collector._name + ("_total" if isinstance(collector, Counter) else "")  # noqa: SLF001
        labels = ", ".join(f"`{label}`" for label in collector._labelnames) or "–"  # noqa: SLF001
        rows.append(f"| `{name}` | {collector._type} | {labels} | {collector._documentation} |")  # noqa: SLF001
    return "\n".join(rows) + "\n"
