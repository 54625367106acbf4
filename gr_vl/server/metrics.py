"""What Prometheus is told. Never a text, never a name that a caller chose."""

from collections.abc import Callable, Iterable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from gr_vl.guard.moderation import Moderation

ROUTES = ("/v1/moderations", "/v1/chat/completions", "/v1/models", "/health", "/metrics")
_SECONDS = (0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30, 100)


class Metrics:
    """A registry of its own, so that two servers in one process do not mix."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._requests = Counter("gr_vl_requests", "Answered requests.", ["route", "status"], registry=self.registry)
        self._seconds = Histogram(
            "gr_vl_request_seconds", "From first byte to answer.", ["route"], buckets=_SECONDS, registry=self.registry
        )
        self._labels = Counter("gr_vl_labels", "Labels by task.", ["task", "label"], registry=self.registry)
        self._failures = Counter(
            "gr_vl_failures", "Answers that could not be read, by reason.", ["reason"], registry=self.registry
        )
        self._tokens = Counter("gr_vl_tokens", "Tokens that the guard chose.", registry=self.registry)
        self._waiting = Gauge("gr_vl_waiting", "Exchanges that wait.", registry=self.registry)

    def watch(self, waiting: Callable[[], float]) -> None:
        """Where the length of the queue is read."""
        self._waiting.set_function(waiting)

    def answered(self, path: str, status: int, seconds: float) -> None:
        """One request ended."""
        route = path if path in ROUTES else "other"
        self._requests.labels(route, str(status)).inc()
        self._seconds.labels(route).observe(seconds)

    def judged(self, moderations: Iterable[Moderation]) -> None:
        """Exchanges were judged."""
        for moderation in moderations:
            self._tokens.inc(moderation.written.tokens)
            if moderation.failure is not None:
                self._failures.labels(str(moderation.failure)).inc()
            for task, label in moderation.labels.items():
                self._labels.labels(str(task), str(label)).inc()

    def page(self) -> bytes:
        """All of it, in Prometheus' text format."""
        return generate_latest(self.registry)
