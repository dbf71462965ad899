"""SIGHUP and POST /-/reload: what can change does, a wrong file changes nothing and says why, what needs a restart is
named."""

import signal

import pytest

from weir import AGENT, WEIR, Process, Weir, fetch, free_port, until

CONFIG = """
scrape_configs:
  - job_name: itself
    scrape_interval: 1s
    static_configs:
      - targets: ['{target}']
weir:
  host: {{enabled: false}}
  retention: {retention}
  queue_bytes_max: {queue}
"""


def config(target, retention="15d", queue="1GB"):
    return CONFIG.format(target=target, retention=retention, queue=queue)


def post(url):
    status, _, body = fetch(url + "/-/reload", b"")
    return status, body.decode()


@pytest.fixture
def up(tmp_path):
    port = free_port()
    weir = Weir(tmp_path, config=config(f"127.0.0.1:{port}"))
    weir.port = port
    weir.wait_ready()
    yield weir
    assert weir.stop() == 0, weir.text()[-2000:]


def reloaded_well(weir):
    text = fetch(weir.url + "/metrics")[2].decode()
    return [line for line in text.splitlines() if line.startswith("weir_config_last_reload_successful ")] == [
        "weir_config_last_reload_successful 1"
    ]


def test_weir_up_reloads(up):
    path = up.folder / "weir.yaml"
    assert reloaded_well(up)
    until("the first target is scraped, and is down", lambda: up.value('up{job="itself"}') == 0, 20)
    # A target that is up, a shorter retention, and something that needs a restart.
    changed = config(f"127.0.0.1:{up.ports['listen']}", "3d", "2GB")
    path.write_text(changed + "  query: {timeout: 30s, enable_features: [use-start-timestamps]}\n")
    status, text = post(up.url)
    assert "weir.query stays lookback_delta 300s, timeout 120s" in text and "timeout 30s" in text, text
    assert "use-start-timestamps" in text, text
    assert status == 200 and "weir.queue_bytes_max stays 1073741824 until a restart; the file says 2147483648" in text, text
    assert "weir.listen" not in text and "weir.collector" not in text, text
    until("the new target is scraped", lambda: up.value(f'up{{instance="127.0.0.1:{up.ports["listen"]}"}}') == 1, 20)
    info = up.json("/api/v1/status/runtimeinfo")["data"]
    assert info["storageRetention"] == "3d" and info["reloadConfigSuccess"] is True, info
    # A wrong file is refused with its line; the old one goes on.
    path.write_text("scrape_configs: []\nweir: {retentoin: 1d}\n")
    status, text = post(up.otlp_http)
    assert status == 500 and "failed to reload config" in text and "line 2" in text and "retentoin" in text, text
    assert not reloaded_well(up)
    info = up.json("/api/v1/status/runtimeinfo")["data"]
    assert info["storageRetention"] == "3d" and info["reloadConfigSuccess"] is False, info
    scraped = up.value("sum(scrape_samples_scraped)")
    assert scraped, "the old targets are scraped on"
    # By signal.
    path.write_text(config(f"127.0.0.1:{up.ports['listen']}", "5d"))
    up.child.send_signal(signal.SIGHUP)
    retention = lambda: up.json("/api/v1/status/runtimeinfo")["data"]["storageRetention"]  # noqa: E731
    until("the signal reloads", lambda: retention() == "5d", 20)
    assert reloaded_well(up)
    assert fetch(up.url + "/-/reload")[0] == 405


@pytest.mark.parametrize("half", ["collector", "agent"])
def test_each_half_reloads_alone(tmp_path, started, half):
    path = tmp_path / "weir.yaml"
    listen, other = free_port(), free_port()
    url = f"http://127.0.0.1:{listen}"
    if half == "collector":
        words = [WEIR, "collector", "--listen", f"127.0.0.1:{listen}", "--push", f"127.0.0.1:{other}"]
    else:
        words = [AGENT, "--otlp-http", f"127.0.0.1:{listen}", "--otlp-grpc", f"127.0.0.1:{other}"]
    path.write_text(config("127.0.0.1:1"))
    process = Process([*words, "--config", path, "--data-dir", tmp_path / "data"], tmp_path / "log")
    started(process)
    until("it answers", lambda: fetch(url + "/-/ready")[0] == 200, 20)
    path.write_text(config("127.0.0.1:2", "2d"))
    assert post(url) == (200, "")
    path.write_text("weir: {data_dir: /elsewhere, host: {enabled: false}}\n")
    # The flag stands over the file.
    assert post(url)[0] == 200
    path.write_text("nonsense: true\n")
    status, text = post(url)
    assert status == 500 and "nonsense" in text, text
    until("the log says so", lambda: "was not reloaded" in process.text(), 5)
    assert process.stop() == 0, process.text()[-2000:]
