"""Noise, lies and half requests on every port of the real process: each is answered where its protocol has an answer,
counted with a reason, and harms nobody else."""

import gzip
import json
import os
import random
import re
import socket
import struct
import subprocess
import time

import grpc
import pytest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
    ExportMetricsServiceResponse,
)
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)

from otlp import HEADERS, Sender, points, spans
from weir import WEIR, Weir, fetch, until

PORTS = ("listen", "push", "otlp-grpc", "otlp-http")
# What the ports are called in our own counters.
LABELS = {"listen": "http", "push": "push", "otlp-grpc": "otlp_grpc", "otlp-http": "otlp_http"}
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
TLS_HELLO = bytes.fromhex("16030100c8010000c40303") + bytes(range(180))
METRICS = "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export"
TRACES = "/opentelemetry.proto.collector.trace.v1.TraceService/Export"
PUSH = "/weir.push.v1.Push/Stream"
# Heads that never end; more than a process may have files open by a shell's default would be felt at once.
HANGING = 150
NOISE = random.Random(20261122)


@pytest.fixture(scope="module")
def attacked(tmp_path_factory):
    """A Weir with honest senders on every way in, and hanging half requests on every port, all the time."""
    weir = Weir(tmp_path_factory.mktemp("garbage"), config="scrape_configs: []\nweir: {host: {enabled: false}}\n")
    weir.wait_ready()
    senders = [
        Sender(weir.otlp_http, "honest-agent", 1),
        Sender(weir.url, "honest-direct", 10_000_001),
    ]
    for sender in senders:
        sender.start()
    heads = [
        b"",
        b"P",
        PREFACE[:20],
        b"GET / HTT",
        b"POST /v1/metrics HTTP/1.1\r\nhost: a\r\nx: " + b"y" * 3000,
        b"POST /v1/metrics HTTP/1.1\r\nhost: a\r\ncontent-type: application/x-protobuf\r\ncontent-length: 9000000\r\n\r\nab",
        b"POST /api/v1/query HTTP/1.1\r\nhost: a\r\ncontent-type: application/x-www-form-urlencoded\r\ncontent-length: 99\r\n\r\nq",
    ]
    hanging = {port: [speak(weir, port, heads[at % len(heads)]) for at in range(HANGING)] for port in PORTS}
    opened = time.monotonic()
    weir.before = memory(weir)
    yield weir, senders, hanging, opened
    for sockets in hanging.values():
        for each in sockets:
            each.close()
    assert weir.stop() == 0, weir.text()[-3000:]


def speak(weir, port, words=b""):
    """A connection that has said `words`."""
    connection = socket.create_connection(("127.0.0.1", weir.ports[port]), timeout=20)
    if words:
        connection.sendall(words)
    return connection


def hear(connection, seconds=20):
    """What comes until the other side hangs up."""
    connection.settimeout(seconds)
    heard = b""
    try:
        while piece := connection.recv(65536):
            heard += piece
    except ConnectionResetError:
        pass
    return heard


def say(weir, port, words):
    with speak(weir, port) as connection:
        try:
            connection.sendall(words)
            connection.shutdown(socket.SHUT_WR)
        except OSError:
            pass  # it has hung up on us already
        return hear(connection)


def memory(weir):
    status = open(f"/proc/{weir.child.pid}/status", encoding="ascii").read()
    return int(re.search(r"VmRSS:\s+(\d+)", status)[1]) * 1024


def counters(weir):
    """Our own counters, `name{labels}` to value, labels sorted."""
    text = fetch(weir.url + "/metrics")[2].decode()
    found = {}
    for line in text.splitlines():
        if match := re.fullmatch(r"(weir_\w+?)(?:\{(.*)\})? (\S+)", line):
            labels = ",".join(sorted((match[2] or "").split('",'))).replace('"', "")
            found[f"{match[1]}{{{labels}}}"] = float(match[3])
    return found


def counted(weir, name, **labels):
    """The sum of the counter over what `labels` leave open."""
    want = [f"{key}={value}" for key, value in labels.items()]
    return sum(
        value
        for line, value in counters(weir).items()
        if line.startswith(name + "{") and all(label in line[len(name) + 1 : -1].split(",") for label in want)
    )


def grows(weir, name, act, **labels):
    """`act()` makes the counter grow; gives back what `act` gave."""
    before = counted(weir, name, **labels)
    done = act()
    until(f"{name} {labels} grows", lambda: counted(weir, name, **labels) > before, 10)
    return done


def told(weir):
    """What `weir doctor` says was refused: {reason: line}."""
    asked = subprocess.run([str(WEIR), "doctor", "--url", weir.url], capture_output=True, text=True, check=False, timeout=30)
    _, _, refused = asked.stdout.partition("Refused:")
    return refused


@pytest.mark.parametrize("port", PORTS)
def test_noise_is_answered_or_closed_and_counted(attacked, port):
    weir = attacked[0]
    label = LABELS[port]

    def noise():
        for size in (1, 24, 500, 70_000):
            heard = say(weir, port, bytes([0xFF]) + NOISE.randbytes(size))
            assert not heard or heard.startswith(b"HTTP/1.1 4"), heard[:80]

    grows(weir, "weir_connections_cut_total", noise, port=label, reason="malformed")
    heard = grows(weir, "weir_connections_cut_total", lambda: say(weir, port, TLS_HELLO), port=label, reason="tls")
    assert heard.startswith(b"HTTP/1.1 400"), heard[:80]
    # HTTP/2 whose frames are noise, whose first frame lies about its length, and one that stops in the middle.
    for frames in (NOISE.randbytes(2000), b"\xff\xff\xff\x04\x00\x00\x00\x00\x00", b"\x00\x00\x06\x04\x00\x00\x00\x00\x00\x00"):
        say(weir, port, PREFACE + frames)
    # A head without end, and more headers than anyone has.
    heard = say(weir, port, b"GET / HTTP/1.1\r\nhost: a\r\nx: " + b"y" * 200_000)
    assert heard.startswith(b"HTTP/1.1 431"), heard[:80]
    heard = say(weir, port, b"GET / HTTP/1.1\r\n" + b"a: b\r\n" * 3000 + b"\r\n")
    assert heard.startswith(b"HTTP/1.1 431"), heard[:80]
    assert weir.running()


def post(weir, port, path, body, **headers):
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return fetch(f"http://127.0.0.1:{weir.ports[port]}{path}", body, named)


@pytest.mark.parametrize("port", ["listen", "otlp-http", "otlp-grpc"])
@pytest.mark.parametrize("path", ["/v1/metrics", "/v1/traces"])
def test_otlp_http_bodies_that_are_not(attacked, port, path):
    weir = attacked[0]
    signal = path.removeprefix("/v1/")
    protobuf = HEADERS["content-type"]
    good = (points if signal == "metrics" else spans)("garbage", [77], time.time_ns()).SerializeToString()
    zstd = b"\x28\xb5\x2f\xfd" + NOISE.randbytes(30)
    bomb = gzip.compress(bytes(80 << 20))
    cases = [
        ("malformed", 400, good[:-3], {"content_type": protobuf}),
        ("malformed", 400, NOISE.randbytes(300), {"content_type": protobuf}),
        # A field that announces 2 GB.
        ("malformed", 400, b"\x0a\xff\xff\xff\xff\x07" + good, {"content_type": protobuf}),
        ("malformed", 400, gzip.compress(good)[:-12], {"content_type": protobuf, "content_encoding": "gzip"}),
        ("malformed", 400, zstd, {"content_type": protobuf, "content_encoding": "zstd"}),
        ("too_large", 413, bomb, {"content_type": protobuf, "content_encoding": "gzip"}),
        ("malformed", 400, b'{"resourceMetrics": [', {"content_type": "application/json"}),
        ("malformed", 400, b"[" * 200_000, {"content_type": "application/json"}),
        ("media_type", 415, good, {"content_type": "text/html"}),
        ("encoding", 415, good, {"content_type": protobuf, "content_encoding": "br"}),
    ]
    for reason, wanted, body, headers in cases:
        act = lambda: post(weir, port, path, body, **headers)  # noqa: E731, B023: called at once
        status, _, answer = grows(weir, "weir_receive_requests_total", act, outcome=reason, signal=signal)
        assert status == wanted and answer, (reason, status, answer[:200])
    # More than the cap is refused by its announcement alone.
    request = f"POST {path} HTTP/1.1\r\nhost: a\r\ncontent-type: {protobuf}\r\ncontent-length: 99999999999\r\n\r\n"
    heard = say(weir, port, request.encode())
    assert heard.startswith(b"HTTP/1.1 413"), heard[:100]
    # A body that breaks off.
    request = f"POST {path} HTTP/1.1\r\nhost: a\r\ncontent-type: {protobuf}\r\ncontent-length: 100\r\n\r\nabc"
    grows(weir, "weir_receive_requests_total", lambda: say(weir, port, request.encode()), outcome="broken", signal=signal)
    said = told(weir)
    for reason in ("malformed", "too_large", "media_type", "encoding", "broken"):
        assert reason in said, said


def call(weir, port, method, message, **options):
    """A gRPC call with `message` as its bytes: the answer's bytes, or the error."""
    with grpc.insecure_channel(f"127.0.0.1:{weir.ports[port]}") as channel:
        unary = channel.unary_unary(method, lambda raw: raw, lambda raw: raw)
        try:
            return unary(message, timeout=20, **options)
        except grpc.RpcError as error:
            return error


@pytest.mark.parametrize("port", ["push", "otlp-grpc", "otlp-http"])
def test_otlp_grpc_messages_that_are_not(attacked, port):
    weir = attacked[0]
    good = points("garbage", [78], time.time_ns()).SerializeToString()
    for method, signal in ((METRICS, "metrics"), (TRACES, "traces")):
        for message in (NOISE.randbytes(300), good[:-3] if signal == "metrics" else b"\x0a\xff\xff\xff\xff\x07"):
            act = lambda: call(weir, port, method, message)  # noqa: E731, B023: called at once
            error = grows(weir, "weir_receive_requests_total", act, protocol="grpc", outcome="malformed", signal=signal)
            assert error.code() == grpc.StatusCode.INVALID_ARGUMENT and "OTLP" in error.details(), error
    error = call(weir, port, "/no.such.Service/Method", b"")
    assert error.code() == grpc.StatusCode.UNIMPLEMENTED, error
    # HTTP/1 on the gRPC port, with a gRPC message whose length lies.
    for body in (b"\0\xff\xff\xff\xff", b"\x07\0\0\0\x01a", b"\0\0"):
        status, headers, _ = post(weir, port, METRICS, body, content_type="application/grpc")
        assert status == 200 and headers["grpc-status"] == "3", (status, headers.items())


def varint(number):
    out = bytearray()
    while number > 127:
        out.append(number & 127 | 128)
        number >>= 7
    return bytes([*out, number])


def field(number, value):
    """A protobuf field: a number, or bytes with their length."""
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    return varint(number << 3 | 2) + varint(len(value)) + value


def hello(agent=b"a" * 16):
    return field(1, field(1, agent) + field(2, b"garbage-node") + field(4, b"0"))


def frame(position, payload, starts=True):
    return field(2, field(1, position) + field(2, 1) + field(3, int(starts)) + field(4, payload))


def stream(weir, messages, hold=False):
    """Opens a push stream, says `messages`; gives back the answers and how it ended. With `hold` the stream stays open
    until an answer has come."""
    with grpc.insecure_channel(f"127.0.0.1:{weir.ports['push']}") as channel:
        answered = []
        held = iter(messages)

        def outgoing():
            yield from held
            if hold:
                until("an answer", lambda: answered, 20)

        answers = channel.stream_stream(PUSH, lambda raw: raw, lambda raw: raw)(outgoing(), timeout=30)
        try:
            for answer in answers:
                answered.append(answer)
                if hold:
                    answers.cancel()
                    break
            return answered, None
        except grpc.RpcError as error:
            return answered, error


def test_push_stream_of_noise(attacked):
    weir = attacked[0]
    name = "weir_push_unreadable_messages_total"
    for noise in (b"\xff" * 40, b"\x0a\xff\xff\xff\xff\x07", NOISE.randbytes(1000)):
        _, error = grows(weir, name, lambda: stream(weir, [noise]), reason="malformed")  # noqa: B023
        assert error.code() == grpc.StatusCode.INVALID_ARGUMENT, error
    _, error = grows(weir, name, lambda: stream(weir, [field(9, b"from the future")]), reason="unsupported")
    assert error.code() == grpc.StatusCode.UNIMPLEMENTED, error
    _, error = grows(weir, name, lambda: stream(weir, [hello(), frame(1, bytes(70 << 20))]), reason="too_large")
    assert error.code() == grpc.StatusCode.RESOURCE_EXHAUSTED, error
    for wrong in ([frame(1, b"x")], [hello(b"short")], [hello(), hello()]):
        _, error = grows(weir, "weir_push_bad_hello_total", lambda: stream(weir, wrong))  # noqa: B023
        assert error.code() == grpc.StatusCode.INVALID_ARGUMENT, error
    said = told(weir)
    assert "agent garbage-node" in said and "bad_hello" in said and "unsupported" in said, said


def test_push_frames_of_noise_are_asked_for_again_and_then_refused(attacked):
    weir = attacked[0]
    body = NOISE.randbytes(50)
    lying = b"WF\x01\x01" + struct.pack("<III", 0, 0xFFFFFFF0, 7) + body
    bomb = b"\x28\xb5\x2f\xfd" + NOISE.randbytes(60)
    packed = b"WF\x01\x03" + struct.pack("<III", 0, len(bomb), 7) + bomb
    for payload in (b"", body, lying, packed):
        answers, error = stream(weir, [hello(), frame(5, payload)], hold=True)
        # Field 2 of the answer: Full, which asks for the epoch once more.
        assert not error and answers[0][0] == 0x12, (answers, error)
        answers, error = stream(weir, [hello(), frame(5, payload), frame(5, payload)])
        # Field 3: Refused for good, with the reason.
        assert not error and answers[-1][0] == 0x1A and b"frame" in answers[-1], (answers, error)
    assert counted(weir, "weir_push_frames_total", outcome="refused") >= 4
    assert "unreadable_frame" in told(weir)


def test_api_questions_that_are_none(attacked):
    weir = attacked[0]
    for path in ("/api/v1/query", "/api/v1/series", "/api/weir/v1/sql"):
        status, headers, body = post(weir, "listen", path, NOISE.randbytes(3000), content_type="application/x-www-form-urlencoded")
        assert status == 400 and json.loads(body)["error"], (path, status, body[:200])
        assert headers["content-type"] == "application/json"
    status, _, body = post(weir, "listen", "/api/v1/query", b"query=" + b"(" * 100_000, content_type="application/x-www-form-urlencoded")
    assert status == 400 and json.loads(body)["errorType"] == "bad_data", body[:200]
    status, _, body = post(weir, "listen", "/api/v1/query", b"query=" + b"x" * (11 << 20), content_type="application/x-www-form-urlencoded")
    assert status == 400, body[:200]
    for path in ("/api/v1/nothing", "/%ff%fe", "/../../etc/passwd", "/api/traces/nothex", "/services/%00"):
        status, _, body = fetch(weir.url + path)
        assert status in (200, 400, 404) and b"root:" not in body, (path, status)


def one_bad(kind):
    """Three good items and a bad one between them."""
    now = time.time_ns()
    if kind == "metrics":
        request = points("one-bad", [1, 2, 3], now)
        gauge = request.resource_metrics[0].scope_metrics[0].metrics[0]
        del request.resource_metrics[0].scope_metrics[0].metrics[1:]
        gauge.name = "one.bad"
        # A histogram with more bounds than buckets, in the middle of the gauge's request.
        bad = request.resource_metrics[0].scope_metrics[0].metrics.add(name="one.bad.histogram")
        bad.histogram.aggregation_temporality = 2
        bad.histogram.data_points.add(time_unix_nano=now, count=3, bucket_counts=[1, 2], explicit_bounds=[1, 2, 3, 4])
        return request, ExportMetricsServiceResponse, "rejected_data_points"
    request = spans("one-bad", [NOISE.randrange(1 << 60) for _ in range(4)], now)
    request.resource_spans[0].scope_spans[0].spans[1].trace_id = b""
    for span in request.resource_spans[0].scope_spans[0].spans:
        span.name = "one bad"
    return request, ExportTraceServiceResponse, "rejected_spans"


@pytest.mark.parametrize("kind", ["metrics", "traces"])
def test_one_bad_item_in_a_good_batch_over_every_way_in(attacked, kind):
    weir = attacked[0]
    method, path = (METRICS, "/v1/metrics") if kind == "metrics" else (TRACES, "/v1/traces")

    def stored():
        if kind == "metrics":
            return weir.value("sum(count_over_time(one_bad[1h]))") or 0
        return weir.sql("select count(*) as n from spans where name = 'one bad'")[0]["n"]

    ways = [(port, "http") for port in ("listen", "otlp-http", "otlp-grpc")]
    ways += [(port, "grpc") for port in ("push", "otlp-grpc", "otlp-http")]
    for at, (port, protocol) in enumerate(ways):
        request, response, field_name = one_bad(kind)
        raw = request.SerializeToString()
        if protocol == "http":
            status, _, answer = post(weir, port, path, raw, **{"content_type": HEADERS["content-type"]})
            assert status == 200, answer
        else:
            answer = call(weir, port, method, raw)
            assert isinstance(answer, bytes), answer
        partial = response.FromString(answer).partial_success
        assert getattr(partial, field_name) == 1 and partial.error_message, partial
        until(f"three more by {protocol} on {port}", lambda: stored() == 3 * (at + 1), 20)  # noqa: B023
    assert counted(weir, "weir_receive_refused_items_total", signal=kind) == len(ways)


def test_empty_requests_are_good_ones(attacked):
    weir = attacked[0]
    for method, request in ((METRICS, ExportMetricsServiceRequest()), (TRACES, ExportTraceServiceRequest())):
        assert call(weir, "otlp-grpc", method, request.SerializeToString()) == b""


def test_everything_honest_is_there_and_what_hung_was_cut(attacked):
    weir, senders, hanging, opened = attacked
    # Memory before noise, with honest senders running, and after it.
    grown = memory(weir) - weir.before
    print(f"{grown >> 20} MiB more resident")
    assert grown < 400 << 20, f"{grown >> 20} MiB"
    acked = {"points": set(), "spans": set()}
    for sender in senders:
        for kind, numbers in sender.finish().items():
            acked[kind] |= numbers
    assert len(acked["points"]) > 1000 and len(acked["spans"]) > 1000, {kind: len(of) for kind, of in acked.items()}

    def values():
        found = weir.query("crash_gauge[30m]", time=time.time() + 10)
        return {round(float(value)) for series in found for _, value in series["values"]}

    until("every acknowledged point", lambda: acked["points"] <= values(), 20)
    services = weir.sql("select service_name, count(distinct span_id) as n from spans where name = 'crash' group by service_name")
    assert sum(row["n"] for row in services) >= len(acked["spans"]), services
    # What never finished its head is gone by now, or soon.
    left = {port: list(sockets) for port, sockets in hanging.items()}

    def all_cut():
        for port, sockets in left.items():
            left[port] = [each for each in sockets if not is_cut(each)]
        return not any(left.values())

    until("hanging connections are cut", all_cut, max(10.0, opened + 100 - time.monotonic()), 1)
    for port in PORTS:
        assert counted(weir, "weir_connections_cut_total", port=LABELS[port], reason="slow") > HANGING / 3, port
    assert counted(weir, "weir_receive_requests_total", outcome="slow") > 0
    assert weir.running() and "panicked" not in weir.text()


def is_cut(connection):
    """Whether the other side has hung up."""
    connection.setblocking(False)
    try:
        while connection.recv(65536):
            pass
        return True
    except BlockingIOError:
        return False
    except OSError:
        return True
