"""What the operator tells Prometheus about itself; in a registry of its own, so that nothing else gets in.

Figures that somebody else keeps (depth of the queue, age of the watches, who leads) are read when they are asked for.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.process_collector import ProcessCollector
from prometheus_client.registry import Collector

REQUEST_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
RECONCILE_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
VERDICT_SECONDS = (10, 30, 60, 120, 300, 600, 1800, 3600, 7200, 21600, 86400)

Figure = Callable[[], float]
FigureByName = Callable[[], Mapping[str, float]]


class Metrics:
    """Every metric of the operator, and the calls that count."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._reconciles = Counter(
            "tidegate_reconciles", "Looks at a deployment, by how they ended.", ["result"], registry=self.registry
        )
        self._reconcile_seconds = Histogram(
            "tidegate_reconcile_seconds", "How long one look took.", buckets=RECONCILE_SECONDS, registry=self.registry
        )
        self._requests = Counter(
            "tidegate_api_requests", "Requests to the API server; code none: no answer.", ["verb", "code"],
            registry=self.registry,
        )  # fmt: skip
        self._request_seconds = Histogram(
            "tidegate_api_request_seconds", "Until the answer was there; of watches, until they began.", ["verb"],
            buckets=REQUEST_SECONDS, registry=self.registry,
        )  # fmt: skip
        self._rollouts = Counter(
            "tidegate_rollouts", "Rollouts, by how they ended.", ["outcome"], registry=self.registry
        )
        self._verdict_seconds = Histogram(
            "tidegate_verdict_seconds", "From a rollout's first step to its verdict.", buckets=VERDICT_SECONDS,
            registry=self.registry,
        )  # fmt: skip
        self._events = Counter(
            "tidegate_events", "Events: posted, repeated or dropped.", ["result"], registry=self.registry
        )
        self._asked = Counter(
            "tidegate_metrics_api_requests", "Questions for external metrics, by status code.", ["code"],
            registry=self.registry,
        )  # fmt: skip
        ProcessCollector(registry=self.registry)

    def reconciled(self, result: str, seconds: float) -> None:
        self._reconciles.labels(result).inc()
        self._reconcile_seconds.observe(seconds)

    def requested(self, verb: str, code: str, seconds: float) -> None:
        self._requests.labels(verb, code).inc()
        self._request_seconds.labels(verb).observe(seconds)

    def rolled_out(self, outcome: str, seconds: float | None) -> None:
        """A rollout has its verdict, so long after its first step; None: it never came to one."""
        self._rollouts.labels(outcome).inc()
        if seconds is not None:
            self._verdict_seconds.observe(seconds)

    def asked(self, code: int) -> None:
        """Somebody has asked the metrics API."""
        self._asked.labels(str(code)).inc()

    def told(self, result: str) -> None:
        self._events.labels(result).inc()

    def show(self, name: str, meaning: str, figure: Figure) -> None:
        """A figure that is asked for at every scrape."""
        Gauge(name, meaning, registry=self.registry).set_function(figure)

    def show_by(self, name: str, meaning: str, label: str, figures: FigureByName) -> None:
        """The same for several, told apart by a label."""
        self.registry.register(Asked(name, meaning, label, figures))

    def page(self) -> bytes:
        return generate_latest(self.registry)


class Asked(Collector):
    """Figures by label, asked for at every scrape."""

    def __init__(self, name: str, meaning: str, label: str, figures: FigureByName) -> None:
        self._form = (name, meaning, label)
        self._figures = figures

    def collect(self) -> Iterator[Metric]:
        family = self._family()
        for name, figure in self._figures().items():
            family.add_metric([name], figure)
        yield family

    def describe(self) -> Iterable[Metric]:
        return [self._family()]

    def _family(self) -> GaugeMetricFamily:
        name, meaning, label = self._form
        return GaugeMetricFamily(name, meaning, labels=[label])
