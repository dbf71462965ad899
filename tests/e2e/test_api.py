"""The collector's HTTP API over fixed data at fixed times: every path against committed answers (`UPDATE=1` rewrites
them), and Prometheus' paths against Debian's Prometheus over the same samples."""

import json
import os
import pathlib
import subprocess
import urllib.parse

import pytest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.metrics.v1.metrics_pb2 import (
    AGGREGATION_TEMPORALITY_CUMULATIVE,
    AGGREGATION_TEMPORALITY_DELTA,
)
from opentelemetry.proto.trace.v1.trace_pb2 import TracesData

from otlp import HEADERS
from weir import Collector, Prometheus, fetch

GOLDEN = pathlib.Path(__file__).parent / "golden"
SECOND = 1_000_000_000
# A fixed moment, a whole minute; retention reaches back to it.
BEGIN = 1_700_000_040
STEP = 15
POINTS = 40
END = BEGIN + STEP * (POINTS - 1)
# Between two samples: Prometheus 2 counts one at the very begin of a range, Prometheus 3 and Weir do not.
HALF = BEGIN + STEP * 20 + 7
TRACE = "0123456789abcdef0123456789abcdef"
FORM = {"content-type": "application/x-www-form-urlencoded"}
INSTANCES = ("a:1", "b:2")
# What changes from run to run or build to build, wherever it stands in an answer.
UNSTEADY = {
    "applicationVersion", "hostname", "serverTime", "startTime", "lastConfigTime", "GOMAXPROCS", "last_seen_seconds_ago",
    "lag_seconds", "sdk", "sparkline", "rate", "p95_seconds", "last_seen",
}  # fmt: skip


def attribute(holder, **values):
    for key, value in values.items():
        added = holder.attributes.add(key=key.replace("__", "."))
        if isinstance(value, bool):
            added.value.bool_value = value
        elif isinstance(value, int):
            added.value.int_value = value
        else:
            added.value.string_value = value


def gauge_value(at, number):
    return (at * 31 + number * 7) % 50 / 4


def counter_value(at, number):
    """It restarts in the middle."""
    return (at if at < 23 else at - 23) * (number + 1) * 2.5


def bucket_counts(at, number):
    return [at * (number + 1), at * 2, at]


def metrics():
    """A gauge, a counter, an explicit and an exponential histogram, of two instances; an exemplar."""
    request = ExportMetricsServiceRequest()
    for number, instance in enumerate(INSTANCES):
        resource = request.resource_metrics.add()
        attribute(
            resource.resource, service__name="api", service__namespace="shop", service__instance__id=instance, team="red"
        )
        scope = resource.scope_metrics.add()
        gauge = scope.metrics.add(name="api.gauge").gauge
        counter = scope.metrics.add(name="api.jobs", unit="{job}").sum
        counter.is_monotonic = True
        counter.aggregation_temporality = AGGREGATION_TEMPORALITY_CUMULATIVE
        latency = scope.metrics.add(name="api.latency", unit="s").histogram
        latency.aggregation_temporality = AGGREGATION_TEMPORALITY_CUMULATIVE
        size = scope.metrics.add(name="api.size", unit="By").exponential_histogram
        size.aggregation_temporality = AGGREGATION_TEMPORALITY_DELTA
        for at in range(POINTS):
            time_ns = (BEGIN + at * STEP) * SECOND
            begin_ns = (BEGIN - STEP) * SECOND if at < 23 else (BEGIN + 23 * STEP - 1) * SECOND
            attribute(gauge.data_points.add(time_unix_nano=time_ns, as_double=gauge_value(at, number)), room='"b\\"é')
            value = counter_value(at, number)
            counter.data_points.add(start_time_unix_nano=begin_ns, time_unix_nano=time_ns, as_double=value)
            counts = bucket_counts(at, number)
            point = latency.data_points.add(
                start_time_unix_nano=(BEGIN - STEP) * SECOND,
                time_unix_nano=time_ns,
                count=sum(counts),
                sum=at * 1.25,
                explicit_bounds=[0.1, 2.5],
                bucket_counts=counts,
            )
            if at == 20 and number == 0:
                exemplar = point.exemplars.add(time_unix_nano=time_ns, as_double=0.7, trace_id=bytes.fromhex(TRACE))
                exemplar.span_id = bytes.fromhex("00000000000000a1")
            exponential = size.data_points.add(
                start_time_unix_nano=time_ns - STEP * SECOND, time_unix_nano=time_ns, count=7, sum=100, scale=1, zero_count=1
            )
            exponential.positive.offset = 2
            exponential.positive.bucket_counts.extend([1, 0, 3, 2])
    return request


def traces():
    """A trace over two services with an error, an event and a link."""
    request = ExportTraceServiceRequest()
    spans = {}
    for service in ("front", "stock"):
        resource = request.resource_spans.add()
        attribute(resource.resource, service__name=service, service__namespace="shop", service__version="1.2", host__name="h1")
        scope = resource.scope_spans.add()
        scope.scope.name = "lib"
        spans[service] = scope.spans
    begin = BEGIN * SECOND

    def span(service, number, parent, name, kind, start, length):
        return spans[service].add(
            trace_id=bytes.fromhex(TRACE),
            span_id=number.to_bytes(8, "big"),
            parent_span_id=parent.to_bytes(8, "big") if parent else b"",
            name=name,
            kind=kind,
            start_time_unix_nano=begin + start,
            end_time_unix_nano=begin + start + length,
        )

    root = span("front", 0xA1, 0, "GET /cart", 2, 0, 50_000_000)
    attribute(root, http__request__method="GET", http__route="/cart", http__response__status_code=500, cached=False)
    root.status.code = 2
    root.status.message = "no stock"
    call = span("front", 0xA2, 0xA1, "GET", 3, 5_000_000, 30_000_000)
    attribute(call, server__address="stock")
    inner = span("stock", 0xA3, 0xA2, "GET /items", 2, 6_000_000, 20_000_000)
    event = inner.events.add(time_unix_nano=begin + 7_000_000, name="exception")
    attribute(event, exception__type="KeyError", exception__message="tea")
    link = inner.links.add(trace_id=bytes(range(16)), span_id=bytes(range(8)))
    attribute(link, why="retry")
    inner.status.code = 2
    return request


@pytest.fixture(scope="module")
def collector(tmp_path_factory):
    instance = Collector(tmp_path_factory.mktemp("api"), "weir: {retention: 30y}\n")
    instance.wait_ready()
    for path, request in (("/v1/metrics", metrics()), ("/v1/traces", traces())):
        status, _, body = fetch(instance.url + path, request.SerializeToString(), HEADERS)
        assert (status, body) == (200, b""), body
    yield instance
    assert instance.stop() == 0, instance.text()[-2000:]


def ask(url, path, form=None, headers=None, **parameters):
    """(status, content type, body) of a GET, or of a POST with a form."""
    query = "?" + urllib.parse.urlencode(parameters, doseq=True) if parameters else ""
    data = urllib.parse.urlencode(form, doseq=True).encode() if form is not None else None
    status, answered, body = fetch(url + path + query, data, {**(FORM if form is not None else {}), **(headers or {})})
    return status, answered["content-type"], body


def steady(value, key=None):
    """The answer with what is never the same twice replaced by its type."""
    if key in UNSTEADY:
        return type(value).__name__
    if isinstance(value, dict):
        return {name: steady(inner, name) for name, inner in value.items()}
    return [steady(inner) for inner in value] if isinstance(value, list) else value


def golden(name, found):
    """Compares with the committed answers, or commits them."""
    path = GOLDEN / f"{name}.json"
    if os.environ.get("UPDATE"):
        GOLDEN.mkdir(exist_ok=True)
        path.write_text(json.dumps(found, indent=1, ensure_ascii=False, sort_keys=True) + "\n")
    kept = json.loads(path.read_text())
    for what in sorted({*kept, *found}):
        assert found.get(what) == kept.get(what), f"{name}: {what}"


def answered(collector, questions):
    found = {}
    for title, (path, more) in questions.items():
        status, kind, body = ask(collector.url, path, **more)
        shown = steady(json.loads(body)) if kind and kind.startswith("application/json") else body.decode()
        found[title] = {"status": status, "type": kind, "body": shown}
    return found


FIXED = {"start": BEGIN + 7, "end": END}
API = '{__name__=~"api_.*"}'
# Asked of Weir and of Prometheus alike; the data is the same there.
SHARED = {
    "instant vector": ("/api/v1/query", {"query": "api_gauge", "time": HALF}),
    "instant vector, no such": ("/api/v1/query", {"query": "nothing", "time": HALF}),
    "instant, rfc3339": ("/api/v1/query", {"query": "sum(api_gauge)", "time": "2023-11-14T22:19:00Z"}),
    "instant, fraction": ("/api/v1/query", {"query": "sum(api_gauge)", "time": HALF + 0.25}),
    "scalar": ("/api/v1/query", {"query": "scalar(sum(api_gauge)) / 3", "time": HALF}),
    "string": ("/api/v1/query", {"query": '"a\\"é"', "time": HALF}),
    "infinities": ("/api/v1/query", {"query": "api_gauge * Inf or -api_gauge / 0", "time": HALF}),
    "small and large": ("/api/v1/query", {"query": "sum(api_gauge) * 1e-9 or vector(1e21) or vector(123456789)", "time": HALF}),
    "matrix": ("/api/v1/query", {"query": "api_jobs_total[1m]", "time": HALF}),
    "rate": ("/api/v1/query", {"query": "sum by (instance) (rate(api_jobs_total[5m]))", "time": HALF}),
    "quantile": (
        "/api/v1/query",
        {"query": "histogram_quantile(0.9, sum by (le) (rate(api_latency_seconds_bucket[5m])))", "time": HALF},
    ),
    "range": ("/api/v1/query_range", {"query": "api_gauge", **FIXED, "step": 60}),
    "range, duration step": ("/api/v1/query_range", {"query": "increase(api_jobs_total[2m])", **FIXED, "step": "1m30s"}),
    "range, scalar": ("/api/v1/query_range", {"query": "1", **FIXED, "step": 120}),
    "range, empty": ("/api/v1/query_range", {"query": "nothing", **FIXED, "step": 60}),
    "series": ("/api/v1/series", {"match[]": API, **FIXED}),
    "series of two": ("/api/v1/series", {"match[]": ["api_gauge", 'api_jobs_total{instance="a:1"}'], **FIXED}),
    "series elsewhere": ("/api/v1/series", {"match[]": API, "start": BEGIN - 9000, "end": BEGIN - 8000}),
    "labels": ("/api/v1/labels", {"match[]": API, **FIXED}),
    "values": ("/api/v1/label/instance/values", {"match[]": API, **FIXED}),
    "values of names": ("/api/v1/label/__name__/values", {"match[]": API, **FIXED}),
    "values of no label": ("/api/v1/label/nothing/values", {"match[]": API, **FIXED}),
    "format": ("/api/v1/format_query", {"query": "sum  by(a)(x{b='c'})"}),
    "exemplars, none": ("/api/v1/query_exemplars", {"query": "api_gauge", **FIXED}),
    "rules": ("/api/v1/rules", {}),
    "alerts": ("/api/v1/alerts", {}),
    "alertmanagers": ("/api/v1/alertmanagers", {}),
    "metadata, none": ("/api/v1/metadata", {"metric": "nothing"}),
    "error: no query": ("/api/v1/query", {}),
    "error: no PromQL": ("/api/v1/query", {"query": "sum(rate(x[5m])"}),
    "error: unknown function": ("/api/v1/query", {"query": "nothing(x)"}),
    "error: types": ("/api/v1/query", {"query": "rate(x)"}),
    "error: time": ("/api/v1/query", {"query": "1", "time": "yesterday"}),
    "error: timeout": ("/api/v1/query", {"query": "1", "timeout": "soon"}),
    "error: many to many": ("/api/v1/query", {"query": "api_gauge * on (job) api_jobs_total", "time": HALF}),
    "error: no start": ("/api/v1/query_range", {"query": "1", "end": END, "step": 1}),
    "error: order": ("/api/v1/query_range", {"query": "1", "start": END, "end": BEGIN, "step": 1}),
    "error: step": ("/api/v1/query_range", {"query": "1", **FIXED, "step": 0}),
    "error: step is no duration": ("/api/v1/query_range", {"query": "1", **FIXED, "step": "x"}),
    "error: points": ("/api/v1/query_range", {"query": "1", "start": 0, "end": END, "step": 1}),
    "error: a range of a range": ("/api/v1/query_range", {"query": "x[5m]", **FIXED, "step": 60}),
    "error: no match": ("/api/v1/series", {}),
    "error: match": ("/api/v1/series", {"match[]": "{"}),
    "error: match of everything": ("/api/v1/series", {"match[]": '{a=~".*"}'}),
    "error: labels' match": ("/api/v1/labels", {"match[]": "}"}),
    "error: labels' start": ("/api/v1/labels", {"start": "x"}),
    "error: exemplars' order": ("/api/v1/query_exemplars", {"query": "x", "start": END, "end": BEGIN}),
    "error: exemplars' query": ("/api/v1/query_exemplars", {"query": "(", **FIXED}),
    "error: format": ("/api/v1/format_query", {"query": "("}),
}


def shared_questions():
    """Each by GET, and by POST with a form where Prometheus takes one."""
    posted = ("/query", "/query_range", "/query_exemplars", "/series", "/labels", "/format_query")
    for title, (path, parameters) in SHARED.items():
        yield title, path, parameters
        if path.endswith(posted):
            yield f"{title}, posted", path, {"form": parameters}


def test_prometheus_paths(collector):
    own = {
        "native histogram": ("/api/v1/query", {"query": "api_size_bytes", "time": HALF}),
        "native histograms": ("/api/v1/query_range", {"query": "rate(api_size_bytes[1m])", **FIXED, "step": 120}),
        "exemplars": ("/api/v1/query_exemplars", {"query": "api_latency_seconds_bucket", **FIXED}),
        "target_info": ("/api/v1/query", {"query": "target_info", "time": HALF}),
        "metadata": ("/api/v1/metadata", {"metric": "api_jobs_total"}),
        "limit": ("/api/v1/query", {"query": "api_gauge", "time": HALF, "limit": 1}),
        "limit of labels": ("/api/v1/labels", {"match[]": API, "limit": 2, **FIXED}),
        "stats": ("/api/v1/query", {"query": "1", "time": HALF, "stats": "all"}),
        "warning": ("/api/v1/query", {"query": "quantile(7, api_gauge)", "time": HALF}),
        "info": ("/api/v1/query", {"query": "rate(api_gauge[5m])", "time": HALF}),
        "otel name": ("/api/v1/query", {"query": '{"api.gauge"}', "time": HALF}),
        "escaped label": ("/api/v1/label/U__service_2e_name/values", {"match[]": API, **FIXED}),
        "buildinfo": ("/api/v1/status/buildinfo", {}),
        "runtimeinfo": ("/api/v1/status/runtimeinfo", {}),
        "flags": ("/api/v1/status/flags", {}),
        "config": ("/api/v1/status/config", {}),
        "targets": ("/api/v1/targets", {}),
        "no such path": ("/api/v1/nothing", {}),
        "healthy": ("/-/healthy", {}),
        "ready": ("/-/ready", {}),
        "odd label name": ("/api/v1/label/1-2/values", {}),
        "error: limit": ("/api/v1/query", {"query": "1", "limit": -1}),
        "error: lookback": ("/api/v1/query", {"query": "1", "lookback_delta": 0}),
    }
    questions = {title: (path, parameters) for title, path, parameters in shared_questions()} | own
    found = answered(collector, questions)
    # A form says what a query says, so it is compared and not kept.
    for title in [title for title in found if title.endswith(", posted")]:
        assert found.pop(title) == found[title.removesuffix(", posted")], title
    golden("prometheus", found)


def test_tempo_paths(collector):
    questions = {}
    for prefix in ("", "/tempo"):
        questions |= {
            f"{prefix} echo": (f"{prefix}/api/echo", {}),
            f"{prefix} buildinfo": (f"{prefix}/api/status/buildinfo", {}),
            f"{prefix} trace": (f"{prefix}/api/traces/{TRACE}", {}),
            f"{prefix} trace, version 2": (f"{prefix}/api/v2/traces/{TRACE}", {}),
            f"{prefix} no such trace": (f"{prefix}/api/traces/{'7' * 32}", {}),
            f"{prefix} no trace id": (f"{prefix}/api/traces/xyz", {}),
        }
    found = answered(collector, questions)
    for title in [title for title in found if title.startswith("/tempo")]:
        assert found.pop(title) == found[title.removeprefix("/tempo")], title
    golden("tempo", found)
    # Protobuf holds the same trace as was sent.
    status, kind, body = ask(collector.url, f"/api/traces/{TRACE}", headers={"accept": "application/protobuf"})
    assert (status, kind) == (200, "application/protobuf")

    def spans(message):
        found = {}
        for resource in message.resource_spans:
            who = sorted((pair.key, pair.value.string_value) for pair in resource.resource.attributes)
            for scope in resource.scope_spans:
                for span in scope.spans:
                    # A status that was not sent is one that is not set.
                    span.status.SetInParent()
                    # Attributes have no order.
                    for holder in (span, *span.events, *span.links):
                        held = sorted(holder.attributes, key=lambda pair: pair.key)
                        del holder.attributes[:]
                        holder.attributes.extend(held)
                    found[span.span_id] = (who, scope.scope.name, span.SerializeToString())
        return found

    assert spans(TracesData.FromString(body)) == spans(traces())


def test_our_own_paths(collector):
    window = {"start": BEGIN - 10, "end": END + 10}
    own = "/api/weir/v1"
    questions = {
        "trace": (f"{own}/traces/{TRACE}", {}),
        "no such trace": (f"{own}/traces/{'7' * 32}", {}),
        "no trace id": (f"{own}/traces/xyz", {}),
        "traces of a service": (f"{own}/services/shop%2Ffront/traces", {"kind": "recent", **window}),
        "slow traces": (f"{own}/services/shop%2Fstock/traces", {"kind": "slow", **window}),
        "failed traces": (f"{own}/services/shop%2Ffront/traces", {"kind": "failed", **window}),
        "traces of nobody": (f"{own}/services/nobody/traces", {"kind": "recent", **window}),
        "error: kind": (f"{own}/services/front/traces", {"kind": "odd", **window}),
        "services": (f"{own}/services", window),
        "hosts": (f"{own}/hosts", window),
        "error: order": (f"{own}/hosts", {"start": END, "end": BEGIN}),
        "why, never seen": (f"{own}/why", {"query": "never_seen", **window}),
        "why, filtered": (f"{own}/why", {"query": 'api_gauge{room="kitchen"}', **window}),
        "error: no dashboard": (f"{own}/dashboards/service", {}),
        "error: sql": (f"{own}/sql", {"form": {"query": "select 1"}}),
        "no such path": (f"{own}/nothing", {}),
    }
    found = answered(collector, questions)
    statements = {
        "sql": "select name, kind, duration_ns, service_name from spans where service_namespace = 'shop' order by duration_ns",
        "sql of samples": "select metric, count(*) as n, sum(value) as v from samples where metric in ('api.gauge', 'api.jobs') group by metric order by metric",
        "error: no SQL": "selekt 1",
        "error: no table": "select * from nothing",
        "error: it writes": "create table x (a int)",
    }
    for title, statement in statements.items():
        body = json.dumps({"query": statement}).encode()
        status, headers, answer = fetch(f"{collector.url}{own}/sql", body, {"content-type": "application/json"})
        found[title] = {"status": status, "type": headers["content-type"], "body": json.loads(answer)}
    # Dashboards have their own golden files; here it counts that they are served.
    for path, parameter in (("dashboards/service", "service"), ("dashboards/host", "host")):
        status, kind, body = ask(collector.url, f"{own}/{path}", **{parameter: "shop/front"})
        assert (status, kind) == (200, "application/json") and json.loads(body), path
    for path, parameter in (("grafana/service", "service"), ("grafana/host", "host")):
        status, _, body = ask(collector.url, f"{own}/{path}", **{parameter: "shop/front"})
        assert status == 200 and json.loads(body)["panels"], path
    senders = collector.json(f"{own}/arrivals")["senders"]
    found["arrivals"] = sorted(
        (steady(row) for row in senders if row["service"].startswith("shop/")), key=lambda row: row["service"]
    )
    golden("weir", found)


def openmetrics():
    """The samples of `metrics` that Debian's Prometheus can take, as Weir names and labels them."""
    lines = []

    def family(name, kind, rows):
        lines.append(f"# TYPE {name} {kind}")
        for suffix, labels, value in rows:
            for number, instance in enumerate(INSTANCES):
                pairs = {
                    "instance": instance,
                    "job": "shop/api",
                    "service_instance_id": instance,
                    "service_name": "api",
                    "service_namespace": "shop",
                    **labels,
                }
                shown = ",".join(f"{key}={json.dumps(text, ensure_ascii=False)}" for key, text in sorted(pairs.items()))
                for at in range(POINTS):
                    lines.append(f"{name}{suffix}{{{shown}}} {value(at, number)!r} {BEGIN + at * STEP}")

    def cumulated(upto):
        return lambda at, number: sum(bucket_counts(at, number)[:upto])

    family("api_gauge", "gauge", [("", {"room": '"b\\"é'}, gauge_value)])
    family("api_jobs", "counter", [("_total", {}, counter_value)])
    buckets = [("_bucket", {"le": le}, cumulated(upto)) for upto, le in ((1, "0.1"), (2, "2.5"), (3, "+Inf"))]
    family("api_latency_seconds", "histogram", [*buckets, ("_count", {}, cumulated(3)), ("_sum", {}, lambda at, _: at * 1.25)])
    return "\n".join([*lines, "# EOF", ""])


@pytest.fixture(scope="module")
def prometheus(tmp_path_factory):
    folder = tmp_path_factory.mktemp("prometheus")
    (folder / "samples").write_text(openmetrics())
    made = subprocess.run(
        ["promtool", "tsdb", "create-blocks-from", "openmetrics", folder / "samples", folder / "prometheus"],
        capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert made.returncode == 0, made.stdout + made.stderr
    process = Prometheus(folder, "{}\n", "--storage.tsdb.retention.time=100y").wait_ready()
    yield process.url
    process.stop()


# Prometheus 3 says it otherwise than Debian's 2; Weir says it as 3 does. The kind of error and the status are compared.
OTHER_WORDS = (
    "error: no PromQL", "error: match", "error: labels' match", "error: exemplars' query", "error: format", "error: no query",
    "error: many to many", "error: match of everything", "error: unknown function", "error: types",
    "error: a range of a range", "error: timeout", "error: step is no duration", "error: exemplars' order",
)  # fmt: skip
# Classic histograms of OTLP are whole in Weir: native histograms are listed beside them, which Debian's has none of.
NATIVE = "api_size_bytes"


def without_native(body):
    data = body.get("data")
    if isinstance(data, list):
        body["data"] = [row for row in data if row != NATIVE and not (isinstance(row, dict) and row.get("__name__") == NATIVE)]
    return body


def test_prometheus_answers_the_same(collector, prometheus):
    differ = []
    for title, path, parameters in shared_questions():
        ours, theirs = (ask(url, path, **parameters) for url in (collector.url, prometheus))
        left, right = without_native(json.loads(ours[2])), without_native(json.loads(theirs[2]))
        # Debian's Prometheus reports no types of what never was scraped.
        if title.removesuffix(", posted") in OTHER_WORDS:
            for body in (left, right):
                body.pop("error", None)
        if ours[0] != theirs[0] or ours[1] != theirs[1] or canonical(left) != canonical(right):
            differ.append((title, ours[:2], left, theirs[:2], right))
    assert not differ, "\n".join(str(one)[:1500] for one in differ)


def canonical(body):
    """Vectors and matrices have no order; a rate may differ in its last bit."""
    data = body.get("data")
    if isinstance(data, dict) and isinstance(data.get("result"), list) and data.get("resultType") in ("vector", "matrix"):
        data["result"].sort(key=lambda row: json.dumps(row["metric"], sort_keys=True))
        for row in data["result"]:
            for point in [*row.get("values", []), *([row["value"]] if "value" in row else [])]:
                point[1] = point[1] if point[1] in ("NaN", "+Inf", "-Inf") else f"{float(point[1]):.13g}"
    if isinstance(data, list) and data and isinstance(data[0], dict):
        body["data"] = sorted(data, key=lambda row: json.dumps(row, sort_keys=True))
    return body
