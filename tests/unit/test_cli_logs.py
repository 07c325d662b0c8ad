"""Logging as the long-running commands set it up."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator

import pytest
import structlog

from streams.settings.logs import PERSONAL, set_up
from streams.settings.service import LogSettings


@pytest.fixture(autouse=True)
def _as_it_was() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    structlog.reset_defaults()


def lines(form: str, level: str = "info") -> io.StringIO:
    out = io.StringIO()
    set_up(LogSettings(form=form, level=level), out)  # type: ignore[arg-type]
    return out


def test_json_lines_are_objects_with_utc_times_from_both_kinds_of_logger() -> None:
    out = lines("json")
    structlog.get_logger("streams.worker.run").info("ready", encoder="e5", 茶="é")
    logging.getLogger("streams.broker").warning("lost %s", "a broker")
    one, two = map(json.loads, out.getvalue().splitlines())
    assert (one["event"], one["encoder"], one["茶"], one["level"], one["logger"]) == (
        "ready", "e5", "é", "info", "streams.worker.run",
    )  # fmt: skip
    assert (two["event"], two["level"], two["logger"]) == ("lost a broker", "warning", "streams.broker")
    assert all(entry["timestamp"].endswith("Z") for entry in (one, two))


@pytest.mark.parametrize("form", ["json", "console"])
def test_personal_data_never_reaches_the_log(form: str) -> None:
    out = lines(form)
    structlog.get_logger().info("x", **dict.fromkeys(PERSONAL, "sesame"))
    logging.getLogger("y").info("x", extra=dict.fromkeys(PERSONAL, "sesame"))
    assert len(out.getvalue().splitlines()) == 2
    assert "sesame" not in out.getvalue()


@pytest.mark.parametrize("form", ["json", "console"])
def test_an_exception_is_logged_with_where_it_came_from_and_no_values_of_variables(form: str) -> None:
    out = lines(form)
    text = "sesame" * 2
    try:
        int(text)
    except ValueError as error:
        error.args = ("no",)
        structlog.get_logger().exception("failed")
    assert "test_cli_logs.py" in out.getvalue()
    assert "ValueError" in out.getvalue()
    assert "sesame" not in out.getvalue()


def test_levels_hold_and_chatty_libraries_are_quiet_unless_asked() -> None:
    out = lines("console", "warning")
    structlog.get_logger("streams").info("hidden")
    assert out.getvalue() == ""
    out = lines("console")
    logging.getLogger("aiokafka.conn").info("hidden")
    structlog.get_logger("streams").info("seen")
    assert "hidden" not in out.getvalue()
    assert "seen" in out.getvalue()
    out = lines("console", "debug")
    logging.getLogger("aiokafka.conn").info("asked for")
    assert "asked for" in out.getvalue()


@pytest.mark.parametrize("form", ["json", "console"])
def test_addresses_are_logged_without_credentials(form: str) -> None:
    out = lines(form)
    address = "http://u:hunter2@collector:4318/v1?key=hunter2"
    structlog.get_logger().info("sending", address=address, brokers=["u:hunter2@kafka:9092"])
    logging.getLogger("opentelemetry").error("cannot send to %s", address)
    failure = ConnectionError(address)
    structlog.get_logger().error("failed", exc_info=failure)
    logging.getLogger("aiokafka").error("failed", exc_info=failure)
    assert "hunter2" not in out.getvalue()
    assert out.getvalue().count("***@collector:4318/v1?***") == 4
    assert "***@kafka:9092" in out.getvalue()
    if form == "json":
        assert len([json.loads(line) for line in out.getvalue().splitlines()]) == 4
