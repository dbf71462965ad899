"""A Flask and an Express service under `weir run`: they appear with rate, errors and durations, whatever generation of
semantic conventions their SDK speaks, in seconds, and equal to what was really asked."""

import json
import os
import time

import pytest

from weir import ROOT, VENV, fetch, free_port, until

APPS = ROOT / "tests" / "apps"
SERVER = 'span_kind="SPAN_KIND_SERVER"'
RED = "traces_span_metrics_duration_seconds"
# What is asked: route → how often.
ASKED = {"/hello/ann": 6, "/slow": 3, "/fail": 2}


def command(app, port):
    if app == "flask":
        return [VENV / "bin" / "python", APPS / "flask" / "app.py"], {"PORT": str(port)}
    return ["node", APPS / "express" / "app.js"], {"PORT": str(port), "NODE_PATH": str(APPS / "express" / "node_modules")}


@pytest.mark.parametrize("opt_in", ["", "http"], ids=["old-conventions", "opt-in"])
@pytest.mark.parametrize("app", ["flask", "express"])
def test_service_appears_with_exact_red(weir, started, app, opt_in):
    service = f"{app}-{opt_in or 'old'}"
    port = free_port()
    words, env = command(app, port)
    if opt_in:
        env["OTEL_SEMCONV_STABILITY_OPT_IN"] = opt_in
    process = weir.run(*words, service=service, env=env)
    started(process)
    url = f"http://127.0.0.1:{port}"
    until("the app answers", lambda: process.running() and fetch(url + "/hello/first")[0] == 200, 60)
    for path, times in ASKED.items():
        for _ in range(times):
            assert fetch(url + path)[0] == (500 if path == "/fail" else 200)
    total = 1 + sum(ASKED.values())

    def count(more=""):
        return weir.value(f'sum(histogram_count({RED}{{service_name="{service}",{SERVER}{more}}}))')

    until("all requests are counted", lambda: count() == total, 30)
    assert count(',status_code="STATUS_CODE_ERROR"') == ASKED["/fail"]
    assert count(',http_response_status_code="500"') == ASKED["/fail"]
    assert count(',http_request_method="GET"') == total
    # Durations are seconds in both generations: three of twelve took 120 ms.
    slow = weir.value(f'histogram_quantile(0.9, sum({RED}{{service_name="{service}",{SERVER}}}))')
    assert 0.1 < slow < 0.5, slow

    (row,) = [row for row in weir.json("/api/weir/v1/services", start=time.time() - 300, end=time.time())["services"] if row["name"] == service]
    assert row["health"] in ("bad", "warn") and row["reason"], row
    traces = weir.json(f"/api/weir/v1/services/{service}/traces", kind="failed")["traces"]
    assert len(traces) == ASKED["/fail"], traces
    trace = weir.json(f"/api/weir/v1/traces/{traces[0]['trace_id']}")
    assert any(span["service"] == service and span["status"] == "error" for span in trace["spans"]), trace
    (sender,) = [row for row in weir.json("/api/weir/v1/arrivals")["senders"] if row["service"] == service]
    assert sender["sdk"].startswith({"flask": "python 1.", "express": "nodejs 2."}[app]), sender

    # SIGTERM ends it in time, with the code it would have had without us.
    begun = time.monotonic()
    code = process.stop(5)
    assert time.monotonic() - begun < 4
    assert code in (-15, 143, 0), code


def test_the_context_crosses_services(weir, started):
    ports = {"flask": free_port(), "express": free_port()}
    for app, port in ports.items():
        words, env = command(app, port)
        started(weir.run(*words, service=f"{app}-relay", env=env))
    for port in ports.values():
        until("the app answers", lambda port=port: fetch(f"http://127.0.0.1:{port}/hello/x")[0] == 200, 60)
    inner = f"http://127.0.0.1:{ports['express']}/hello/deep"
    assert fetch(f"http://127.0.0.1:{ports['flask']}/relay?to={inner}")[0] == 200
    edge = 'sum(histogram_count(traces_service_graph_request_server_seconds{client="flask-relay",server="express-relay"}))'
    until("the service graph has the call", lambda: weir.value(edge) == 1, 30)
    traces = weir.json("/api/weir/v1/services/flask-relay/traces", kind="recent")["traces"]
    (trace,) = [trace for trace in traces if "express-relay" in trace["services"]]
    full = weir.json(f"/api/weir/v1/traces/{trace['trace_id']}")
    assert {span["service"] for span in full["spans"]} == {"flask-relay", "express-relay"}
    assert full["missing_parents"] == 0
    tempo = weir.json(f"/api/traces/{trace['trace_id']}")
    assert sum(len(scope["spans"]) for batch in tempo["batches"] for scope in batch["scopeSpans"]) == len(full["spans"])


def test_a_missing_sdk_is_explained(weir, tmp_path):
    bare = tmp_path / "bare"
    import subprocess
    import sys

    subprocess.run([sys.executable, "-m", "venv", "--without-pip", bare], check=True)
    process = weir.run(bare / "bin" / "python", "-c", "print(1)", service="bare", log=tmp_path / "bare.log")
    assert process.child.wait(20) != 0
    said = process.text()
    assert "opentelemetry-distro" in said and "install" in said, said


def test_sql_and_promql_agree(weir):
    # Weir's own service goes on answering while it is counted.
    rows = weir.sql("select service_name, count(*) as n from spans where kind = 2 and service_name <> 'weir-collector' group by 1")
    assert len(rows) >= 6
    for row in rows:
        counted = weir.value(f'sum(histogram_count({RED}{{service_name="{row["service_name"]}",{SERVER}}}))')
        assert counted == row["n"], row


def test_grafana_finds_what_it_asks_for(weir):
    assert weir.json("/api/v1/status/buildinfo")["data"]["version"].split(".")[0] == "3"
    assert weir.json("/api/v1/query", query="1+1", time="4")["data"]["result"] == [4, "2"]
    names = weir.json("/api/v1/label/__name__/values")["data"]
    assert RED in names and "system_cpu_time_seconds_total" in names, names[:50]
    dashboard = weir.json("/api/weir/v1/grafana/service", service="flask-old")
    assert dashboard["panels"], json.dumps(dashboard)[:300]
    assert os.path.isdir(weir.data_dir)
