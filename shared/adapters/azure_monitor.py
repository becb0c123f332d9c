"""Send what `shared.telemetry` says to Application Insights, with the app's identity and without a key.

Nothing is sampled: a run has some hundred spans, and custom events are log records, which the sampler does not touch
unless logs follow their trace (`enable_trace_based_sampling_for_logs`, off). The distro's own default would keep five
traces a second. psycopg 3 is not among the libraries that the distro instruments (facts §5), so it is added here;
statements are sent, parameters never.
Spans hang below the Durable instance that called them. PYTHON_ENABLE_OPENTELEMETRY tells the host that the worker sends
its own telemetry, so that nothing is sent twice. Source: azure-functions-runtime, handle_event.py.
"""

import logging

from opentelemetry.sdk._logs import LogRecordProcessor, ReadWriteLogRecord
from opentelemetry.sdk.trace import Span, SpanProcessor

from shared.adapters.azure_credentials import credential
from shared.model.settings import Settings
from shared.telemetry import bound_fields

SAMPLED = 1.0
NOT_USED = ("django", "fastapi", "flask", "psycopg2")


def configure(settings: Settings) -> None:
    """Start sending, once per process; without a connection string nothing is sent."""
    if not settings.telemetry:
        return
    from azure.monitor.opentelemetry import configure_azure_monitor
    from opentelemetry.instrumentation.psycopg import PsycopgInstrumentor

    configure_azure_monitor(
        connection_string=settings.telemetry,
        credential=credential(settings.identity_client_id or None),
        sampling_ratio=SAMPLED,
        enable_trace_based_sampling_for_logs=False,
        enable_live_metrics=False,
        enable_performance_counters=False,
        instrumentation_options={name: {"enabled": False} for name in NOT_USED},
        span_processors=[BoundSpans()],
        log_record_processors=[BoundLogs()],
    )
    PsycopgInstrumentor().instrument(capture_parameters=False)
    for noisy in ("opentelemetry", "azure.monitor"):
        logging.getLogger(noisy).setLevel(logging.WARNING)


class BoundSpans(SpanProcessor):
    """Dependencies carry the run and the phase of the activity that called them."""

    def on_start(self, span: Span, parent_context: object = None) -> None:
        span.set_attributes(dict(bound_fields()))


class BoundLogs(LogRecordProcessor):
    """So do log lines."""

    def on_emit(self, log_record: ReadWriteLogRecord) -> None:
        record = log_record.log_record
        record.attributes = {**bound_fields(), **(record.attributes or {})}

    def shutdown(self) -> None:
        """Nothing is held."""

    def force_flush(self, timeout_millis: int = 30000) -> bool:
        return True
