"""Debian's node_exporter, scraped by Weir and by Debian's Prometheus at the same interval: both answer the same."""

import re

import pytest

from weir import NodeExporter, Prometheus, Weir, ask, until

INTERVAL = 2
SCRAPES = 15


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    folder = tmp_path_factory.mktemp("scrape")
    exporter = NodeExporter(folder)
    config = f"""
global:
  scrape_interval: {INTERVAL}s
  scrape_timeout: {INTERVAL}s
scrape_configs:
  - job_name: node
    static_configs:
      - targets: ['{exporter.address}']
        labels: {{env: test}}
    metric_relabel_configs:
      - source_labels: [__name__]
        regex: go_memstats_.*
        action: drop
"""
    prometheus = Prometheus(folder, config).wait_ready()
    weir = Weir(folder, config=config)
    weir.wait_ready()
    weir.exporter = exporter
    weir.prometheus = prometheus.url
    wanted = f'count_over_time(up{{job="node"}}[10m]) >= {SCRAPES}'
    until("enough scrapes", lambda: weir.query(wanted) and ask(weir.prometheus, wanted), 120, 0.5)
    yield weir
    assert weir.stop() == 0, weir.text()[-2000:]
    prometheus.stop()
    if exporter.running():
        exporter.stop()


def labels(result):
    """Label sets, with bounds as numbers: Prometheus 3 writes quantile="1.0" (and so do we), Debian's 2 wrote "1"."""

    def value(name, text):
        return float(text) if name in ("le", "quantile") else text

    return {tuple(sorted((name, value(name, text)) for name, text in row["metric"].items())) for row in result}


def test_the_same_series(pair):
    selector = '{job="node",__name__!~"scrape_.*|node_scrape_collector.*"}'
    ours, theirs = labels(ask(pair.url, selector)), labels(ask(pair.prometheus, selector))
    # Devices and processes come and go between two scrapes; nothing else may differ.
    assert len(theirs) > 300
    assert len(ours ^ theirs) <= 2, sorted(ours ^ theirs)[:10]
    assert not [row for row in ours if re.match("go_memstats", dict(row)["__name__"])]


@pytest.mark.parametrize(
    "promql",
    [
        "node_memory_MemTotal_bytes",
        "node_uname_info",
        'up{job="node"}',
        'count(node_cpu_seconds_total{job="node"})',
        "count by (mode) (node_cpu_seconds_total)",
        "node_boot_time_seconds",
        "sum(node_filesystem_size_bytes)",
        "count(node_network_up)",
        "sum by (job, env) (up)",
        'scrape_samples_scraped{job="node"}',
        'scrape_samples_post_metric_relabeling{job="node"}',
    ],
)
def test_equal_answers(pair, promql):
    def table(url):
        return {tuple(sorted(row["metric"].items())): float(row["value"][1]) for row in ask(url, promql)}

    def same():
        ours, theirs = table(pair.url), table(pair.prometheus)
        return ours and ours == theirs

    # The page changes by a line now and then, and the two scrape at different moments.
    until(f"{promql} agrees", same, 20, 0.5)


@pytest.mark.parametrize(
    "promql",
    [
        'sum(rate(node_cpu_seconds_total{mode!="idle"}[20s]))',
        "sum(rate(node_cpu_seconds_total[20s]))",
        "avg(node_load1)",
        "sum(increase(node_context_switches_total[20s]))",
        "avg_over_time(node_memory_MemAvailable_bytes[20s])",
    ],
)
def test_close_answers(pair, promql):
    """Rates of a moving machine, seen at moments up to an interval apart, agree within a fifth."""

    def close():
        ours, theirs = (float(ask(url, promql)[0]["value"][1]) for url in (pair.url, pair.prometheus))
        return abs(ours - theirs) <= 0.2 * max(abs(ours), abs(theirs))

    until(f"{promql} is close", close, 30, 0.5)


def test_a_dead_target_goes_stale_at_once(pair):
    assert ask(pair.url, "node_load1")
    pair.exporter.stop()
    until("up is 0", lambda: float(ask(pair.url, 'up{job="node"}')[0]["value"][1]) == 0, 15)
    until("its series are stale, as in Prometheus", lambda: ask(pair.url, "node_load1") == [], 15)
    until("Prometheus says the same", lambda: ask(pair.prometheus, "node_load1") == [], 15)
