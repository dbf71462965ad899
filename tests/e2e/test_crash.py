"""kill -9 in every step of the write path, under load: what was acknowledged is there, once, with its value, and RED
equals a recount."""

import pathlib
import random
import time

import duckdb
import pytest

from otlp import Sender, quiet_environment
from weir import TARGET, Agent, Process, Weir, fetch, free_port, until

VICTIM = TARGET / "release" / "weir-victim"
LOAD = TARGET / "release" / "weir-load"
POINTS = ["append", "before_ack", "after_ack", "flush", "commit", "compact"]
RED = "traces.span.metrics.duration"


class Victim(Weir):
    """The collector that dies at a point; started again with another point on the same data and ports."""

    def __init__(self, folder):
        self.folder = pathlib.Path(folder)
        self.data_dir = self.folder / "data"
        self.data_dir.mkdir(exist_ok=True)
        self.ports = {name: free_port() for name in ("listen", "push")}
        self.url = f"http://127.0.0.1:{self.ports['listen']}"
        self.starts = 0

    def start(self, point, nth=1):
        self.starts += 1
        command = [VICTIM, self.data_dir, *(f"127.0.0.1:{port}" for port in self.ports.values()), point, nth]
        log = self.folder / f"victim-{self.starts}-{point}.log"
        Process.__init__(self, command, log, env=quiet_environment())
        return self

    def died_in(self):
        note = self.data_dir / "died"
        return note.read_text().split() if note.exists() else []


def stored(data_dir, query):
    """Rows of live parts. Replaced parts are gone from disk once the store is closed."""
    root = data_dir / "collector"
    with duckdb.connect() as db:
        return db.execute(query.replace("$root", str(root))).fetchall()


def check(weir, senders):
    """Everything acknowledged is there once; RED equals the spans."""
    acked = {"points": set(), "spans": set()}
    for sender in senders:
        for kind, numbers in sender.finish().items():
            acked[kind] |= numbers
    assert len(acked["points"]) > 200 and len(acked["spans"]) > 200, {k: len(v) for k, v in acked.items()}
    for metric, shift in (("crash_gauge", 0), ("crash_delta_total", 0.5)):
        values = [value - shift for value in values_of(weir, metric)]
        assert len(values) == len(set(values)), f"{metric}: {len(values) - len(set(values))} points twice"
        lost = acked["points"] - set(values)
        assert not lost, f"{metric}: {len(lost)} acknowledged points are lost: {sorted(lost)[:5]}"
    rows = in_pages(weir, "select span_id from spans where name = 'crash'", "span_id")
    numbers = [int(row["span_id"], 16) for row in rows]
    assert len(numbers) == len(set(numbers)), f"{len(numbers) - len(set(numbers))} spans twice"
    lost = acked["spans"] - set(numbers)
    assert not lost, f"{len(lost)} acknowledged spans are lost: {sorted(lost)[:5]}"
    counted = weir.value('sum(histogram_count(traces_span_metrics_duration_seconds{span_name="crash"}))', time=time.time() + 10)
    ranged = weir.value(
        'sum(histogram_count(increase(traces_span_metrics_duration_seconds{span_name="crash"}[1h])))', time=time.time() + 10
    )
    assert counted == len(numbers), (counted, len(numbers), ranged)


@pytest.mark.parametrize("path", ["direct", "agent"])
def test_collector_dies_everywhere(tmp_path, started, path):
    """Direct: OTLP to the collector. Agent: OTLP to a real weir-agent, and by its push stream to the collector."""
    victim = Victim(tmp_path)
    url = victim.url
    if path == "agent":
        agent = Agent(tmp_path, victim.ports["push"])
        started(agent)
        url = agent.url
    started(victim.start("never"))
    victim.wait_ready()
    senders = [Sender(url, f"crash-{number}", 1 + number * 10_000_000) for number in range(3)]
    for sender in senders:
        sender.start()
    victim.kill()
    for round_number in range(2):
        for point in POINTS:
            started(victim.start(point, 1 + random.Random(round_number).randrange(3) if point in POINTS[:3] else 1))
            until(f"it dies in {point}", lambda: not victim.running(), 30, 0.05)
            victim.kill()
    started(victim.start("never"))
    victim.wait_ready()
    time.sleep(1)
    for sender in senders:
        sender.finish()
    # What the agent still holds arrives now.
    if path == "agent":
        until("the queue is empty", lambda: sum_of(victim, "crash_gauge") >= max_acked(senders), 60)
    check(victim, senders)
    assert set(victim.died_in()) == set(POINTS), f"never died in {set(POINTS) - set(victim.died_in())}"
    assert victim.stop(20) == 0
    # DuckDB reads the files as they are.
    ((spans,),) = stored(victim.data_dir, "select count(distinct span_id) from '$root/traces/**/spans.parquet' where name = 'crash'")
    assert spans >= max(len(sender.acked["spans"]) for sender in senders)


def in_pages(weir, query, key):
    """All rows, past the limit of one answer."""
    rows, page = [], 50_000
    while True:
        more = weir.sql(f"{query} order by {key} limit {page} offset {len(rows)}")
        rows += more
        if len(more) < page:
            return rows


def values_of(weir, metric):
    return [row["value"] for row in in_pages(weir, f"select value from samples where name = '{metric}'", "value")]


def sum_of(weir, metric):
    return weir.sql(f"select count(*) as n from samples where name = '{metric}'")[0]["n"]


def max_acked(senders):
    return sum(len(sender.acked["points"]) for sender in senders)


def test_weir_up_dies_at_random_moments(tmp_path, started):
    """The whole of `weir up`, agent and collector in one process, killed from outside, again and again."""
    config = "weir: {flush_interval: 1s, compaction_interval: 1s}\n"
    chance = random.Random(7)
    first = Weir(tmp_path, config=config, env=quiet_environment())
    started(first)
    first.wait_ready()
    ports, data_dir = first.ports, first.data_dir
    sender = Sender(first.otlp_http, "crash-up", 1)
    sender.start()
    current = first
    for _ in range(6):
        time.sleep(chance.uniform(0.3, 1.8))
        current.kill()
        current = Weir.__new__(Weir)
        current.folder, current.data_dir, current.ports = first.folder, data_dir, ports
        current.url, current.otlp_http = first.url, first.otlp_http
        command = [word for word in first.child.args]
        Process.__init__(current, command, tmp_path / "weir.log", env=quiet_environment())
        started(current)
        current.wait_ready()
    time.sleep(1)
    sender.finish()
    until("the queue is empty", lambda: sum_of(current, "crash_gauge") >= max_acked([sender]), 60)
    check(current, [sender])
    assert current.stop(20) == 0


def test_agent_dies_at_random_moments(tmp_path, started):
    victim = Victim(tmp_path)
    started(victim.start("never"))
    victim.wait_ready()
    agent = Agent(tmp_path, victim.ports["push"])
    sender = Sender(agent.url, "crash-agent", 1)
    chance = random.Random(11)
    sender.start()
    for _ in range(8):
        time.sleep(chance.uniform(0.2, 1.2))
        agent.kill()
        agent.start().wait_ready()
    started(agent)
    time.sleep(1)
    sender.finish()
    until("the queue is empty", lambda: sum_of(victim, "crash_gauge") >= max_acked([sender]), 60)
    check(victim, [sender])


def test_newest_first_after_an_outage(tmp_path, started):
    """The collector is away while the agent takes data; when it is back, what is new is seen before what is old."""
    victim = Victim(tmp_path)
    agent = Agent(tmp_path, victim.ports["push"])
    started(agent)
    agent.wait_ready()
    sender = Sender(agent.url, "crash-outage", 1)
    sender.start()
    time.sleep(10)
    started(victim.start("never"))
    victim.wait_ready()
    until("the newest is there", lambda: sum_of(victim, "crash_gauge") > 0, 30)
    time.sleep(2)
    sender.finish()
    until("all of it is there", lambda: sum_of(victim, "crash_gauge") >= max_acked([sender]), 60)
    check(victim, [sender])
