"""The demo, and a browser that walks services → service → trace in it."""

import json
import os
import pathlib
import subprocess
import time

import pytest

from weir import ROOT, Weir, fetch, until

TROUBLED = "shop/checkout"
# The panels that no service with traffic may lack.
NEVER_EMPTY = ("rate", "errors", "duration", "heatmap", "operations", "callers", "dependencies")


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    instance = Weir(tmp_path_factory.mktemp("demo"), arguments=["--demo"])
    instance.wait_ready()
    instance.begun = time.monotonic()
    yield instance
    assert instance.stop(20) == 0, instance.text()[-3000:]


def test_five_processes_and_two_versions_are_seen(demo):
    def services():
        rows = demo.json("/api/weir/v1/services", start=time.time() - 600, end=time.time())["services"]
        return {row["service"]: row for row in rows}

    wanted = {"shop/storefront", "shop/checkout", "shop/payment", "shop/inventory"}
    until("all demo services are listed", lambda: wanted <= set(services()), 60)
    until("both versions", lambda: set(services()["shop/checkout"]["versions"]) >= {"1.8.0", "1.9.0"}, 60)
    instances = 'count(count by (instance) (http_server_request_duration_seconds_count{service_namespace="shop"}))'
    # payment speaks gRPC only, so four of the five processes have the HTTP metric.
    until("four processes with HTTP metrics", lambda: demo.value(instances) == 4, 60)


def test_the_page_is_whole_after_a_minute(demo):
    until("a minute of demo has passed", lambda: time.monotonic() - demo.begun > 62, 90, 0.5)
    folder = pathlib.Path(os.environ.get("WEIR_SCREENSHOTS", demo.folder / "shots"))
    folder.mkdir(parents=True, exist_ok=True)
    walked = subprocess.run(
        ["node", ROOT / "tests" / "e2e" / "walk.mjs", demo.url, TROUBLED, folder],
        capture_output=True,
        text=True,
        check=False,
        timeout=240,
    )
    assert walked.returncode == 0, walked.stderr[-3000:]
    seen = json.loads(walked.stdout)
    assert seen["errors"] == [], seen["errors"]
    assert seen["requests"] == [], seen["requests"]
    assert seen["clicks"] <= 3
    assert TROUBLED in seen["services"]
    assert len(seen["trace"]) == 32
    empty = [reason for reason in seen["reasons"] if any(word in reason.split(":")[0] for word in NEVER_EMPTY)]
    assert empty == [], empty
    for word in ("rate", "errors", "operations", "dependencies"):
        assert any(word in panel for panel in seen["panels"]), (word, seen["panels"])
    assert seen["hostReasons"] == [], seen["hostReasons"]
    assert seen["overflow"] <= 0, "the service page is wider than a phone"


def test_the_fault_shows_in_one_version_only(demo):
    errors = (
        'sum by (service_version) (histogram_count(increase(traces_span_metrics_duration_seconds{job="shop/checkout",'
        'span_kind="SPAN_KIND_SERVER",http_response_status_code="500"}[5m])))'
    )

    def bad_versions():
        return {row["metric"]["service_version"] for row in demo.query(errors) if float(row["value"][1]) > 0}

    until("version 1.9.0 fails", lambda: bad_versions() == {"1.9.0"}, 90)
    rows = demo.sql(
        "select service_version, max(duration_ns) as longest from spans where service_name = 'checkout' and kind = 2 group by 1"
    )
    longest = {row["service_version"]: row["longest"] for row in rows}
    assert longest["1.9.0"] > longest["1.8.0"], longest


def test_weir_observes_itself(demo):
    until("our own metrics are stored", lambda: demo.value('count({service_name="weir-collector"})') > 10, 60)
    status, _, body = fetch(demo.url + "/metrics")
    assert status == 200 and b"# TYPE weir_" in body
    until(
        "our own spans are stored",
        lambda: demo.sql("select count(*) as n from spans where service_name = 'weir-collector'")[0]["n"] > 0,
        60,
    )
    arrivals = demo.json("/api/weir/v1/arrivals")
    assert {row["service"] for row in arrivals["senders"]} >= {"shop/checkout", "weir-collector"}
