"""Debian's Prometheus writes what it scrapes into Weir: what both then hold is the same, sample by sample."""

import struct
import time

import pytest

from weir import NodeExporter, Prometheus, Weir, ask, fetch, until

SCRAPES = 10
# Back from the latest scrape, which may not have arrived whole, and away from any: Debian's Prometheus counts a sample
# that lies on the left end of a window, Prometheus 3 and Weir do not.
BETWEEN = 0.5
PROTOBUF = "application/x-protobuf"


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    folder = tmp_path_factory.mktemp("remote_write")
    weir = Weir(folder).wait_ready()
    exporter = NodeExporter(folder)
    prometheus = Prometheus(
        folder,
        lambda address: f"""
global: {{scrape_interval: 1s, scrape_timeout: 1s}}
scrape_configs:
  - job_name: node
    static_configs: [{{targets: ['{exporter.address}'], labels: {{env: test}}}}]
  - job_name: prometheus
    static_configs: [{{targets: ['{address}']}}]
remote_write:
  - url: {weir.url}/api/v1/write
    queue_config: {{batch_send_deadline: 200ms}}
""",
    ).wait_ready()
    weir.exporter, weir.prometheus = exporter, prometheus.url
    until("enough scrapes", lambda: ask(weir.prometheus, f"count_over_time(up[5m]) >= {SCRAPES}"), 60, 0.5)
    yield weir
    for process in (prometheus, exporter):
        if process.running():
            process.stop()
    assert weir.stop() == 0, weir.text()[-2000:]


def table(result, part):
    return {tuple(sorted(row["metric"].items())): row[part] for row in result}


def settled(pair, promql):
    """The latest time of a series in Prometheus that Weir holds too: what came before is in both."""
    latest = float(ask(pair.prometheus, f"timestamp({promql})")[0]["value"][1])
    until("Weir holds what Prometheus holds", lambda: ask(pair.url, f"timestamp({promql}) >= {latest}"), 20)
    return latest


def test_every_sample_of_every_series_is_the_same(pair):
    at = settled(pair, 'up{job="node"}') - BETWEEN
    for job, least in (("node", 300), ("prometheus", 100)):
        selector = f'{{job="{job}"}}[8s]'
        ours, theirs = (table(ask(url, selector, time=at), "values") for url in (pair.url, pair.prometheus))
        assert len(theirs) > least
        assert ours.keys() == theirs.keys()
        different = [name for name in theirs if ours[name] != theirs[name]]
        assert not different, "\n".join(f"{name}: {ours[name]} {theirs[name]}" for name in different[:3])


@pytest.mark.parametrize(
    "promql",
    [
        "sum by (mode) (rate(node_cpu_seconds_total[5s]))",
        "100 * (1 - node_memory_MemAvailable_bytes / node_memory_MemTotal_bytes)",
        'count by (job) ({env="test"})',
        "histogram_quantile(0.9, sum by (le, handler) (rate(prometheus_http_request_duration_seconds_bucket[5s])))",
        "topk(3, scrape_duration_seconds)",
    ],
)
def test_the_same_answers(pair, promql):
    at = settled(pair, 'up{job="prometheus"}') - BETWEEN
    ours, theirs = (table(ask(url, promql, time=at), "value") for url in (pair.url, pair.prometheus))
    assert theirs
    assert ours.keys() == theirs.keys()
    for name, (_, value) in theirs.items():
        assert float(ours[name][1]) == pytest.approx(float(value), rel=1e-12, nan_ok=True), name


def test_staleness_is_carried(pair):
    assert ask(pair.url, "node_load1")
    pair.exporter.stop()
    until("stale in Prometheus", lambda: ask(pair.prometheus, "node_load1") == [], 15)
    until("stale in Weir", lambda: ask(pair.url, "node_load1") == [], 15)
    assert ask(pair.url, "count_over_time(node_load1[5m])")


def varint(value):
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])


def field(number, payload):
    return varint(number << 3 | 2) + varint(len(payload)) + payload


def series(labels, *samples):
    """A `prometheus.TimeSeries`; samples as (value, milliseconds)."""
    pairs = b"".join(field(1, field(1, name) + field(2, value)) for name, value in labels)
    points = (field(2, b"\x09" + struct.pack("<d", value) + b"\x10" + varint(at)) for value, at in samples)
    return field(1, pairs + b"".join(points))


def snappy(data):
    """The block format, in literals alone."""
    pieces = (data[at : at + 60] for at in range(0, len(data), 60))
    return varint(len(data)) + b"".join(bytes([(len(piece) - 1) << 2]) + piece for piece in pieces)


def write(weir, body):
    headers = {"content-type": PROTOBUF, "content-encoding": "snappy"}
    status, _, answer = fetch(weir.url + "/api/v1/write", body, headers)
    return status, answer.decode()


def now_ms():
    return time.time_ns() // 1_000_000


def test_one_bad_series_takes_nothing_else_with_it(pair):
    now = now_ms()
    good = [[(b"__name__", b"rw_good"), (b"n", b"%d" % n)] for n in range(3)]
    request = (
        series(good[0], (1.5, now - 1000), (2.5, now))
        + series([(b"__name__", b"rw_bad"), (b"text", b"\xff\xfe")], (1, now))
        + series([(b"n", b"no name")], (1, now))
        + series(good[1], (7, now))
        + series(good[2], (1e300, now), (8, 2**63 - 1))
    )
    status, text = write(pair, snappy(request))
    assert status == 400
    assert "rw_bad" in text, text
    values = {row["metric"]["n"]: float(row["value"][1]) for row in ask(pair.url, "rw_good", time=now / 1000)}
    assert values == {"0": 2.5, "1": 7, "2": 1e300}
    assert ask(pair.url, "count_over_time(rw_good{n='0'}[10s])", time=now / 1000)[0]["value"][1] == "2"
    assert ask(pair.url, "rw_bad", time=now / 1000) == []
    until(
        "the refusal is counted with its reason",
        lambda: len(pair.query("weir_remote_write_refused_total")) >= 2,
    )


def test_a_cut_body_is_refused_whole(pair):
    now = now_ms()
    whole = snappy(series([(b"__name__", b"rw_cut")], *((n, now - n) for n in range(200))))
    for length in (0, 1, 5, len(whole) // 2, len(whole) - 1):
        status, text = write(pair, whole[:length])
        # Nothing at all is an empty block, which cannot be: even it tells its length.
        assert status == 400, (length, text)
        assert text.strip()
    assert ask(pair.url, "rw_cut", time=now / 1000) == []
    assert write(pair, whole)[0] == 204
    assert ask(pair.url, "count_over_time(rw_cut[1m])", time=now / 1000)[0]["value"][1] == "200"
