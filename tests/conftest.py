"""Fixtures of the whole suite: each real part has one module under tests/fixtures."""

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
