"""What a newcomer meets: the page at once, the first chart in seconds, words where something is wrong."""

import os
import subprocess
import time

from weir import WEIR, Weir, fetch, free_port, until


def weir(*words, **more):
    env = {**os.environ, **more.pop("env", {})}
    return subprocess.run([str(WEIR), *map(str, words)], capture_output=True, text=True, check=False, env=env, timeout=60, **more)


def test_page_and_first_chart(tmp_path):
    begun = time.monotonic()
    instance = Weir(tmp_path)
    try:
        until("the page answers", lambda: fetch(instance.url + "/")[0] == 200, 10, 0.02)
        page = time.monotonic() - begun
        instance.wait_ready()
        until("this host's CPU is charted", lambda: instance.query("rate(system_cpu_time_seconds_total[1m])"), 30)
        chart = time.monotonic() - begun
        status = open(f"/proc/{instance.child.pid}/status", encoding="ascii").read()
        (rss,) = [int(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS")]
        # Reported, not judged: a loaded machine is slow. The bounds below only catch a defect.
        print(f"page after {page:.2f} s, first chart after {chart:.1f} s, {rss / 1024:.0f} MiB resident")
        assert page < 10 and chart < 30 and rss < 500 * 1024
        asked = weir("query", "system_memory_limit_bytes or vector(1)", "--url", instance.url)
        assert asked.returncode == 0 and asked.stdout.strip(), asked
        asked = weir("sql", "select count(*) as n from series", "--url", instance.url)
        assert asked.returncode == 0 and "n" in asked.stdout, asked
        assert "host " in weir("doctor", "--url", instance.url).stdout
        bad = weir("query", "sum(rate(x[5m])", "--url", instance.url)
        assert bad.returncode == 1 and "parse error" in bad.stderr, bad
    finally:
        assert instance.stop() == 0, instance.text()[-2000:]


def test_nobody_answers():
    asked = weir("query", "up", "--url", f"http://127.0.0.1:{free_port()}")
    assert asked.returncode == 1 and "weir up" in asked.stderr, asked


def test_a_port_that_was_asked_for_and_is_busy_names_its_holder(tmp_path):
    first = Weir(tmp_path)
    try:
        first.wait_ready()
        second = weir("up", "--data-dir", tmp_path / "second", "--listen", f"127.0.0.1:{first.ports['listen']}")
        assert second.returncode == 1, second
        assert "weir (pid" in second.stderr + second.stdout and "--listen" in second.stderr + second.stdout, second
        third = weir("up", "--data-dir", first.data_dir, "--listen", f"127.0.0.1:{free_port()}")
        assert third.returncode == 1 and str(first.data_dir) in third.stderr + third.stdout, third
    finally:
        first.stop()


def test_a_wrong_config_is_said_with_its_line(tmp_path):
    path = tmp_path / "weir.yaml"
    path.write_text("global:\n  scrape_intervall: 15s\n")
    for words in (["check", "config", path], ["up", "--config", path, "--data-dir", tmp_path / "d"]):
        bad = weir(*words)
        assert bad.returncode == 1 and "line 2" in bad.stderr and "scrape_intervall" in bad.stderr, bad


def test_check_finds_what_a_start_would(tmp_path):
    path = tmp_path / "bad.yaml"
    for text, wanted in (
        ("weir:\n  query: {enable_features: [agent]}\n", ["line 2", "promql-duration-expr"]),
        ("weir: {query: {lookback_delta: 0s}}\n", ["lookback"]),
        ("weir: {host: {interval: 0s}}\n", ["weir.host.interval", "enabled: false"]),
    ):
        path.write_text(text)
        bad = weir("check", "config", path)
        assert bad.returncode == 1 and all(word in bad.stderr for word in wanted), bad


def test_usage_errors_are_exit_code_2():
    assert weir("query").returncode == 2
    assert weir("nonsense").returncode == 2
    assert weir("--version").returncode == 0
