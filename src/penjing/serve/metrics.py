"""What Prometheus asks for: requests, queues, sizes of batches, latencies, tokens, memory."""

import os
from pathlib import Path

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead

from penjing.core.runtime import metrics_folder, resident_bytes

SECONDS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0)
ROWS = tuple(2**power for power in range(13))
NO_MODEL = ""  # the label of requests that are about none


class Metrics:
    """The counters of one server; of several workers each has its own, and a page shows their sums."""

    def __init__(self) -> None:
        own = self._registry = CollectorRegistry()
        self._requests = Counter("penjing_requests", "Requests answered", ("route", "model", "status"), registry=own)
        self._seconds = Histogram(
            "penjing_request_seconds",
            "From the head of a request to the end of its answer",
            ("route", "model"),
            registry=own,
            buckets=SECONDS,
        )
        self._batch_rows = Histogram("penjing_batch_rows", "Rows answered at once", ("model",), registry=own, buckets=ROWS)
        self._batch_seconds = Histogram("penjing_batch_seconds", "Time to answer them", ("model",), registry=own, buckets=SECONDS)
        self._tokens = Counter("penjing_tokens", "Tokens read, or what else counts as a row's length", ("model",), registry=own)
        self._queue = Gauge("penjing_queue_rows", "Rows that wait", ("model",), registry=own, multiprocess_mode="livesum")
        self._memory = Gauge("penjing_memory_bytes", "Memory that is resident", registry=own, multiprocess_mode="livesum")

    def request(self, route: str, model: str, status: int, seconds: float) -> None:
        """One request has its answer."""
        self._requests.labels(route, model, status).inc()
        self._seconds.labels(route, model).observe(seconds)

    def batch(self, model: str, rows: int, tokens: int, seconds: float, waiting: int) -> None:
        """One batch has its answers."""
        self._batch_rows.labels(model).observe(rows)
        self._batch_seconds.labels(model).observe(seconds)
        self._tokens.labels(model).inc(tokens)
        self._queue.labels(model).set(waiting)

    def queue(self, model: str, waiting: int) -> None:
        """How many rows wait for a model now."""
        self._queue.labels(model).set(waiting)

    def page(self) -> bytes:
        """All of it in the text format of Prometheus."""
        self._memory.set(resident_bytes())
        folder = metrics_folder()
        if folder is None:
            return generate_latest(self._registry)
        for path in Path(folder).glob("gauge_live*_*.db"):
            pid = int(path.stem.rsplit("_", 1)[1])
            if not _alive(pid):
                mark_process_dead(pid, str(folder))
        everywhere = CollectorRegistry()
        MultiProcessCollector(everywhere, str(folder))
        return generate_latest(everywhere)


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True
