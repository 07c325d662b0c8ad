"""Fixtures of the whole suite: each real part has one module under tests/fixtures."""

import pytest
from hypothesis import settings

# A shared machine can stall for longer than Hypothesis's 200 ms an example; pytest-timeout bounds each test.
settings.register_profile("shared-machine", deadline=None)
settings.load_profile("shared-machine")

pytest_plugins = [
    "tests.fixtures.brokers",
    "tests.fixtures.qdrant",
    "tests.fixtures.triton",
    "tests.fixtures.path",
    "tests.fixtures.api",
    "tests.fixtures.clients",
    "tests.fixtures.certificates",
    "tests.fixtures.secure_kafka",
]

_SERVERS = {"broker", "tansu", "kafka", "triton", "running_path", "make_rig", "rig", "inject"}


@pytest.hookimpl(tryfirst=True)  # before pytest-xdist reads the marks
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests that share servers run in one process, where several run the suite; all others go where there is room."""
    for item in items:
        if group := _group(item):
            item.add_marker(pytest.mark.xdist_group(group))


def _group(item: pytest.Item) -> str:
    fixtures = set(getattr(item, "fixturenames", ()))
    if not fixtures & _SERVERS:
        return ""
    callspec = getattr(item, "callspec", None)
    if "kafka" in fixtures or (callspec and callspec.params.get("broker") == "kafka"):
        return "kafka"
    return f"tansu-{item.path.parent.name}"
