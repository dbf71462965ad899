"""OTLP requests of uniquely valued points and spans, each known by a number, and their sending."""

import os
import threading
import time

import requests
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.metrics.v1.metrics_pb2 import AGGREGATION_TEMPORALITY_DELTA

HEADERS = {"content-type": "application/x-protobuf"}
MILLISECOND = 1_000_000


def resource_of(holder, service):
    attribute = holder.resource.attributes.add(key="service.name")
    attribute.value.string_value = service


def points(service, numbers, now_ns):
    """A gauge and a delta sum per number; the value is the number, the time differs by a millisecond each."""
    request = ExportMetricsServiceRequest()
    resource = request.resource_metrics.add()
    resource_of(resource, service)
    scope = resource.scope_metrics.add()
    gauge = scope.metrics.add(name="crash.gauge")
    total = scope.metrics.add(name="crash.delta")
    total.sum.aggregation_temporality = AGGREGATION_TEMPORALITY_DELTA
    total.sum.is_monotonic = True
    for at, number in enumerate(numbers):
        time_ns = now_ns + at * MILLISECOND
        gauge.gauge.data_points.add(time_unix_nano=time_ns, as_double=number)
        total.sum.data_points.add(
            start_time_unix_nano=time_ns - MILLISECOND, time_unix_nano=time_ns, as_double=number + 0.5
        )
    return request


def spans(service, numbers, now_ns):
    """A server span per number; its ids hold the number."""
    request = ExportTraceServiceRequest()
    resource = request.resource_spans.add()
    resource_of(resource, service)
    scope = resource.scope_spans.add()
    for number in numbers:
        span = scope.spans.add(
            trace_id=number.to_bytes(16, "big"),
            span_id=number.to_bytes(8, "big"),
            name="crash",
            kind=2,
            start_time_unix_nano=now_ns - 5 * MILLISECOND,
            end_time_unix_nano=now_ns,
        )
        attribute = span.attributes.add(key="crash.number")
        attribute.value.int_value = number
    return request


class Sender(threading.Thread):
    """Sends batches one after the other and remembers which numbers were acknowledged. A request is never sent twice,
    so what is neither acknowledged nor refused may or may not be there."""

    BATCH = 20

    def __init__(self, url, service, first):
        super().__init__(daemon=True)
        self.url = url
        self.service = service
        self.next = first
        self.acked = {"points": set(), "spans": set()}
        self.stopping = threading.Event()
        self.session = requests.Session()
        self.last_ns = 0

    def run(self):
        while not self.stopping.is_set():
            numbers = list(range(self.next, self.next + self.BATCH))
            self.next += self.BATCH
            # Times never overlap between batches, whatever the clock does.
            now_ns = max(time.time_ns(), self.last_ns + (self.BATCH + 1) * MILLISECOND)
            self.last_ns = now_ns
            for kind, build, path in (("points", points, "/v1/metrics"), ("spans", spans, "/v1/traces")):
                body = build(self.service, numbers, now_ns).SerializeToString()
                try:
                    answer = self.session.post(self.url + path, body, headers=HEADERS, timeout=5)
                except requests.RequestException:
                    time.sleep(0.02)
                    continue
                if answer.status_code == 200:
                    self.acked[kind].update(numbers)
                else:
                    time.sleep(0.02)

    def finish(self):
        self.stopping.set()
        self.join(15)
        assert not self.is_alive()
        return self.acked


def quiet_environment():
    return {**os.environ, "RUST_LOG": "warn"}
