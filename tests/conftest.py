"""Fixtures of the whole suite: each real part has one module under tests/fixtures."""

import os
from typing import Any

import pytest
from hypothesis import settings
from xdist.scheduler import LoadScopeScheduling

# Small models gain nothing by threads that wait for each other, spinning, on processors that a run keeps busy. Before
# torch is imported, and for every process that a test starts.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# A shared machine can stall for longer than Hypothesis's 200 ms an example; pytest-timeout bounds each test.
settings.register_profile("shared-machine", deadline=None)
settings.load_profile("shared-machine")

pytest_plugins = [
    "tests.fixtures.brokers",
    "tests.fixtures.qdrant",
    "tests.fixtures.triton",
    "tests.fixtures.path",
    "tests.fixtures.learned_path",
    "tests.fixtures.learner",
    "tests.fixtures.trainings",
    "tests.fixtures.api",
    "tests.fixtures.clients",
    "tests.fixtures.certificates",
    "tests.fixtures.secure_kafka",
]


class _ByServers(LoadScopeScheduling):
    """Tests that share servers run in one process, in the order they were found; all others go by file."""

    def _split_scope(self, nodeid: str) -> str:
        path, _, test = nodeid.partition("::")
        parameters = test.partition("[")[2]  # a test may have the name of a broker and run on another
        if "kafka" in parameters or (path.startswith("tests/integration/test_broker_") and "tansu" not in parameters):
            return "kafka"
        if "tansu" in parameters:  # what counts on one running path comes in one order, whoever runs beside it
            return "fault" if path.startswith("tests/fault/") else "tansu"
        return path


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> _ByServers:
    """How processes side by side share the suite (`make test`). Each process starts the servers that its tests need."""
    return _ByServers(config, log)
