"""Runs the real programs: Weir as people start it, and what sends to it. Every wait is for a condition with a limit."""

import contextlib
import json
import os
import pathlib
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request

ROOT = pathlib.Path(__file__).resolve().parents[2]
TARGET = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
WEIR = TARGET / "release" / "weir"
AGENT = TARGET / "release" / "weir-agent"
COLLECTOR = TARGET / "release" / "weir-collector"
VENV = ROOT / "tests" / ".venv"


def free_port():
    with contextlib.closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def until(what, look, seconds=30.0, pause=0.1):
    """Looks again and again until `look()` is true; gives it back. Fails with its last value and `what`."""
    deadline = time.monotonic() + seconds
    last = None
    while True:
        try:
            last = look()
        except (AssertionError, OSError, KeyError, IndexError) as error:
            last = None
            reason = error
        else:
            reason = last
            if last:
                return last
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {seconds} s: {what}; last: {reason!r}")
        time.sleep(pause)


def fetch(url, data=None, headers=None, timeout=30):
    """(status, headers, body); an HTTP error status is an answer, not an exception."""
    request = urllib.request.Request(url, data=data, headers=headers or {})
    try:
        with urllib.request.urlopen(request, timeout=timeout) as answer:
            return answer.status, answer.headers, answer.read()
    except urllib.error.HTTPError as error:
        return error.code, error.headers, error.read()


class Process:
    """A program of ours or a peer, its output in a file."""

    def __init__(self, command, log, env=None, cwd=None):
        self.log = pathlib.Path(log)
        self.file = self.log.open("ab")
        self.child = subprocess.Popen(
            [str(word) for word in command], stdout=self.file, stderr=subprocess.STDOUT, env=env, cwd=cwd
        )

    def text(self):
        return self.log.read_text(errors="replace")

    def running(self):
        return self.child.poll() is None

    def stop(self, seconds=15):
        """SIGTERM, then the exit code."""
        if self.running():
            self.child.send_signal(signal.SIGTERM)
        try:
            return self.child.wait(seconds)
        except subprocess.TimeoutExpired:
            self.child.kill()
            self.child.wait()
            raise AssertionError(f"{self.child.args[0]} did not stop within {seconds} s:\n{self.text()[-2000:]}")
        finally:
            self.file.close()

    def kill(self):
        self.child.kill()
        self.child.wait()
        self.file.close()


class Weir(Process):
    """`weir up` on ports of its own."""

    def __init__(self, folder, config=None, arguments=(), env=None, data_dir=None):
        self.folder = pathlib.Path(folder)
        self.data_dir = pathlib.Path(data_dir or self.folder / "data")
        self.ports = {name: free_port() for name in ("listen", "push", "otlp-grpc", "otlp-http")}
        self.url = f"http://127.0.0.1:{self.ports['listen']}"
        self.otlp_http = f"http://127.0.0.1:{self.ports['otlp-http']}"
        self.otlp_grpc = f"http://127.0.0.1:{self.ports['otlp-grpc']}"
        command = [WEIR, "up", "--data-dir", self.data_dir]
        for name, port in self.ports.items():
            command += [f"--{name}", f"127.0.0.1:{port}"]
        if config is not None:
            path = self.folder / "weir.yaml"
            path.write_text(config)
            command += ["--config", path]
        super().__init__([*command, *arguments], self.folder / "weir.log", env=env)

    def wait_ready(self, seconds=30):
        def ready():
            assert self.running(), f"weir ended:\n{self.text()[-3000:]}"
            return fetch(self.url + "/-/ready")[0] == 200

        until("weir is ready", ready, seconds)
        return self

    def json(self, path, **parameters):
        query = "?" + urllib.parse.urlencode(parameters) if parameters else ""
        status, _, body = fetch(self.url + path + query)
        assert status == 200, f"{path}: {status} {body[:500]!r}"
        return json.loads(body)

    def query(self, promql, **parameters):
        """The result of an instant query."""
        return self.json("/api/v1/query", query=promql, **parameters)["data"]["result"]

    def value(self, promql, **parameters):
        """The value of an instant query that gives one series, or None."""
        result = self.query(promql, **parameters)
        assert len(result) < 2, result
        return float(result[0]["value"][1]) if result else None

    def sql(self, statement):
        body = json.dumps({"query": statement}).encode()
        status, _, answer = fetch(self.url + "/api/weir/v1/sql", body, {"content-type": "application/json"})
        assert status == 200, f"{statement}: {status} {answer[:500]!r}"
        return json.loads(answer)["rows"]

    def run(self, *command, service=None, env=None, log=None):
        """`weir run -- command`, sending to this Weir."""
        words = [WEIR, "run"]
        if service:
            words += ["--service", service]
        environment = {
            **os.environ,
            "OTEL_EXPORTER_OTLP_ENDPOINT": self.otlp_http,
            "OTEL_METRIC_EXPORT_INTERVAL": "1000",
            "OTEL_BSP_SCHEDULE_DELAY": "200",
            **(env or {}),
        }
        return Process([*words, "--", *command], log or self.folder / f"{service or 'app'}.log", env=environment)


class Collector(Weir):
    """`weir collector` on ports of its own."""

    def __init__(self, folder, config):
        self.folder = pathlib.Path(folder)
        self.data_dir = self.folder / "data"
        self.ports = {name: free_port() for name in ("listen", "push")}
        self.url = f"http://127.0.0.1:{self.ports['listen']}"
        path = self.folder / "collector.yaml"
        path.write_text(config)
        command = [WEIR, "collector", "--config", path, "--data-dir", self.data_dir]
        for name, port in self.ports.items():
            command += [f"--{name}", f"127.0.0.1:{port}"]
        Process.__init__(self, command, self.folder / "collector.log", env={**os.environ, "RUST_LOG": "warn"})


class Agent(Process):
    """`weir-agent` on ports of its own, pushing to the collector's `push` port; started again on the same ones."""

    def __init__(self, folder, push):
        ports = {name: free_port() for name in ("otlp-grpc", "otlp-http")}
        self.url = f"http://127.0.0.1:{ports['otlp-http']}"
        self.folder = pathlib.Path(folder)
        self.command = [AGENT, "--data-dir", self.folder / "agent", "--collector", f"http://127.0.0.1:{push}"]
        for name, port in ports.items():
            self.command += [f"--{name}", f"127.0.0.1:{port}"]
        self.start()

    def start(self):
        super().__init__(self.command, self.folder / "agent.log", env={**os.environ, "RUST_LOG": "warn"})
        return self

    def wait_ready(self):
        until("the agent answers", lambda: fetch(self.url + "/-/ready")[0] == 200, 15)
        return self


class Prometheus(Process):
    """Debian's Prometheus on a port of its own; `config` is a text, or makes one of its address."""

    def __init__(self, folder, config, *arguments):
        folder = pathlib.Path(folder)
        address = f"127.0.0.1:{free_port()}"
        self.url = f"http://{address}"
        self.data_dir = folder / "prometheus"
        path = folder / "prometheus.yml"
        path.write_text(config if isinstance(config, str) else config(address))
        command = ["prometheus", f"--config.file={path}", f"--storage.tsdb.path={self.data_dir}"]
        super().__init__([*command, f"--web.listen-address={address}", *arguments], folder / "prometheus.log")

    def wait_ready(self):
        until("prometheus is ready", lambda: fetch(self.url + "/-/ready")[0] == 200)
        return self


class NodeExporter(Process):
    """Debian's node_exporter on a port of its own."""

    def __init__(self, folder):
        self.address = f"127.0.0.1:{free_port()}"
        command = ["prometheus-node-exporter", f"--web.listen-address={self.address}"]
        super().__init__(command, pathlib.Path(folder) / "exporter.log")


def ask(url, promql, **parameters):
    """The result of an instant query of Weir or Prometheus."""
    query = urllib.parse.urlencode({"query": promql, **parameters})
    status, _, body = fetch(f"{url}/api/v1/query?{query}")
    assert status == 200, body
    return json.loads(body)["data"]["result"]
