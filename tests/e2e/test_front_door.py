"""Our own PromQL scripts through a real collector, and requests of remote write that are wrong."""

import os
import subprocess

from weir import ROOT, WEIR, fetch


def test_our_scripts_pass_through_the_front_door():
    folders = [ROOT / "collector" / "promql" / "tests" / "scripts"]
    if further := os.environ.get("WEIR_PROMQL_SCRIPTS"):
        folders.append(further)
    done = subprocess.run([WEIR, "test", "promql", "--front-door", *folders], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-1000:]


def test_wrong_requests_are_named_and_harm_nothing(weir):
    def write(body, **headers):
        return fetch(weir.url + "/api/v1/write", body, {name.replace("_", "-"): value for name, value in headers.items()})[0]

    protobuf = "application/x-protobuf"
    assert write(b"\xff\xff garbage", content_type=protobuf, content_encoding="snappy") == 400
    assert write(b"\xff\xff\xff\xff\x0f\x00", content_type=protobuf, content_encoding="snappy") == 400
    assert write(b"", content_type="application/json", content_encoding="snappy") == 415
    assert write(b"", content_type=protobuf + ";proto=io.prometheus.write.v3.Request") == 415
    assert write(b"", content_type=protobuf, content_encoding="zstd") == 415
    assert fetch(weir.url + "/-/ready")[0] == 200
