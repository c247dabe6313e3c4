"""What the service counts, for Prometheus."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_SECONDS = (0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
_ROWS = (1, 2, 4, 8, 16, 32, 64, 128)


class Metrics:
    """The counters of one service, in a registry of its own. No label ever holds a text or a name
    of a customer.
    """

    def __init__(self) -> None:
        self.registry = own = CollectorRegistry()
        self.request_s = Histogram(
            "flywheel_request_seconds",
            "From the request to the last byte of its answer.",
            ["path", "status"],
            buckets=_SECONDS,
            registry=own,
        )
        self.batch_rows = Histogram(
            "flywheel_batch_rows", "Texts in one pass of a model.", buckets=_ROWS, registry=own
        )
        self.batch_s = Histogram(
            "flywheel_batch_seconds", "One pass of a model.", buckets=_SECONDS, registry=own
        )
        self.waiting = Gauge("flywheel_waiting_texts", "Texts that wait for a model.", registry=own)
        self.refused = Counter(
            "flywheel_refused", "Requests refused, by why.", ["why"], registry=own
        )
        self.answers = Counter(
            "flywheel_answers", "Answers given.", ["version", "abstained", "cached"], registry=own
        )
        self.shadows = Counter(
            "flywheel_shadow_answers", "Answers not shown.", ["version", "what"], registry=own
        )
        self.adapters = Gauge(
            "flywheel_adapters", "Adapters loaded beside the champion.", registry=own
        )
        self.adapter_loads = Counter(
            "flywheel_adapter_loads", "Adapters looked at.", ["result"], registry=own
        )
        self.fallbacks = Counter(
            "flywheel_fallbacks",
            "Texts answered by the champion though they have a version of their own.",
            ["why"],
            registry=own,
        )
        self.feedback = Counter("flywheel_feedback", "Feedback accepted.", ["kind"], registry=own)
        self.commit_s = Histogram(
            "flywheel_commit_seconds",
            "One wait for the disk.",
            ["kind"],
            buckets=_SECONDS,
            registry=own,
        )
        self.unwritten = Counter(
            "flywheel_unwritten_rows", "Rows that the disk did not take.", ["kind"], registry=own
        )
        self.traces = Counter(
            "flywheel_traces",
            "What was to be shown in MLflow: answers and feedback, by what became of it.",
            ["kind", "result"],
            registry=own,
        )
        self.serving = Gauge(
            "flywheel_serving", "1 for the version that answers.", ["version"], registry=own
        )
        self.swaps = Counter("flywheel_swaps", "Versions looked at.", ["result"], registry=own)

    def page(self) -> bytes:
        """Everything in Prometheus' text format."""
        return generate_latest(self.registry)
