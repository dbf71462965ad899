"""Flush and compaction every second on a real collector under load: the number of files falls, and every answer is equal
to the last bit before, during and after. Its own work is traced, and that of its own telemetry is not."""

import json
import time
import urllib.parse

import pytest
import requests
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.metrics.v1.metrics_pb2 import (
    AGGREGATION_TEMPORALITY_CUMULATIVE,
    AGGREGATION_TEMPORALITY_DELTA,
)

from otlp import HEADERS, MILLISECOND, Sender, resource_of, spans
from weir import Collector, fetch, until

SECOND = 1000 * MILLISECOND
# A fixed moment: what is asked for does not move. Retention reaches back to it.
BEGIN = 1_700_000_000
SCRAPES = 40
STEP = 15
CONFIG = "weir: {flush_interval: 1s, compaction_interval: 1s, retention: 30y}\n"


@pytest.fixture
def collector(tmp_path):
    instance = Collector(tmp_path, CONFIG)
    instance.wait_ready()
    yield instance
    assert instance.stop() == 0, instance.text()[-3000:]


def scrape(at):
    """What five instances say at one moment: a gauge, a counter that restarts, histograms of every kind."""
    request = ExportMetricsServiceRequest()
    time_ns = (BEGIN + at * STEP) * SECOND
    for number in range(5):
        resource = request.resource_metrics.add()
        resource_of(resource, "equal")
        instance = resource.resource.attributes.add(key="service.instance.id")
        instance.value.string_value = f"i{number}"
        scope = resource.scope_metrics.add()
        when = {"time_unix_nano": time_ns}
        gauge = scope.metrics.add(name="equal.gauge").gauge.data_points.add(**when)
        gauge.as_double = (at * 7919 + number) % 101 / 7
        counter = scope.metrics.add(name="equal.counter").sum
        counter.is_monotonic = True
        counter.aggregation_temporality = AGGREGATION_TEMPORALITY_CUMULATIVE
        counter.data_points.add(**when, as_double=(at % 25) * (number + 1.1), start_time_unix_nano=BEGIN * SECOND)
        explicit = scope.metrics.add(name="equal.latency", unit="s").histogram
        explicit.aggregation_temporality = AGGREGATION_TEMPORALITY_CUMULATIVE
        explicit.data_points.add(
            **when,
            start_time_unix_nano=BEGIN * SECOND,
            count=at * 6,
            sum=at * 1.3,
            explicit_bounds=[0.1, 1.0],
            bucket_counts=[at, at * 2, at * 3],
        )
        exponential = scope.metrics.add(name="equal.size").exponential_histogram
        exponential.aggregation_temporality = AGGREGATION_TEMPORALITY_DELTA
        point = exponential.data_points.add(
            **when, start_time_unix_nano=time_ns - STEP * SECOND, count=6 + number, sum=at / 3, scale=2, zero_count=number
        )
        point.positive.offset = at % 4
        point.positive.bucket_counts.extend([1, 2, 3])
    return request


def post(collector, path, request):
    status, _, body = fetch(collector.url + path, request.SerializeToString(), HEADERS)
    assert status == 200, body


END = BEGIN + SCRAPES * STEP


def questions():
    """Every kind of answer, over fixed times."""
    half = BEGIN + SCRAPES * STEP // 2
    instant = [
        "equal_gauge",
        "sum by (instance) (rate(equal_counter_total[5m]))",
        "histogram_quantile(0.9, sum by (le) (rate(equal_latency_seconds_bucket[5m])))",
        "histogram_quantile(0.5, sum(increase(equal_size[5m])))",
        "avg_over_time(equal_gauge[5m])",
        "equal_gauge[3m]",
        "sum(equal_size)",
    ]
    found = [("/api/v1/query?" + urllib.parse.urlencode({"query": text, "time": half}), None) for text in instant]
    ranged = [*instant[:5], "count({service_name=\"equal\"})"]
    for text in ranged:
        parameters = {"query": text, "start": BEGIN, "end": END, "step": 20}
        found.append(("/api/v1/query_range?" + urllib.parse.urlencode(parameters), None))
    bounds = {"match[]": '{service_name="equal"}', "start": BEGIN, "end": END}
    for path in ("/api/v1/series", "/api/v1/labels", "/api/v1/label/__name__/values"):
        found.append((f"{path}?{urllib.parse.urlencode(bounds)}", None))
    statements = [
        "select service_name, count(*) as n, sum(duration_ns) as d from spans where service_name = 'equal' group by 1",
        "select span_id, duration_ns from spans where service_name = 'equal' order by span_id limit 50",
        "select metric, count(*) as n, sum(value) as v from samples where metric = 'equal.gauge' group by metric",
    ]
    for statement in statements:
        found.append(("/api/weir/v1/sql", json.dumps({"query": statement}).encode()))
    for number in (1, SCRAPES // 2, SCRAPES - 1):
        found.append((f"/api/traces/{number:032x}", None))
        found.append((f"/api/weir/v1/traces/{number:032x}", None))
    return found


def answers(collector, session):
    texts = []
    for path, body in questions():
        headers = {"content-type": "application/json"} if body else {}
        answer = session.request("POST" if body else "GET", collector.url + path, data=body, headers=headers, timeout=60)
        assert answer.status_code == 200, (path, answer.text[:500])
        texts.append(answer.content)
    return texts


def parts(collector):
    """Files of live parts and how many parts were merged."""
    files = [path for path in (collector.data_dir / "collector").rglob("*.parquet") if "quarantine" not in path.parts]
    merged = [path for path in files if not path.parent.name.startswith("L0-")]
    return len(files), len(merged)


def merges(collector):
    text = fetch(collector.url + "/metrics")[2].decode()
    lines = [line for line in text.splitlines() if line.startswith("weir_store_merges_total")]
    return sum(float(line.split()[-1]) for line in lines)


def test_answers_are_equal_before_during_and_after_compaction(collector):
    """The fixed data arrives in many flushes, its parts are merged while it is asked for, beside a load of other data."""
    noise = [Sender(collector.url, f"noise-{number}", (1 + number) * 10_000_000) for number in range(2)]
    for sender in noise:
        sender.start()
    most_files = 0
    for at in range(SCRAPES):
        post(collector, "/v1/metrics", scrape(at))
        post(collector, "/v1/traces", spans("equal", [at + 1], (BEGIN + at * STEP) * SECOND))
        if at % 5 == 4:
            before = parts(collector)[0]
            until("it is flushed", lambda: parts(collector)[0] != before, 20, 0.05)  # noqa: B023
            most_files = max(most_files, parts(collector)[0])
    with requests.Session() as session:
        first = answers(collector, session)
        assert all(b'"result":[]' not in text for text in first), first
        begun, rounds = merges(collector), 0
        # Asked until several merges have passed under the questions.
        deadline = time.monotonic() + 60
        while merges(collector) < begun + 6 or rounds < 10:
            assert answers(collector, session) == first, f"round {rounds}"
            rounds += 1
            assert time.monotonic() < deadline, (rounds, merges(collector) - begun)
        for sender in noise:
            sender.finish()
        # Nothing new comes; what is over becomes few files.
        until("all of it is in few files", lambda: parts(collector)[0] < most_files, 40)
        assert parts(collector)[1] > 0
        assert answers(collector, session) == first, "after"
    print(f"{rounds} rounds of {len(first)} answers over {merges(collector):.0f} merges; {most_files} files, then {parts(collector)[0]}")


def own_spans(collector):
    statement = "select name, count(*) as n from spans where service_name = 'weir-collector' group by name"
    return {row["name"]: row["n"] for row in collector.sql(statement)}


def test_flush_and_compaction_are_traced_and_their_own_telemetry_is_not(collector):
    # Our own metrics, and the spans of these questions, are flushed alone, and nobody is told.
    until("our own metrics are in files", lambda: parts(collector)[0] > 0, 40)
    until("so are our own spans", lambda: own_spans(collector) and commits(collector) >= 2, 40)
    assert not own_flushes(collector), own_spans(collector)
    wanted = {"flush metrics", "flush traces", "compact metrics", "compact traces"}
    # Somebody else's data is flushed, and that is to be seen.
    number = [1]

    def send_and_look():
        post(collector, "/v1/metrics", scrape(number[0]))
        post(collector, "/v1/traces", spans("seen", [number[0]], time.time_ns()))
        number[0] += 1
        return wanted <= set(own_spans(collector))

    until("flushes and merges are traced", send_and_look, 60, 0.5)
    found = collector.json("/api/weir/v1/services/weir-collector/traces", kind="recent", limit=1000)["traces"]
    names = {trace.get("root_name") or trace.get("name") for trace in found}
    assert wanted & names, found[:3]
    statement = "select * from spans where service_name = 'weir-collector' and name = 'compact metrics' limit 1"
    (span,) = collector.sql(statement)
    text = json.dumps(span)
    for key in ("weir.signal", "weir.parts_in", "weir.rows", "weir.bytes", "weir.level"):
        assert key in text, span
    # When nobody sends any more, the last span of a flush is flushed without another.
    until("it is quiet", lambda: quiet(collector), 60, 0.5)


def quiet(collector):
    """Whether some commits pass, of the spans of these very questions, without a new span of a flush."""
    found, version = own_flushes(collector), commits(collector)
    until("commits pass", lambda: own_spans(collector) and commits(collector) >= version + 2, 30)
    return own_flushes(collector) == found


def commits(collector):
    files = (collector.data_dir / "collector/catalog/traces").iterdir()
    return max((int(path.name.split(".")[0]) for path in files), default=0)


def own_flushes(collector):
    return [count for name, count in own_spans(collector).items() if name.startswith(("flush", "compact"))]
