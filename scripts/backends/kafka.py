"""Kafka: a broker that is its own controller (KRaft, combined), or one of several such."""

from __future__ import annotations

import base64
import uuid
from pathlib import Path

from scripts.backends import jars, probe, store, tools, versions
from scripts.backends.instance import Command, Failed, Instance, Kind

OPTIONS = {
    "node-id": "number of this broker among several (default 1)",
    "quorum": "all of them: 1@host:controller-port,2@... (default: this one alone)",
    "cluster-id": "the same 22 characters for each of several (default: random at the first start)",
    "heap": "Java heap, as in 512m (the default)",
}

# The same options as in Kafka's own start script.
JVM = """
-server -XX:+UseG1GC -XX:MaxGCPauseMillis=20 -XX:InitiatingHeapOccupancyPercent=35
-XX:+ExplicitGCInvokesConcurrent -Djava.awt.headless=true
""".split()

LOG4J = """\
rootLogger.level = info
rootLogger.appenderRef.out.ref = out
appender.out.type = Console
appender.out.name = out
appender.out.layout.type = PatternLayout
appender.out.layout.pattern = %d{ISO8601} %p %m (%c)%n
logger.group.name = org.apache.kafka.coordinator.group
logger.group.level = warn
"""


def installed() -> Path | None:
    return jars.installed("kafka-server-start.sh", "libs", "kafka_2.13-4.*.jar")


def here() -> bool:
    return bool(installed()) or store.place("kafka", versions.KAFKA).exists()


def libs() -> Path:
    properties = {"kafka.version": versions.KAFKA, "log4j.version": versions.KAFKA_LOG4J}
    return installed() or jars.bring("kafka", versions.KAFKA, properties)


def provision() -> str:
    tools.java()
    return str(libs())


def command(instance: Instance) -> Command:
    """Format its storage at the first start, and return what runs it."""
    instance.data.mkdir(parents=True, exist_ok=True)
    configuration = instance.folder / "server.properties"
    configuration.write_text(_lines(properties(instance)))
    (instance.folder / "log4j2.properties").write_text(LOG4J)
    if not (instance.data / "meta.properties").exists():
        _format(instance, configuration)
    heap = instance.options.get("heap", "512m")
    jvm = [f"-Xms{heap}", f"-Xmx{heap}", *JVM]
    return Command([*_java(instance, jvm), "kafka.Kafka", str(configuration)])


def _java(instance: Instance, jvm: list[str]) -> list[str]:
    log4j = f"-Dlog4j2.configurationFile={instance.folder / 'log4j2.properties'}"
    return [tools.java(), *jvm, log4j, "-cp", f"{libs()}/*"]


def _format(instance: Instance, configuration: Path) -> None:
    if "quorum" in instance.options and "cluster-id" not in instance.options:
        raise Failed("several brokers need the same cluster id: give each the same --cluster-id")
    # The id is random, so that an emptied log is recognised as another one.
    cluster = instance.options.get("cluster-id") or _random_id()
    java = _java(instance, ["-Xmx128m", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC"])
    tool = ["kafka.tools.StorageTool", "format", "--ignore-formatted"]
    tools.run([*java, *tool, "--cluster-id", cluster, "--config", str(configuration)])


def _random_id() -> str:
    """Return 16 random bytes in base64url, without a dash at the beginning, as of an option."""
    return next(
        text
        for text in iter(lambda: base64.urlsafe_b64encode(uuid.uuid4().bytes).decode()[:22], "")
        if not text.startswith("-")
    )


def properties(instance: Instance) -> dict[str, object]:
    node = instance.options.get("node-id", "1")
    quorum = instance.options.get("quorum", f"{node}@{instance.at('controller')}")
    replicas = min(3, len(quorum.split(",")))
    return {
        "process.roles": "broker,controller",
        "node.id": node,
        "controller.quorum.voters": quorum,
        "listeners": (
            f"CLIENTS://{instance.at('clients')},CONTROLLER://{instance.at('controller')}"
        ),
        "advertised.listeners": f"CLIENTS://{instance.at('clients')}",
        "listener.security.protocol.map": "CLIENTS:PLAINTEXT,CONTROLLER:PLAINTEXT",
        "inter.broker.listener.name": "CLIENTS",
        "controller.listener.names": "CONTROLLER",
        "log.dirs": instance.data,
        # A topic only exists if it was made with its settings, never because a name was mistyped.
        "auto.create.topics.enable": "false",
        "unclean.leader.election.enable": "false",
        "default.replication.factor": replicas,
        "min.insync.replicas": max(1, replicas - 1),
        "offsets.topic.replication.factor": replicas,
        "offsets.topic.num.partitions": 10,
        "transaction.state.log.replication.factor": replicas,
        "transaction.state.log.min.isr": max(1, replicas - 1),
        "transaction.state.log.num.partitions": 10,
        "share.coordinator.state.topic.replication.factor": replicas,
        "share.coordinator.state.topic.min.isr": max(1, replicas - 1),
        "group.initial.rebalance.delay.ms": 0,
        # A group that was stopped for a month must still know how far it was.
        "offsets.retention.minutes": 60 * 24 * 365,
        "controlled.shutdown.enable": "true",
        "num.network.threads": 2,
        "num.io.threads": 4,
        "background.threads": 4,
        "num.recovery.threads.per.data.dir": 2,
        "log.cleaner.dedupe.buffer.size": 16 << 20,
    }


def _lines(settings: dict[str, object]) -> str:
    return "".join(f"{key}={value}\n" for key, value in settings.items())


KIND = Kind(
    name="kafka",
    version=versions.KAFKA,
    ports={"clients": 17092, "controller": 17093},
    provision=provision,
    here=here,
    command=command,
    variable="CECOCHAT_KAFKA",
    answers=probe.kafka,
    options=OPTIONS,
    start_s=90,
)
