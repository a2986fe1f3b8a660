"""The registry behind telemetry: declares metrics, exposes them, and lists them for the docs."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    Metric,
    PlatformCollector,
    ProcessCollector,
    disable_created_metrics,
)
from prometheus_client.exposition import choose_encoder

SECONDS = (0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30, 100, 300, 1000, 3000)
"""Upper bounds of every duration histogram: 10 ms to 50 minutes, a factor of three apart."""

M = TypeVar("M", Counter, Gauge, Histogram)


@dataclass(frozen=True, slots=True)
class Declared:
    """One metric as the reference page shows it."""

    short_name: str
    kind: str
    labels: tuple[str, ...]
    documentation: str

    @property
    def name(self) -> str:
        """What Prometheus calls it; of a histogram or a counter, the beginning of that."""
        return f"forecaster_{self.short_name}"


@dataclass(frozen=True, slots=True)
class _Shown:
    """A registry without the samples whose labels have other values than `values`, by label.

    Filtered when they are exposed: a running job may set any sample at any moment.
    """

    registry: CollectorRegistry
    values: Mapping[str, frozenset[str]]

    def collect(self) -> Iterator[Metric]:
        for metric in self.registry.collect():
            metric.samples = [sample for sample in metric.samples if self._is_shown(sample.labels)]
            yield metric

    def _is_shown(self, labels: Mapping[str, str]) -> bool:
        return all(
            label not in labels or labels[label] in values for label, values in self.values.items()
        )


class Registry:
    """Metrics with the prefix `forecaster_`, never on the global registry."""

    def __init__(self, registry: CollectorRegistry | None = None) -> None:
        """Declare on `registry`, a fresh one if none is passed."""
        disable_created_metrics()  # type: ignore[no-untyped-call]  # it carries no types
        self.registry = registry or CollectorRegistry()
        self.declared: list[Declared] = []
        self._metrics: list[Counter | Gauge | Histogram] = []
        self._shown: dict[str, frozenset[str]] = {}
        ProcessCollector(registry=self.registry)
        PlatformCollector(registry=self.registry)

    def expose(self, accept: str) -> tuple[bytes, str]:
        """Return the metrics in the format the scraper asks for, and its content type."""
        encode, content_type = choose_encoder(accept)
        return encode(_Shown(self.registry, dict(self._shown))), content_type

    def counter(self, name: str, documentation: str, labels: str = "") -> Counter:
        """Declare a counter; `labels` are separated by blanks."""
        return self._declare(Counter, name, documentation, labels)

    def gauge(self, name: str, documentation: str, labels: str = "") -> Gauge:
        """Declare a gauge; `labels` are separated by blanks."""
        return self._declare(Gauge, name, documentation, labels)

    def histogram(
        self, name: str, documentation: str, labels: str = "", buckets: Sequence[float] = SECONDS
    ) -> Histogram:
        """Declare a histogram; `labels` are separated by blanks."""
        return self._declare(Histogram, name, documentation, labels, buckets=buckets)

    def show_only(self, label: str, values: Collection[str]) -> None:
        """Expose of samples with this label only those with one of `values`."""
        self._shown[label] = frozenset(values)

    def forget(self, label: str, value: str) -> None:
        """Remove the samples whose `label` is `value`."""
        for declared, metric in zip(self.declared, self._metrics, strict=True):
            if label in declared.labels:
                metric.remove_by_labels({label: value})

    def _declare(
        self, kind: type[M], name: str, documentation: str, labels: str, **options: Any
    ) -> M:
        declared = Declared(name, kind.__name__.lower(), tuple(labels.split()), documentation)
        metric = kind(
            declared.name, documentation, declared.labels, registry=self.registry, **options
        )
        self.declared.append(declared)
        self._metrics.append(metric)
        return metric


def reference(declared: Sequence[Declared]) -> str:
    """Return the metrics as a Markdown table: what the documentation shows."""
    lines = ["| metric | type | labels | meaning |", "|---|---|---|---|"]
    for metric in declared:
        labels = ", ".join(f"`{label}`" for label in metric.labels) or "–"
        lines.append(f"| `{metric.name}` | {metric.kind} | {labels} | {metric.documentation} |")
    return "\n".join(lines)
