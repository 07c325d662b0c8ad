"""Fixtures of the whole suite: each real part has one module under tests/fixtures."""

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
