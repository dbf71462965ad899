"""Fixtures: a fresh `weir up` per module."""

import pytest

from weir import Weir


@pytest.fixture(scope="module")
def weir(tmp_path_factory):
    instance = Weir(tmp_path_factory.mktemp("weir"))
    instance.wait_ready()
    yield instance
    assert instance.stop() == 0, instance.text()[-3000:]


@pytest.fixture
def started():
    """Collects processes and ends them after the test."""
    processes = []
    yield processes.append
    for process in processes:
        if process.running():
            process.kill()
