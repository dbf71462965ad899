"""The figures of the README, measured on the programs as built: start, idle memory, ingest over gRPC.

    python3 benches/figures.py [--seconds 15]

Prints a Markdown row per figure. Absolute figures depend on the machine; the load generator runs beside the collector.
"""

import argparse
import contextlib
import json
import os
import pathlib
import shutil
import socket
import subprocess
import tempfile
import time
import urllib.error
import urllib.parse
import urllib.request

ROOT = pathlib.Path(__file__).resolve().parents[1]
BIN = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")) / "release"
QUIET = {**os.environ, "RUST_LOG": "error"}


def free_port():
    with contextlib.closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def answers(url):
    try:
        with urllib.request.urlopen(url, timeout=2) as answer:
            return answer.status == 200 and answer.read()
    except (urllib.error.URLError, OSError):
        return None


def wait(look, seconds=60):
    begun = time.monotonic()
    while time.monotonic() - begun < seconds:
        if look():
            return time.monotonic() - begun
        time.sleep(0.01)
    raise SystemExit("figures: nothing within a minute; is it built? run `make bench`")


def rss_mb(pid):
    with open(f"/proc/{pid}/status", encoding="ascii") as status:
        (line,) = [line for line in status if line.startswith("VmRSS")]
    return int(line.split()[1]) / 1024


@contextlib.contextmanager
def running(command):
    child = subprocess.Popen([str(word) for word in command], env=QUIET, stdout=subprocess.DEVNULL)
    try:
        yield child
    finally:
        child.terminate()
        child.wait(30)


def row(figure, value, target):
    print(f"| {figure} | {value} | {target} |", flush=True)


def start_and_idle(folder, idle_seconds):
    ports = {name: free_port() for name in ("listen", "push", "otlp-grpc", "otlp-http")}
    flags = [word for name, port in ports.items() for word in (f"--{name}", f"127.0.0.1:{port}")]
    url = f"http://127.0.0.1:{ports['listen']}"
    with running([BIN / "weir", "up", "--data-dir", folder / "up", *flags]) as child:
        page = wait(lambda: answers(url + "/"))
        asked = urllib.parse.urlencode({"query": "rate(system_cpu_time_seconds_total[1m])"})

        def charted():
            body = answers(f"{url}/api/v1/query?{asked}")
            return body and json.loads(body)["data"]["result"]

        chart = page + wait(charted)
        time.sleep(idle_seconds)
        row("`weir up`: page answers after", f"{page:.2f} s", "≤ 1 s")
        row("`weir up`: first real chart after", f"{chart:.1f} s", "≤ 15 s")
        row("`weir up`: resident when idle", f"{rss_mb(child.pid):.0f} MB", "≤ 120 MB")
    flags = [word for name in ("otlp-grpc", "otlp-http") for word in (f"--{name}", f"127.0.0.1:{ports[name]}")]
    with running([BIN / "weir-agent", "--data-dir", folder / "agent", *flags]) as child:
        time.sleep(idle_seconds)
        row("`weir-agent`: resident when idle", f"{rss_mb(child.pid):.0f} MB", "≤ 30 MB")


def ingest(folder, seconds):
    for protocol, signal, target in (
        ("push", "points", "≥ 100 k/s"),
        ("grpc", "points", "≥ 100 k/s"),
        ("push", "spans", "≥ 20 k/s"),
        ("grpc", "spans", "≥ 20 k/s"),
    ):
        ports = {name: free_port() for name in ("listen", "push")}
        flags = [word for name, port in ports.items() for word in (f"--{name}", f"127.0.0.1:{port}")]
        data = folder / f"{protocol}-{signal}"
        with running([BIN / "weir-collector", "--data-dir", data, *flags]) as child:
            wait(lambda: answers(f"http://127.0.0.1:{ports['listen']}/-/ready"))
            load = [BIN / "weir-load", "--url", f"http://127.0.0.1:{ports['push']}", "--protocol", protocol]
            load += ["--signal", signal, "--seconds", seconds, "--senders", 2, "--json"]
            load += ["--batch", 5000 if signal == "points" else 1000]
            done = subprocess.run([str(word) for word in load], capture_output=True, text=True, check=False, env=QUIET)
            if done.returncode != 0:
                raise SystemExit(f"figures: {done.stderr}")
            said = json.loads(done.stdout)
            how = "push stream" if protocol == "push" else "OTLP/gRPC"
            row(
                f"collector, {how}, durable and acked: {signal}",
                f"{said['per_second'] / 1000:.0f} k/s, p99 {said['p99_ms']:.0f} ms, {rss_mb(child.pid):.0f} MB",
                target,
            )
        shutil.rmtree(data)


def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--seconds", type=int, default=15, help="length of each load")
    chosen = arguments.parse_args()
    folder = pathlib.Path(tempfile.mkdtemp(prefix="weir-figures-"))
    try:
        print("| figure | value | target |\n|---|---|---|")
        start_and_idle(folder, chosen.seconds)
        ingest(folder, chosen.seconds)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


main()
