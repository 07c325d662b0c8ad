"""An Apache Kafka for the embedded stack, where one is installed: found, configured and formatted in the data folder.

One process is broker and controller (KRaft). What it acknowledges survives its end and the stack's.
"""

from __future__ import annotations

import base64
import os
import shutil
import subprocess
import uuid
from collections.abc import Sequence
from pathlib import Path

from deploy.embedded.ports import HOST
from streams.base.errors import ConfigurationError

HOME_VARIABLE = "KAFKA_HOME"
_FORMAT_WITHIN_S = 60.0
#: A heap of half a gibibyte is plenty for one machine's topics; the rest of its memory is the page cache.
_HEAP = ("-Xms64m", "-Xmx512m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-XX:+ExitOnOutOfMemoryError")
_SERVER = """\
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@{host}:{controller}
controller.listener.names=CONTROLLER
listeners=PLAINTEXT://{host}:{port},CONTROLLER://{host}:{controller}
advertised.listeners=PLAINTEXT://{host}:{port}
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT
log.dirs={data}
auto.create.topics.enable=false
offsets.topic.num.partitions=4
offsets.topic.replication.factor=1
transaction.state.log.num.partitions=4
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
group.initial.rebalance.delay.ms=0
group.min.session.timeout.ms=1000
broker.session.timeout.ms=4000
broker.heartbeat.interval.ms=1000
"""
_LOGGING = """\
status = error
rootLogger.level = info
rootLogger.appenderRef.out.ref = out
appender.out.type = Console
appender.out.name = out
appender.out.layout.type = PatternLayout
appender.out.layout.pattern = %d{ISO8601} %p %c{1}: %m%n
"""


def kafka_process(folder: Path, port: int, controller: int) -> list[str]:
    """The command that serves Kafka on 127.0.0.1:`port` from `folder`, which is formatted where it is new.

    `controller` is a port of its own, which may differ from start to start. Raises ConfigurationError where there is
    no Kafka or no Java, or where the storage cannot be formatted.
    """
    libs, java = _libs(), _java()
    folder.mkdir(parents=True, exist_ok=True)
    properties, logging, data = folder / "server.properties", folder / "log4j2.properties", folder / "data"
    properties.write_text(_SERVER.format(host=HOST, port=port, controller=controller, data=_value(data)), "ascii")
    logging.write_text(_LOGGING, "utf-8")
    command = [java, *_HEAP, f"-Dlog4j2.configurationFile={logging}", "-cp", f"{libs}/*"]
    if not (data / "meta.properties").is_file():
        _format(command, properties)
    return [*command, "kafka.Kafka", str(properties)]


def check() -> None:
    """Raise ConfigurationError where there is no Kafka or no Java."""
    _libs()
    _java()


def _format(command: Sequence[str], properties: Path) -> None:
    """Give new storage its cluster's id."""
    tool = [*command, "kafka.tools.StorageTool", "format", "--config", str(properties), "--cluster-id", _cluster_id()]
    try:
        # The command is Java and Kafka's own tool.
        done = subprocess.run(  # noqa: S603
            tool, check=False, capture_output=True, text=True, timeout=_FORMAT_WITHIN_S
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise ConfigurationError(f"Kafka's storage in {properties.parent} could not be formatted: {error}") from error
    if done.returncode:
        said = (done.stderr or done.stdout).strip()[-800:]
        raise ConfigurationError(f"Kafka's storage in {properties.parent} could not be formatted:\n{said}")


def _libs() -> Path:
    home = os.environ.get(HOME_VARIABLE)
    if not home:
        raise ConfigurationError(
            f"--broker kafka needs an Apache Kafka: set {HOME_VARIABLE} to its folder (the one with libs/), "
            "and have Java 17 or newer on PATH"
        )
    libs = Path(home).expanduser().resolve() / "libs"
    if not any(libs.glob("kafka_*.jar")):
        raise ConfigurationError(
            f"{HOME_VARIABLE} is {home}, which has no libs/kafka_*.jar: name the folder of an Apache Kafka"
        )
    return libs


def _java() -> str:
    home = os.environ.get("JAVA_HOME")
    own = Path(home) / "bin" / "java" if home else None
    java = str(own) if own is not None and own.is_file() else shutil.which("java")
    if java is None:
        raise ConfigurationError(
            "--broker kafka needs Java 17 or newer: none is on PATH, nor under JAVA_HOME; install one, such as "
            "Debian's openjdk-17-jre-headless"
        )
    return java


def _value(folder: Path) -> str:
    """A folder as Java's properties files write it: they are Latin-1, and Kafka parts its folders by commas."""
    if "," in str(folder):
        raise ConfigurationError(f"--broker kafka: the data directory {folder} has a comma in its name: take another")
    units = str(folder).replace("\\", "\\\\").encode("utf-16-be")
    codes = [int.from_bytes(units[at : at + 2], "big") for at in range(0, len(units), 2)]
    return "".join(chr(code) if 32 <= code < 127 else f"\\u{code:04x}" for code in codes)


def _cluster_id() -> str:
    """Sixteen bytes in base64, as Kafka wants them; a leading dash would read as an option of its tool."""
    return base64.urlsafe_b64encode(b"\x00" + uuid.uuid4().bytes[1:]).rstrip(b"=").decode()
